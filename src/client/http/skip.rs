//! Drops the body of an answer, and says whether another request can follow on the connection.

use std::io::Read;

use crate::wire::http1::chunked::Chunked;

use super::{Head, PORTION_BYTES, read_more};

/// How many bytes of a body that is dropped are kept.
const BEGINNING_BYTES: usize = 512;

/// What is known after an answer's body was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The first bytes of the body, as they were sent (with the sizes of chunks). Foreign: not for log lines.
    pub beginning: Vec<u8>,
    /// Whether another request can follow on the connection: its end was found, and the server allows it.
    pub can_continue: bool,
}

/// How the end of a body is found.
enum Skipping {
    /// So many bytes are still to come.
    Length(usize),
    Chunked(Chunked),
    /// The body ends with the connection.
    ToTheEnd,
}

impl Skipping {
    /// `None` if the head contradicts itself.
    fn of(head: &Head) -> Option<Self> {
        let length = head.content_length().ok()?;
        match (head.is_chunked(), length) {
            _ if matches!(head.status, 204 | 304) => Some(Self::Length(0)),
            (true, None) => Some(Self::Chunked(Chunked::new())),
            // Someone on the way may believe the one, and someone the other (RFC 9112 section 6.3).
            (true, Some(_)) => None,
            (false, Some(length)) => Some(Self::Length(length)),
            (false, None) => Some(Self::ToTheEnd),
        }
    }

    /// Passes over these bytes. Returns how many belong to the body, if its end is among them or right behind them.
    fn pass(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Length(left) => {
                let here = bytes.len().min(*left);
                *left -= here;
                (*left == 0).then_some(here)
            }
            Self::Chunked(decoder) => match decoder.decode(bytes, &mut Vec::new(), u64::MAX) {
                Ok(progress) => progress.done.then_some(progress.consumed),
                Err(_) => {
                    *self = Self::ToTheEnd;
                    None
                }
            },
            Self::ToTheEnd => None,
        }
    }
}

impl Head {
    /// Whether the server lets another request follow on the connection, if the end of this answer is found.
    fn keeps_connection(&self) -> bool {
        let mut options = self.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
        self.is_1_1
            && !options.any(|(_, value)| value.split(',').any(|it| it.trim().eq_ignore_ascii_case("close")))
    }

    /// Reads the body to its end, but at most `bytes_max` of it, and drops it. The answer's meaning does not depend on
    /// that, so no failure is an error: it only means that no other request can follow on the connection.
    pub fn skip_body(mut self, stream: &mut impl Read, bytes_max: usize) -> Skipped {
        let mut skipping = Skipping::of(&self);
        let mut skipped = Skipped { beginning: Vec::new(), can_continue: false };
        let mut bytes = std::mem::take(&mut self.rest);
        let mut seen = 0;
        loop {
            let end = skipping.as_mut().and_then(|skipping| skipping.pass(&bytes));
            let shown = bytes.len().min(BEGINNING_BYTES.saturating_sub(skipped.beginning.len()));
            skipped.beginning.extend_from_slice(bytes.get(..shown).unwrap_or_default());
            seen += bytes.len();
            if let Some(end) = end {
                // Bytes behind the end are an answer to nothing.
                skipped.can_continue = end == bytes.len() && self.keeps_connection();
                return skipped;
            }
            bytes.clear();
            if skipping.is_none() || seen > bytes_max {
                return skipped;
            }
            if !matches!(read_more(stream, &mut bytes, PORTION_BYTES), Ok(1..)) {
                return skipped;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_head;
    use super::*;

    #[test]
    fn another_request_may_follow_only_where_the_answer_ends_and_the_server_allows_it() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", true),
            ("HTTP/1.1 500 No\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", true),
            ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\na", false),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", false),
            ("HTTP/1.1 200 OK\r\n\r\nabc", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200", false),
            ("HTTP/1.1 204 No Content\r\n\r\nabc", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nabc", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", false),
        ] {
            let mut stream = answer.as_bytes();
            let skipped = read_head(&mut stream, 1000).unwrap().skip_body(&mut stream, 1000);
            assert_eq!(skipped.can_continue, expected, "{answer:?}");
        }
    }

    #[test]
    fn of_a_long_body_a_part_is_read_and_a_smaller_one_kept() {
        for length in ["Content-Length: 20000\r\n", ""] {
            let answer = format!("HTTP/1.1 200 OK\r\n{length}\r\n{}", "x".repeat(20_000));
            let mut stream = answer.as_bytes();
            let skipped = read_head(&mut stream, 100).unwrap().skip_body(&mut stream, 10_000);
            assert!(!skipped.can_continue);
            assert_eq!(skipped.beginning, [b'x'; BEGINNING_BYTES]);
            assert!(stream.len() > 5_000, "{}", stream.len());
        }
    }
}
