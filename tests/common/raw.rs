//! Requests written by hand, and what a right answer to a wrong one looks like.

use std::io;

use super::agent::Agent;
use super::http::{Connection, Response};

/// Where usage events go.
pub const TRACK: &str = "/api/public/insight/track";
/// Where server SDKs poll.
pub const SERVER_POLL: &str = "/api/public/sdk/server/latest-all";
/// Where client SDKs poll.
pub const CLIENT_POLL: &str = "/api/public/sdk/client/latest-all";
/// Where datasets are pushed to.
pub const BOOTSTRAP: &str = "/api/public/proxy/bootstrap";

/// A connection to an agent.
pub fn connect(agent: &Agent) -> Connection {
    Connection::open(agent.port()).unwrap_or_else(|error| agent.fail(&format!("no connection: {error}")))
}

/// Sends bytes on a connection of their own and reads one answer.
pub fn send(agent: &Agent, request: impl AsRef<[u8]>) -> Response {
    let mut connection = connect(agent);
    // A refusal may come, and the connection be closed, before all was sent.
    let _ = connection.send(request.as_ref());
    let shown = String::from_utf8_lossy(&request.as_ref()[..request.as_ref().len().min(300)]).into_owned();
    connection
        .read_response(request.as_ref().starts_with(b"HEAD "))
        .unwrap_or_else(|error| agent.fail(&format!("no answer to {shown:?}: {error}")))
}

/// As [`send`], for a request after which the agent must close the connection.
pub fn send_last(agent: &Agent, request: impl AsRef<[u8]>) -> Response {
    let mut connection = connect(agent);
    let _ = connection.send(request.as_ref());
    let shown = String::from_utf8_lossy(&request.as_ref()[..request.as_ref().len().min(300)]).into_owned();
    let answer = connection
        .read_response(false)
        .unwrap_or_else(|error| agent.fail(&format!("no answer to {shown:?}: {error}")));
    assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
    assert_closed(&mut connection, &shown);
    answer
}

/// The agent has closed the connection, and sent nothing more.
pub fn assert_closed(connection: &mut Connection, after: &str) {
    match connection.is_at_end() {
        Ok(at_end) => assert!(at_end, "more came after {after:?}"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection stays open after {after:?}: {error}"),
    }
}

/// Checks that an answer is an error of that status, as one line of JSON; returns its text.
pub fn assert_error(answer: &Response, status: u16) -> String {
    assert_eq!(answer.status, status, "answered {:?}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    let text = answer.text();
    assert_eq!(text.matches('\n').count(), 1, "{text:?} is not one line");
    assert!(text.ends_with('\n'), "{text:?} does not end its line");
    let json = answer.json();
    let members = json.as_object().expect("an object");
    assert_eq!(members.len(), 1, "{text}");
    let reason = members["error"].as_str().expect("a reason");
    assert!(!reason.is_empty());
    reason.to_owned()
}

/// The bytes of a request with these header lines; `Host` is added, and `Content-Length` for a body.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = head(method, target, headers, body.map(<[u8]>::len)).into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// The head of such a request, with a body of so many bytes.
pub fn head(method: &str, target: &str, headers: &[(&str, &str)], body: Option<usize>) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = body {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    head
}

/// The body in the chunked coding, in chunks of `size` bytes.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// The body coded with gzip.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).expect("memory can be written to");
    encoder.finish().expect("memory can be written to")
}

/// What a body coded with gzip stands for.
pub fn gunzip(body: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut plain).expect("the body is gzip");
    plain
}
