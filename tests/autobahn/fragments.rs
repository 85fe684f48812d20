//! Section 5: fragments.

use crate::case::{Case, End, Seen, Step};
use crate::common::frames::{CONTINUATION, PING, PONG, TEXT, fragment, whole};

/// How the frames of a case are cut into segments.
#[derive(Clone, Copy)]
enum Cut {
    Not,
    Frames,
    Bytes,
}

fn cut(case: Case, frames: &[Vec<u8>], cut: Cut) -> Case {
    match cut {
        Cut::Not => case.send(frames),
        Cut::Frames => case.send_each(frames),
        Cut::Bytes => case.chop(frames, 1),
    }
}

const CUTS: [(Cut, &str); 3] =
    [(Cut::Not, ""), (Cut::Frames, ", frame by frame"), (Cut::Bytes, ", byte by byte")];

/// All cases of this section.
pub fn cases() -> Vec<Case> {
    let text = |text: &[u8]| Seen::Text(text.to_vec());
    let both = text(b"fragment1fragment2");
    let mut cases = vec![
        Case::new("5.1", "ping in two fragments")
            .send(&[fragment(PING, b"fragment1"), whole(CONTINUATION, b"fragment2")])
            .end(End::ByPeer(1002)),
        Case::new("5.2", "pong in two fragments")
            .send(&[fragment(PONG, b"fragment1"), whole(CONTINUATION, b"fragment2")])
            .end(End::ByPeer(1002)),
    ];
    let mut number = 3;
    let mut add = |frames: &[Vec<u8>], about: &str, finish: &dyn Fn(Case) -> Case| {
        for (how, named) in CUTS {
            cases.push(finish(cut(Case::new(format!("5.{number}"), format!("{about}{named}")), frames, how)));
            number += 1;
        }
    };
    // 5.3 to 5.5
    let two = [fragment(TEXT, b"fragment1"), whole(CONTINUATION, b"fragment2")];
    add(&two, "text in two fragments", &|case| case.expect(std::slice::from_ref(&both)));
    // 5.6 to 5.8
    let with_ping = [two[0].clone(), whole(PING, b"ping"), two[1].clone()];
    add(&with_ping, "text in two fragments, a ping between them", &|case| {
        case.expect(&[Seen::Pong(b"ping".to_vec()), both.clone()])
    });
    // 5.9 to 5.14
    let refused = |case: Case| case.end(End::ByPeer(1002));
    let last = [whole(CONTINUATION, b"non-continuation"), whole(TEXT, b"Hello, world!")];
    add(&last, "the last fragment of nothing, then text", &refused);
    let middle = [fragment(CONTINUATION, b"non-continuation"), whole(TEXT, b"Hello, world!")];
    add(&middle, "a middle fragment of nothing, then text", &refused);
    // 5.15
    let frames =
        [two[0].clone(), two[1].clone(), fragment(CONTINUATION, b"fragment3"), whole(TEXT, b"fragment4")];
    cases.push(refused(
        Case::new("5.15", "text in two fragments, a middle fragment of nothing, text")
            .send(&frames)
            .expect(&[both])
            .or(&[]),
    ));
    // 5.16 and 5.17: twice each, in case the first time is overlooked.
    for (number, nothing, about) in [
        (
            "5.16",
            fragment(CONTINUATION, b"fragment1"),
            "twice a middle fragment of nothing and a text in two",
        ),
        ("5.17", whole(CONTINUATION, b"fragment1"), "twice the last fragment of nothing and a text in two"),
    ] {
        let once = [nothing, fragment(TEXT, b"fragment2"), whole(CONTINUATION, b"fragment3")].concat();
        cases.push(refused(Case::new(number, about).send(&[once.clone(), once])));
    }
    cases.push(refused(
        Case::new("5.18", "text in two fragments that both say text")
            .send(&[fragment(TEXT, b"fragment1"), whole(TEXT, b"fragment2")]),
    ));
    cases.extend(pauses());
    cases
}

/// 5.19 and 5.20: five fragments with pings between them, and a pause in the middle.
fn pauses() -> Vec<Case> {
    let parts: Vec<Vec<u8>> = (1..=5).map(|number| format!("fragment{number}").into_bytes()).collect();
    let before = [fragment(TEXT, &parts[0]), fragment(CONTINUATION, &parts[1]), whole(PING, b"pongme 1!")];
    let after = [
        fragment(CONTINUATION, &parts[2]),
        fragment(CONTINUATION, &parts[3]),
        whole(PING, b"pongme 2!"),
        whole(CONTINUATION, &parts[4]),
    ];
    let pong = |payload: &[u8]| Seen::Pong(payload.to_vec());
    let seen = [pong(b"pongme 1!"), Seen::Open, pong(b"pongme 2!"), Seen::Text(parts.concat())];
    let case = |number, how| Case::new(number, format!("text in five fragments, pings, a pause{how}"));
    // The pong of the first ping comes before that of the pause, so that the pause is one of no traffic.
    let pause = |case: Case| case.step(Step::Expect(pong(b"pongme 1!"))).step(Step::Open);
    vec![
        pause(case("5.19", "").send(&before)).send(&after).expect(&seen),
        pause(case("5.20", ", frame by frame").send_each(&before)).send_each(&after).expect(&seen),
    ]
}
