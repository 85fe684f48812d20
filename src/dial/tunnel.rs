//! A tunnel through a proxy: the method CONNECT of HTTP/1.1.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::error::{DialError, Step};
use super::proxy::Proxy;
use super::stream::limit_time;

/// The longest answer of a proxy that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// Asks the proxy at the other end of `stream` for a tunnel to `target`.
pub(super) fn open(
    stream: &mut TcpStream,
    proxy: &Proxy,
    target: &str,
    deadline: Instant,
) -> Result<(), DialError> {
    let error = |problem: String, remedy: &str| DialError {
        step: Step::Proxy,
        peer: format!("the proxy {proxy}"),
        problem,
        remedy: remedy.into(),
    };
    let mut request = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: featbit-agent/{}\r\n",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(authorization) = &proxy.authorization {
        request.push_str("Proxy-Authorization: ");
        request.push_str(authorization.expose());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let exchanged = limit_time(stream, deadline)
        .and_then(|()| stream.write_all(request.as_bytes()))
        .and_then(|()| read_answer(stream, deadline));
    let (status, rest) = match exchanged {
        Ok(answer) => answer,
        Err(fault) => {
            let why = match fault.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "did not answer in time".into(),
                io::ErrorKind::UnexpectedEof => "closed the connection without an answer".into(),
                io::ErrorKind::InvalidData => format!("did not answer as an HTTP proxy does ({fault})"),
                _ => format!("broke the connection off ({fault})"),
            };
            return Err(error(why, "Check the proxy's address and port, and that it allows CONNECT"));
        }
    };
    match status {
        200..300 if rest == 0 => Ok(()),
        200..300 => Err(error("sent data before it was asked for any".into(), "")),
        407 => Err(error(
            "asks for a user and a password (status 407)".into(),
            "Write them into its URL (http://user:password@host:port, percent-encoded), in Upstream__Proxy or the \
             variable that names it. Only the Basic scheme is known",
        )),
        403 | 405 => Err(error(
            format!("refuses a tunnel to {target} (status {status})"),
            "Let the proxy allow CONNECT to this host and port, or name the host in NO_PROXY",
        )),
        502..=504 => Err(error(
            format!("cannot reach {target} (status {status})"),
            "Check the server's address, and that the proxy can reach it",
        )),
        status => {
            Err(error(format!("refuses a tunnel to {target} (status {status})"), "See the proxy's log"))
        }
    }
}

/// The status of the answer, and how many bytes came after its head.
fn read_answer(stream: &mut TcpStream, deadline: Instant) -> io::Result<(u16, usize)> {
    let mut bytes = Vec::new();
    let mut portion = [0; 1024];
    loop {
        limit_time(stream, deadline)?;
        let count = match stream.read(&mut portion) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(&portion[..count]);
        if let Some(answer) = parse_answer(&bytes)? {
            return Ok(answer);
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            let text = format!("its answer has more than {ANSWER_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    }
}

/// The status of the final answer at the start of `bytes`, and how many bytes come after its head; `None` if it is not all
/// there yet. Interim answers before it are passed over.
///
/// # Errors
/// `InvalidData` if this is no answer of an HTTP server.
pub fn parse_answer(mut bytes: &[u8]) -> io::Result<Option<(u16, usize)>> {
    // One after another and not by a call for each: a proxy decides how many there are.
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let head = match response.parse(bytes) {
            Ok(httparse::Status::Complete(head)) => head,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
        };
        let status = response.code.unwrap_or(0);
        bytes = &bytes[head..];
        if !(100..200).contains(&status) {
            return Ok(Some((status, bytes.len())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_answer_counts() {
        for (text, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Some((200, 0))),
            ("HTTP/1.0 407 Auth\r\nX: y\r\n\r\nbody", Some((407, 4))),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\r\n\r\nHTTP/1.1 200\r\n\r\n", Some((200, 0))),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nX", None),
            ("", None),
        ] {
            assert_eq!(parse_answer(text.as_bytes()).unwrap(), expected, "{text:?}");
        }
        for text in ["SSH-2.0-OpenSSH\r\n", "HTTP/2 200 OK\r\n\r\n", "\x16\x03\x01", "HTTP/1.1 2000\r\n\r\n"]
        {
            assert_eq!(
                parse_answer(text.as_bytes()).unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{text:?}"
            );
        }
    }

    /// What went wrong: each interim answer took a call within the last one, so that a proxy that sent many of them
    /// ended the process by the size of its stack.
    #[test]
    fn a_thousand_interim_answers_take_no_more_stack_than_one() {
        let mut bytes = b"HTTP/1.1 100\r\n\r\n".repeat(ANSWER_BYTES_MAX / 16);
        bytes.extend(b"HTTP/1.1 200\r\n\r\n");
        let small = std::thread::Builder::new().stack_size(128 * 1024);
        let parsed = small.spawn(move || parse_answer(&bytes).unwrap()).unwrap();
        assert_eq!(parsed.join().unwrap(), Some((200, 0)));
    }
}
