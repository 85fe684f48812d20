//! Chunked bodies: in one piece and in two, the result must be the same, and a simple reference parser finds the same body
//! and the same end of it.
#![no_main]

use featbit_agent::wire::http1::chunked::Chunked;
use libfuzzer_sys::fuzz_target;

const BODY_BYTES_MAX: u64 = 4096;

fn decode(parts: &[&[u8]]) -> Option<(Vec<u8>, usize, bool)> {
    let mut decoder = Chunked::new();
    let mut body = Vec::new();
    let mut consumed = 0;
    for part in parts {
        let progress = decoder.decode(part, &mut body, BODY_BYTES_MAX).ok()?;
        consumed += progress.consumed;
        if progress.done {
            return Some((body, consumed, true));
        }
        assert_eq!(progress.consumed, part.len(), "input is left though the body goes on");
    }
    Some((body, consumed, false))
}

/// A body and its length on the wire, line by line (RFC 9112 section 7.1.3).
fn twin(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut at = 0;
    let line = |at: &mut usize| {
        let end = *at + bytes.get(*at..)?.windows(2).position(|two| two == b"\r\n")?;
        let line = &bytes[*at..end];
        *at = end + 2;
        Some(line)
    };
    let mut body = Vec::new();
    loop {
        let size = line(&mut at)?;
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extension) = size.split_at(digits);
        assert!(matches!(extension.trim_ascii_start(), [] | [b';', ..]), "junk behind a size");
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..)?.get(..size)?);
        at += size;
        assert!(line(&mut at)?.is_empty(), "junk behind a chunk");
    }
    while !line(&mut at)?.is_empty() {}
    Some((body, at))
}

fuzz_target!(|data: &[u8]| {
    let Some((&at, data)) = data.split_first() else { return };
    let (before, after) = data.split_at(data.len() * usize::from(at) / 256);
    let whole = decode(&[data]);
    assert_eq!(whole, decode(&[before, after]));
    if let Some((body, consumed, done)) = whole {
        assert!(body.len() as u64 <= BODY_BYTES_MAX);
        if done {
            assert_eq!(twin(data), Some((body, consumed)));
        }
    }
});
