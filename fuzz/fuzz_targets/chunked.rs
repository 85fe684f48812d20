//! Chunked bodies: in one piece and in two, the outcome must be the same.
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

fuzz_target!(|data: &[u8]| {
    let Some((&at, data)) = data.split_first() else { return };
    let (before, after) = data.split_at(data.len() * usize::from(at) / 256);
    let whole = decode(&[data]);
    assert_eq!(whole, decode(&[before, after]));
    if let Some((body, ..)) = whole {
        assert!(body.len() as u64 <= BODY_BYTES_MAX);
    }
});
