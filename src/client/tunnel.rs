//! Opens a tunnel through an HTTP proxy by the method CONNECT.

use std::io;
use std::net::TcpStream;
use std::time::Instant;

use super::error::{DialError, Step};
use super::http;
use super::proxy::Proxy;
use super::stream::BeforeDeadline;

/// The longest answer that a proxy may send.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Asks the proxy at the other end of `socket` for a tunnel to `target`.
pub(super) fn open(
    socket: &mut TcpStream,
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
    let agent = concat!("featbit-agent/", env!("CARGO_PKG_VERSION"));
    let mut fields = vec![("User-Agent", agent)];
    if let Some(authorization) = &proxy.authorization {
        fields.push(("Proxy-Authorization", authorization.expose()));
    }
    let request = http::Request { method: "CONNECT", target, host: target, fields: &fields, body: b"" };
    let mut stream = BeforeDeadline::new(socket, deadline);
    let exchanged = request.send(&mut stream).and_then(|()| http::read_head(&mut stream, ANSWER_BYTES_MAX));
    let (status, rest) = match exchanged {
        Ok(head) => (head.status, head.bytes_behind()),
        Err(cause) => {
            let why = match cause.kind() {
                io::ErrorKind::TimedOut => "did not answer in time".into(),
                io::ErrorKind::UnexpectedEof => "closed the connection without an answer".into(),
                io::ErrorKind::InvalidData => format!("did not answer as an HTTP proxy does ({cause})"),
                _ => format!("broke the connection off ({cause})"),
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
             variable that names it. Only the Basic scheme is supported",
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
