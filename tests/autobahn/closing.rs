//! Section 7: the closing handshake.

use crate::case::{Case, End, Seen};
use crate::common::frames::{CLOSE, CONTINUATION, PING, TEXT, fragment, whole};

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    whole(CLOSE, &[&code.to_be_bytes()[..], reason].concat())
}

/// All cases of this section.
pub fn cases() -> Vec<Case> {
    [order(), payloads(), codes()].concat()
}

/// 7.1: what comes around a close frame.
fn order() -> Vec<Case> {
    let hello = b"Hello World!";
    let normal = close(1000, b"");
    let text = whole(TEXT, hello);
    let closed = |case: Case| case.end(End::Answered(&[1000]));
    // What repeats to 256 KiB.
    let large: Vec<u8> = b"BAsd7&jh23".iter().copied().cycle().take(256 * 1024).collect();
    let many = [whole(TEXT, &large), text.clone(), normal.clone(), whole(PING, b"")];
    vec![
        closed(
            Case::new("7.1.1", "text, close")
                .send(&[text.clone(), normal.clone()])
                .expect(&[Seen::Text(hello.to_vec())]),
        ),
        closed(Case::new("7.1.2", "close twice").send(&[normal.clone(), normal.clone()])),
        closed(Case::new("7.1.3", "close, ping").send(&[normal.clone(), whole(PING, b"")])),
        closed(Case::new("7.1.4", "close, text").send(&[normal.clone(), text.clone()])),
        closed(Case::new("7.1.5", "fragment, close, its continuation").send(&[
            fragment(TEXT, b"fragment1"),
            normal.clone(),
            whole(CONTINUATION, b"fragment2"),
        ])),
        closed(
            Case::new("7.1.6", "text of 256 KiB, text, close, ping")
                .send(&many)
                .expect(&[Seen::Text(large), Seen::Text(hello.to_vec())])
                .informational(),
        ),
    ]
}

/// 7.3 and 7.5: what a close frame may carry.
fn payloads() -> Vec<Case> {
    let bad_reason = ["κ\u{1F79}σμε".as_bytes(), b"\xED\xA0\x80edited"].concat();
    vec![
        Case::new("7.3.1", "close without payload")
            .send(&[whole(CLOSE, b"")])
            .end(End::Answered(&[1000, 1005])),
        Case::new("7.3.2", "close of one byte").send(&[whole(CLOSE, b"a")]).end(End::ByPeer(1002)),
        Case::new("7.3.3", "close with a code").send(&[close(1000, b"")]).end(End::Echoed(1000)),
        Case::new("7.3.4", "close with a code and a reason")
            .send(&[close(1000, b"Hello World!")])
            .end(End::Echoed(1000)),
        Case::new("7.3.5", "close with a reason of 123 bytes")
            .send(&[close(1000, &[b'*'; 123])])
            .end(End::Echoed(1000)),
        Case::new("7.3.6", "close with a reason of 124 bytes")
            .send(&[close(1000, &[b'*'; 124])])
            .end(End::ByPeer(1002)),
        Case::new("7.5.1", "close with a reason that is no UTF-8")
            .send(&[close(1000, &bad_reason)])
            .end(End::Answered(&[1002, 1007])),
    ]
}

/// 7.7: codes that may be sent; 7.9: those that may not; 7.13: those nobody has defined.
fn codes() -> Vec<Case> {
    let mut cases = Vec::new();
    let valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    for (index, code) in valid.into_iter().enumerate() {
        let case = Case::new(format!("7.7.{}", index + 1), format!("close with the valid code {code}"));
        cases.push(case.send(&[close(code, b"")]).end(End::Echoed(code)));
    }
    let invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    for (index, code) in invalid.into_iter().enumerate() {
        let case = Case::new(format!("7.9.{}", index + 1), format!("close with the invalid code {code}"));
        cases.push(case.send(&[close(code, b"")]).end(End::ByPeer(1002)));
    }
    for (number, code) in [("7.13.1", 5000), ("7.13.2", 65_535)] {
        let case = Case::new(number, format!("close with the undefined code {code}"));
        cases.push(case.send(&[close(code, b"")]).end(End::ByPeer(1002)).informational());
    }
    cases
}
