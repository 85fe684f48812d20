//! Answers of servers to the agent's own requests: whether another request may follow does not depend on the parts in which
//! an answer comes, only if nothing is behind its end, and never after HTTP/1.0.
#![no_main]

use std::io::Read;

use featbit_agent::client::http::read_head;
use featbit_agent::client::http::skip::Skipped;
use libfuzzer_sys::fuzz_target;

const HEAD_BYTES_MAX: usize = 1024;
const BODY_BYTES_MAX: usize = 8192;

/// Gives at most so many bytes at a time.
struct Parts<'a>(&'a [u8], usize);

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let end = self.1.min(buffer.len());
        self.0.read(&mut buffer[..end])
    }
}

/// The status, what is known of the body, and how many bytes were not read.
fn answer(bytes: &[u8], part: usize) -> Option<(u16, Skipped, usize)> {
    let mut stream = Parts(bytes, part);
    let head = read_head(&mut stream, HEAD_BYTES_MAX).ok()?;
    let status = head.status;
    let skipped = head.skip_body(&mut stream, BODY_BYTES_MAX);
    Some((status, skipped, stream.0.len()))
}

fuzz_target!(|bytes: &[u8]| {
    let whole = answer(bytes, usize::MAX);
    for part in [1, 7, 100] {
        let Some((status, skipped, left)) = answer(bytes, part) else {
            assert!(whole.is_none());
            continue;
        };
        let (same, by_whole, _) = whole.as_ref().expect("a head in parts is one in a piece");
        assert_eq!(status, *same);
        if bytes.len() > BODY_BYTES_MAX {
            // Where the body is cut off depends on the parts.
            continue;
        }
        // In small parts, bytes behind the end may not have been seen.
        assert!(skipped.can_continue || !by_whole.can_continue);
        if skipped.can_continue && left == 0 {
            assert_eq!(&skipped, by_whole);
        }
        if by_whole.can_continue {
            // More behind the end is an answer to nothing.
            let more = [bytes, b"x"].concat();
            let (_, skipped, left) = answer(&more, usize::MAX).expect("the same head");
            assert!(!skipped.can_continue || left > 0);
            let old = bytes.starts_with(b"HTTP/1.0");
            assert!(
                !old || bytes.windows(8).any(|version| version == b"HTTP/1.1"),
                "the first may be an interim one"
            );
        }
    }
});
