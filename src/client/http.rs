//! One HTTP/1.1 exchange: sends a request, and reads the head and, if needed, the body of the answer.
//!
//! Must not follow a redirect, since a key is meant for one server only. Works on any open stream, which is responsible for
//! proxies, TLS and deadlines. A connection may be used for another exchange only if [`skip`] says so; then the
//! caller decides.

use std::io::{self, Read, Write};

use crate::wire::http1::chunked::Chunked;

pub mod skip;

/// How many header fields an answer may have.
const FIELDS_MAX: usize = 200;
/// How many bytes are read at once.
const PORTION_BYTES: usize = 4096;

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method, such as `GET`.
    pub method: &'a str,
    /// The path and query, or `host:port` for a tunnel.
    pub target: &'a str,
    /// The `Host` field.
    pub host: &'a str,
    /// Further header fields, without `Content-Length`, which is added if there is a body.
    pub fields: &'a [(&'a str, &'a str)],
    /// The body; may be empty.
    pub body: &'a [u8],
}

impl Request<'_> {
    /// Sends the request.
    ///
    /// # Errors
    /// If writing to the stream fails.
    pub fn send(&self, stream: &mut impl Write) -> io::Result<()> {
        stream.write_all(&self.to_bytes())?;
        stream.flush()
    }

    /// The bytes of the request.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { method, target, host, fields, body } = self;
        let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        for (name, value) in *fields {
            // Writing into a vector cannot fail.
            let _ = write!(bytes, "{name}: {value}\r\n");
        }
        if !body.is_empty() {
            let _ = write!(bytes, "Content-Length: {}\r\n", body.len());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        bytes
    }
}

/// The head of an answer, and the bytes received after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code, such as 200.
    pub status: u16,
    /// Whether it is HTTP/1.1, not 1.0.
    is_1_1: bool,
    /// The header fields whose value is UTF-8, in their order.
    fields: Vec<(String, String)>,
    /// The bytes after the head: the beginning of the body, or whatever else the server has sent.
    rest: Vec<u8>,
}

impl Head {
    /// The value of the first field of this name; `None` if there is none.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// How many bytes were received after the head.
    pub fn bytes_behind(&self) -> usize {
        self.rest.len()
    }

    /// The value of `Content-Length`; `None` if there is none.
    ///
    /// # Errors
    /// `InvalidData` if it is not a number, or given twice with different values: nobody knows then where the body ends
    /// (RFC 9112 section 6.3).
    fn content_length(&self) -> io::Result<Option<usize>> {
        let mut length = None;
        for (_, value) in self.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            let given = value.trim().parse().map_err(|_| invalid("its Content-Length is not a number"))?;
            if length.is_some_and(|length| length != given) {
                return Err(invalid("it has two different values of Content-Length"));
            }
            length = Some(given);
        }
        Ok(length)
    }

    fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"))
    }

    /// Reads the body to its end: that of its chunks, of its `Content-Length`, or of the connection.
    ///
    /// # Errors
    /// If it is longer than `bytes_max`, malformed, or cut short, or if the stream fails.
    pub fn read_body(self, stream: &mut impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
        let chunked = self.is_chunked();
        let length = self.content_length()?;
        let (mut bytes, mut decoder, mut body) = (self.rest, Chunked::new(), Vec::new());
        loop {
            if chunked {
                let progress = decoder
                    .decode(&bytes, &mut body, bytes_max as u64)
                    .map_err(|_| invalid("its chunks are malformed or too many"))?;
                bytes.clear();
                if progress.done {
                    return Ok(body);
                }
            } else {
                body.append(&mut bytes);
                if let Some(length) = length.filter(|length| body.len() >= *length) {
                    body.truncate(length);
                    return Ok(body);
                }
            }
            if body.len() > bytes_max {
                return Err(invalid("its body is too long"));
            }
            if read_more(stream, &mut bytes, PORTION_BYTES)? == 0 {
                let ends_with_the_connection = !chunked && length.is_none();
                return if ends_with_the_connection {
                    Ok(body)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }
}

/// Reads the head of the final answer, and skips interim ones (status 1xx).
///
/// # Errors
/// `InvalidData` if the bytes are not HTTP, or the head is longer than `bytes_max`; `UnexpectedEof` if the connection ends
/// before the head is complete; and the stream's own errors.
pub fn read_head(stream: &mut impl Read, bytes_max: usize) -> io::Result<Head> {
    let mut bytes = Vec::new();
    loop {
        // At most one byte beyond the limit, so that no read can complete a head that is too long.
        let room = (bytes_max + 1).saturating_sub(bytes.len());
        if read_more(stream, &mut bytes, room)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(head) = parse_head(&bytes)? {
            return Ok(head);
        }
        if bytes.len() > bytes_max {
            return Err(invalid(&format!("its head has no end within {bytes_max} bytes")));
        }
    }
}

/// The head of the final answer at the start of `bytes`; `None` if it is not complete yet.
///
/// # Errors
/// `InvalidData` if the bytes are not an HTTP answer.
pub fn parse_head(mut bytes: &[u8]) -> io::Result<Option<Head>> {
    // A loop, not a recursion: the peer controls the number of interim answers.
    loop {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let head_bytes = match response.parse(bytes) {
            Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(invalid(&format!("it is not an HTTP response: {error}"))),
        };
        let status = response.code.unwrap_or(0);
        let rest = &bytes[head_bytes..];
        if (100..200).contains(&status) {
            bytes = rest;
            continue;
        }
        let fields = response.headers.iter().filter_map(|field| {
            let value = std::str::from_utf8(field.value).ok()?;
            Some((field.name.to_owned(), value.to_owned()))
        });
        let is_1_1 = response.version == Some(1);
        return Ok(Some(Head { status, is_1_1, fields: fields.collect(), rest: rest.to_vec() }));
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Reads up to `room` more bytes and appends them. Returns their number; 0 if the connection has ended.
fn read_more(stream: &mut impl Read, bytes: &mut Vec<u8>, room: usize) -> io::Result<usize> {
    let mut buffer = [0; PORTION_BYTES];
    let end = room.min(PORTION_BYTES);
    loop {
        match stream.read(&mut buffer[..end]) {
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> io::Result<Option<(u16, usize)>> {
        Ok(parse_head(text.as_bytes())?.map(|head| (head.status, head.bytes_behind())))
    }

    #[test]
    fn interim_answers_are_skipped() {
        for (text, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Some((200, 0))),
            ("HTTP/1.0 407 Auth\r\nX: y\r\n\r\nbody", Some((407, 4))),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\r\n\r\nHTTP/1.1 200\r\n\r\n", Some((200, 0))),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nX", None),
            ("", None),
        ] {
            assert_eq!(parsed(text).unwrap(), expected, "{text:?}");
        }
        for text in ["SSH-2.0-OpenSSH\r\n", "HTTP/2 200 OK\r\n\r\n", "\x16\x03\x01", "HTTP/1.1 2000\r\n\r\n"]
        {
            assert_eq!(parsed(text).unwrap_err().kind(), io::ErrorKind::InvalidData, "{text:?}");
        }
    }

    /// What went wrong: interim answers were parsed by recursion, so a proxy that sent many of them overflowed the stack
    /// and ended the process.
    #[test]
    fn a_thousand_interim_answers_take_no_more_stack_than_one() {
        let mut bytes = b"HTTP/1.1 100\r\n\r\n".repeat(1024);
        bytes.extend(b"HTTP/1.1 200\r\n\r\n");
        let small = std::thread::Builder::new().stack_size(128 * 1024);
        let parsed = small.spawn(move || parse_head(&bytes).unwrap().map(|head| head.status)).unwrap();
        assert_eq!(parsed.join().unwrap(), Some(200));
    }

    #[test]
    fn a_request_with_a_body_has_a_content_length() {
        let request = Request {
            method: "POST",
            target: "/x?y",
            host: "els:5100",
            fields: &[("Connection", "close")],
            body: b"12345",
        };
        let mut sent = Vec::new();
        request.send(&mut sent).unwrap();
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            "POST /x?y HTTP/1.1\r\nHost: els:5100\r\nConnection: close\r\nContent-Length: 5\r\n\r\n12345"
        );
        let mut sent = Vec::new();
        Request { method: "GET", fields: &[], body: b"", ..request }.send(&mut sent).unwrap();
        assert_eq!(String::from_utf8(sent).unwrap(), "GET /x?y HTTP/1.1\r\nHost: els:5100\r\n\r\n");
    }

    /// What went wrong: a head of 20,000 bytes was accepted, since the read that exceeded the limit also completed it.
    #[test]
    fn a_head_that_is_too_long_is_refused_even_if_its_end_is_there() {
        let text = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(20_000));
        for bytes_max in [1_000, 16 * 1024, 20_000] {
            let error = read_head(&mut text.as_bytes(), bytes_max).unwrap_err();
            assert!(error.to_string().contains(&format!("within {bytes_max} bytes")), "{error}");
        }
        assert!(read_head(&mut text.as_bytes(), text.len()).is_ok());
    }

    /// What went wrong: of two lengths the first was believed, and one that is no number was ignored.
    #[test]
    fn a_body_whose_length_is_unclear_is_refused() {
        for (lengths, expected) in [
            ("Content-Length: 3\r\n", Some("abc")),
            ("Content-Length: 3\r\ncontent-length: 3\r\n", Some("abc")),
            ("", Some("abcdef")),
            ("Content-Length: 3\r\nContent-Length: 4\r\n", None),
            ("Content-Length: x\r\n", None),
            ("Content-Length: -1\r\n", None),
            ("Content-Length: \r\n", None),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{lengths}\r\nabcdef");
            let mut stream = text.as_bytes();
            let body = read_head(&mut stream, 1000).unwrap().read_body(&mut stream, 1000);
            assert_eq!(body.ok().as_deref(), expected.map(str::as_bytes), "{lengths:?}");
        }
    }

    #[test]
    fn fields_are_found_in_any_case_and_the_body_ends_by_its_length() {
        let mut stream = &b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\nServer: x\r\n\r\nabcdef"[..];
        let head = read_head(&mut stream, 1000).unwrap();
        assert_eq!((head.field("Content-Length"), head.field("server")), (Some("3"), Some("x")));
        assert_eq!(head.field("Location"), None);
        assert_eq!(head.read_body(&mut stream, 1000).unwrap(), b"abc");
    }
}
