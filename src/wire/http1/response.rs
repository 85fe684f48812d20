//! Writes responses (RFC 9110 section 15, RFC 9112 section 4).
//!
//! Must not choose a status or keep a connection: it appends bytes to a buffer. No `Date` is sent, because no response is
//! cached.

use super::head::Head;
use crate::wire::json::append_string;

/// What a response says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Nothing: HTTP/1.1 keeps it open.
    Keep,
    /// `Connection: keep-alive`, which an HTTP/1.0 client needs.
    KeepExplicitly,
    /// `Connection: close`.
    Close,
}

impl Connection {
    /// The value for the response to `head`; `server_keeps` is whether the server would keep the connection open.
    pub fn answer_to(head: &Head<'_>, server_keeps: bool) -> Self {
        match head.minor_version {
            _ if !server_keeps || !head.keep_alive => Connection::Close,
            0 => Connection::KeepExplicitly,
            _ => Connection::Keep,
        }
    }

    /// Whether another request may follow.
    pub fn stays(self) -> bool {
        self != Connection::Close
    }
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status, 100 to 599.
    pub status: u16,
    /// `Content-Type`, if there is a body to describe.
    pub content_type: Option<&'a str>,
    /// `Content-Length`, in bytes; `None` if it is not allowed (1xx, 204), or would be that of another response (304).
    pub content_length: Option<u64>,
    /// Whether the connection stays open.
    pub connection: Connection,
    /// Further fields, name and value. Control characters in a value are left out, so that it cannot end the line.
    pub fields: &'a [(&'a str, &'a str)],
}

impl ResponseHead<'_> {
    /// Appends the head, the empty line included.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        push_number(u64::from(self.status), out);
        out.push(b' ');
        out.extend_from_slice(status_text(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        if let Some(content_type) = self.content_type {
            push_field("Content-Type", content_type, out);
        }
        if let Some(length) = self.content_length {
            out.extend_from_slice(b"Content-Length: ");
            push_number(length, out);
            out.extend_from_slice(b"\r\n");
        }
        match self.connection {
            Connection::Keep => {}
            Connection::KeepExplicitly => push_field("Connection", "keep-alive", out),
            Connection::Close => push_field("Connection", "close", out),
        }
        for (name, value) in self.fields {
            push_field(name, value, out);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The interim response that lets a client send its body (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The type of a body in JSON, as FeatBit states it.
pub const JSON: &str = "application/json; charset=utf-8";

/// Appends a whole response whose body is the line `{"error": "…"}`. With `without_body` (the response to HEAD) the head is
/// the same, but the body is left out.
pub fn write_error(
    status: u16,
    reason: &str,
    connection: Connection,
    fields: &[(&str, &str)],
    without_body: bool,
    out: &mut Vec<u8>,
) {
    let body = error_body(reason);
    let content_length = Some(body.len() as u64);
    ResponseHead { status, content_type: Some(JSON), content_length, connection, fields }.write(out);
    if !without_body {
        out.extend_from_slice(&body);
    }
}

/// `{"error":"…"}` and a line end. Control characters become spaces, so that it is one line to read.
pub fn error_body(reason: &str) -> Vec<u8> {
    let is_control = |character: char| character < ' ';
    let one_line = reason.contains(is_control).then(|| reason.replace(is_control, " "));
    let mut body = Vec::with_capacity(reason.len() + 13);
    body.extend_from_slice(b"{\"error\":");
    append_string(one_line.as_deref().unwrap_or(reason), &mut body);
    body.extend_from_slice(b"}\n");
    body
}

/// The phrase that goes with a status (RFC 9110 section 15, RFC 6585); empty if this server never sends it.
pub const fn status_text(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

fn push_field(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().filter(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7F)));
    out.extend_from_slice(b"\r\n");
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_whole_head() {
        let mut out = Vec::new();
        ResponseHead {
            status: 200,
            content_type: Some(JSON),
            content_length: Some(1_234_567_890),
            connection: Connection::Keep,
            fields: &[("Access-Control-Allow-Origin", "*")],
        }
        .write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 1234567890\r\n\
             Access-Control-Allow-Origin: *\r\n\r\n"
        );
    }

    #[test]
    fn says_what_becomes_of_the_connection() {
        for (connection, line) in [
            (Connection::Keep, ""),
            (Connection::KeepExplicitly, "Connection: keep-alive\r\n"),
            (Connection::Close, "Connection: close\r\n"),
        ] {
            let mut out = Vec::new();
            ResponseHead { status: 204, content_type: None, content_length: None, connection, fields: &[] }
                .write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("HTTP/1.1 204 No Content\r\n{line}\r\n"));
        }
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        let mut out = Vec::new();
        ResponseHead {
            status: 200,
            content_type: None,
            content_length: Some(0),
            connection: Connection::Keep,
            fields: &[("X", "a\r\nSet-Cookie: b\0\x7F\tc")],
        }
        .write(&mut out);
        assert!(String::from_utf8(out).unwrap().ends_with("\r\nX: aSet-Cookie: b\tc\r\n\r\n"));
    }

    #[test]
    fn error_bodies_are_one_line_of_json() {
        let body = error_body("say \"no\" \\ or\nyes é");
        let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(parsed, serde_json::json!({"error": "say \"no\" \\ or yes é"}));
        assert_eq!(body.iter().filter(|&&byte| byte == b'\n').count(), 1);
    }

    #[test]
    fn an_answer_to_head_announces_the_body_it_leaves_out() {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        write_error(405, "no", Connection::Close, &[("Allow", "GET")], false, &mut with);
        write_error(405, "no", Connection::Close, &[("Allow", "GET")], true, &mut without);
        assert_eq!(with, [without, error_body("no")].concat());
    }
}
