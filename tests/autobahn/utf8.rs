//! Section 6: UTF-8, after Markus Kuhn's decoder stress test.

use crate::case::{Case, End, Seen, Step};
use crate::common::frames::{CONTINUATION, MASK, TEXT, fragment, frame, whole};

/// A word of five Greek letters, of which one has an accent of its own and takes three bytes.
const KOSME: &[u8] = "κ\u{1F79}σμε".as_bytes();
/// A surrogate, which has no place in UTF-8.
const SURROGATE: &[u8] = b"\xED\xA0\x80";

/// All cases of this section.
pub fn cases() -> Vec<Case> {
    [whole_and_cut(), fail_fast(), one_by_one()].concat()
}

/// The text in fragments of these lengths; the rest is the last one.
fn fragments(text: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = text;
    let mut opcode = TEXT;
    let mut frames = Vec::new();
    for length in lengths {
        let (part, after) = rest.split_at(*length);
        frames.push(fragment(opcode, part));
        (rest, opcode) = (after, CONTINUATION);
    }
    frames.push(whole(opcode, rest));
    frames
}

fn byte_by_byte(text: &[u8]) -> Vec<Vec<u8>> {
    fragments(text, &vec![1; text.len() - 1])
}

/// 6.1 to 6.3.
fn whole_and_cut() -> Vec<Case> {
    let text = |text: &[u8]| [Seen::Text(text.to_vec())];
    let hello = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
    let bad = [KOSME, SURROGATE, b"edited"].concat();
    let case = Case::new;
    vec![
        case("6.1.1", "empty text").send(&[whole(TEXT, b"")]).expect(&text(b"")),
        case("6.1.2", "empty text in three fragments").send(&fragments(b"", &[0, 0])).expect(&text(b"")),
        case("6.1.3", "text in three fragments, the first and the last empty")
            .send(&fragments(b"middle frame payload", &[0, 20]))
            .expect(&text(b"middle frame payload")),
        case("6.2.1", "valid text").send(&[whole(TEXT, hello)]).expect(&text(hello)),
        case("6.2.2", "valid text, cut between characters")
            .send(&fragments(hello, &[12]))
            .expect(&text(hello)),
        case("6.2.3", "valid text, cut at every byte").send(&byte_by_byte(hello)).expect(&text(hello)),
        case("6.2.4", "another one").send(&byte_by_byte(KOSME)).expect(&text(KOSME)),
        case("6.3.1", "text with a surrogate").send(&[whole(TEXT, &bad)]).end(End::ByPeer(1007)),
        case("6.3.2", "text with a surrogate, cut at every byte")
            .send(&byte_by_byte(&bad))
            .end(End::ByPeer(1007)),
    ]
}

/// 6.4: text that goes wrong in its middle shall be refused there, between frames (6.4.1, 6.4.2) and within one
/// (6.4.3, 6.4.4; the standard does not ask for that).
fn fail_fast() -> Vec<Case> {
    let beyond = b"\xF4\x90\x80\x80";
    let text = [KOSME, beyond, b"edited"].concat();
    let header = frame(0x80 | TEXT, Some(MASK), &text).len() - text.len();
    let case = |number, about, first: usize, second: usize, in_frames: bool| {
        let parts = [&text[..first], &text[first..second], &text[second..]];
        let (sent, look) = if in_frames {
            let sent =
                [fragment(TEXT, parts[0]), fragment(CONTINUATION, parts[1]), whole(CONTINUATION, parts[2])];
            (sent, Step::Open)
        } else {
            let bytes = whole(TEXT, &text);
            let (first, rest) = bytes.split_at(header + first);
            let (second, third) = rest.split_at(parts[1].len());
            ([first.to_vec(), second.to_vec(), third.to_vec()], Step::Read)
        };
        let [first, second, third] = sent.map(Step::Send);
        Case::new(number, about)
            .step(first)
            .step(look.clone())
            .step(second)
            .step(look)
            .step(third)
            .expect(&[Seen::Open])
            .or(&[Seen::Open, Seen::Open])
            .end(End::ByPeer(1007))
    };
    let good = KOSME.len();
    vec![
        case("6.4.1", "a character that is none, in a fragment of its own", good, good + 4, true),
        case("6.4.2", "the same, only up to the byte that decides", good + 1, good + 2, true),
        case("6.4.3", "as 6.4.1, within one frame", good, good + 4, false),
        case("6.4.4", "as 6.4.2, within one frame", good + 1, good + 2, false),
    ]
}

/// 6.5 to 6.23: one text each.
fn one_by_one() -> Vec<Case> {
    let mut cases = Vec::new();
    for (section, about, texts) in sequences() {
        for (index, text) in texts.iter().enumerate() {
            let valid = std::str::from_utf8(text).is_ok();
            let shown: String = text.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
            let more = if text.len() > 12 { "…" } else { "" };
            let kind = if valid { "valid" } else { "invalid" };
            let case =
                Case::new(format!("6.{section}.{}", index + 1), format!("{kind}, {about}: {shown}{more}"))
                    .send(&[whole(TEXT, text)]);
            cases.push(if valid {
                case.expect(&[Seen::Text(text.clone())])
            } else {
                case.end(End::ByPeer(1007))
            });
        }
    }
    cases
}

/// Section, title and texts. The standard library decides whether a text is valid.
fn sequences() -> Vec<(u8, &'static str, Vec<Vec<u8>>)> {
    let list = |texts: &[&[u8]]| texts.iter().map(|text| text.to_vec()).collect::<Vec<_>>();
    let lonely = |first: u8, end: u8| (first..end).flat_map(|byte| [byte, b' ']).collect::<Vec<_>>();
    let cut_short = list(&[
        b"\xC0",
        b"\xE0\x80",
        b"\xF0\x80\x80",
        b"\xF8\x80\x80\x80",
        b"\xFC\x80\x80\x80\x80",
        b"\xDF",
        b"\xEF\xBF",
        b"\xF7\xBF\xBF",
        b"\xFB\xBF\xBF\xBF",
        b"\xFD\xBF\xBF\xBF\xBF",
    ]);
    // Continuations in turn, from one to six; then nearly all there are.
    let mut continuations = vec![vec![0x80], vec![0xBF]];
    continuations.extend((2..=6).map(|len| [0x80, 0xBF].into_iter().cycle().take(len).collect()));
    continuations.push((0x80..0xBF).collect());
    let overlong = |last: u8, fill: u8| {
        [
            vec![0xE0, fill, last],
            vec![0xF0, fill, fill, last],
            vec![0xF8, fill, fill, fill, last],
            vec![0xFC, fill, fill, fill, fill, last],
        ]
    };
    let with_two = |two: &[u8], more: [Vec<u8>; 4]| [vec![two.to_vec()], more.to_vec()].concat();
    vec![
        (
            5,
            "characters of one to four bytes",
            vec![
                "hello$world".into(),
                "hello¢world".into(),
                "hello€world".into(),
                "hello𤭢world".into(),
                KOSME.to_vec(),
            ],
        ),
        (6, "beginning of a text", (1..=KOSME.len()).map(|len| KOSME[..len].to_vec()).collect()),
        (7, "first of its length", list(&[b"\0", b"\xC2\x80", b"\xE0\xA0\x80", b"\xF0\x90\x80\x80"])),
        (8, "first of five and six bytes", list(&[b"\xF8\x88\x80\x80\x80", b"\xFC\x84\x80\x80\x80\x80"])),
        (9, "last of its length", list(&[b"\x7F", b"\xDF\xBF", b"\xEF\xBF\xBF", b"\xF4\x8F\xBF\xBF"])),
        (
            10,
            "last of four to six bytes",
            list(&[b"\xF7\xBF\xBF\xBF", b"\xFB\xBF\xBF\xBF\xBF", b"\xFD\xBF\xBF\xBF\xBF\xBF"]),
        ),
        (
            11,
            "at a boundary",
            list(&[
                b"\xED\x9F\xBF",
                b"\xEE\x80\x80",
                b"\xEF\xBF\xBD",
                b"\xF4\x8F\xBF\xBF",
                b"\xF4\x90\x80\x80",
            ]),
        ),
        (12, "continuation of nothing", continuations),
        (
            13,
            "first bytes without continuation",
            vec![
                lonely(0xC0, 0xDF),
                lonely(0xE0, 0xEF),
                lonely(0xF0, 0xF7),
                lonely(0xF8, 0xFB),
                vec![0xFC, b' '],
            ],
        ),
        (14, "last byte missing", cut_short.clone()),
        (15, "all of these after one another", vec![cut_short.concat()]),
        (16, "impossible byte", list(&[b"\xFE", b"\xFF", b"\xFE\xFE\xFF\xFF"])),
        (17, "overlong slash", with_two(b"\xC0\xAF", overlong(0xAF, 0x80))),
        (
            18,
            "longest overlong",
            list(&[
                b"\xC1\xBF",
                b"\xE0\x9F\xBF",
                b"\xF0\x8F\xBF\xBF",
                b"\xF8\x87\xBF\xBF\xBF",
                b"\xFC\x83\xBF\xBF\xBF\xBF",
            ]),
        ),
        (19, "overlong NUL", with_two(b"\xC0\x80", overlong(0x80, 0x80))),
        (
            20,
            "surrogate",
            [
                (0xA0, 0x80),
                (0xAD, 0xBF),
                (0xAE, 0x80),
                (0xAF, 0xBF),
                (0xB0, 0x80),
                (0xBE, 0x80),
                (0xBF, 0xBF),
            ]
            .map(|(second, third)| vec![0xED, second, third])
            .to_vec(),
        ),
        (
            21,
            "pair of surrogates",
            [(0xA0, 0x80), (0xAD, 0xBF), (0xAE, 0x80), (0xAF, 0xBF)]
                .into_iter()
                .flat_map(|(second, third)| {
                    [(0xB0, 0x80), (0xBF, 0xBF)]
                        .map(|(fifth, sixth)| vec![0xED, second, third, 0xED, fifth, sixth])
                })
                .collect(),
        ),
        (22, "no character, but valid", no_characters()),
        (23, "special", ('\u{FFF9}'..='\u{FFFF}').map(|c| c.to_string().into_bytes()).collect()),
    ]
}

/// U+FFFE and U+FFFF, and of the higher planes those whose code ends in them and that four bytes begin with `8F`, `9F`,
/// `AF` or `BF` in their second: planes 1 to 16.
fn no_characters() -> Vec<Vec<u8>> {
    (0..=0x10u32)
        .flat_map(|plane| [plane << 16 | 0xFFFE, plane << 16 | 0xFFFF])
        .filter_map(char::from_u32)
        .map(|c| c.to_string().into_bytes())
        .collect()
}
