//! Registers the agent with the server: one HTTP call on a separate connection.
//!
//! Must not wait beyond its deadline, and must not follow a redirect: the key is for this server only.

use std::io::{self, Read, Write};

use crate::client::http;
use crate::protocol::from_relay::write_registration;

use super::endpoint::Endpoint;
use super::reply::{Asked, Meaning, Reply};

/// The most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of an answer's body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest name that the server may give the agent.
const ID_CHARS_MAX: usize = 256;

/// The result of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Registration {
    /// The agent is registered under this name.
    Done(String),
    /// The answer has another status than 200: the status, and what it means.
    Not(u16, Meaning),
    /// There was no usable answer; the description.
    Failed(String),
}

/// Registers at `path`, over an open connection.
pub(super) fn register(stream: &mut (impl Read + Write), endpoint: &Endpoint, path: &str) -> Registration {
    match ask(stream, endpoint, path) {
        Ok(reply) if reply.status == 200 => judge(&reply),
        Ok(reply) => Registration::Not(reply.status, reply.meaning(Asked::Registration, path)),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Registration::Failed("the server did not answer in time".into())
        }
        Err(error) => Registration::Failed(format!("the server's answer cannot be read ({error})")),
    }
}

fn ask(stream: &mut (impl Read + Write), endpoint: &Endpoint, path: &str) -> io::Result<Reply> {
    let body = write_registration(&endpoint.agent_id);
    let request = http::Request {
        method: "POST",
        target: path,
        host: &endpoint.host(),
        fields: &[
            ("Authorization", endpoint.key.expose()),
            ("Content-Type", "application/json; charset=utf-8"),
            ("User-Agent", "featbit-agent"),
            ("Connection", "close"),
        ],
        body: body.as_bytes(),
    };
    request.send(stream)?;
    read_answer(stream)
}

/// The name in an answer with status 200, unless that is some other server's page.
fn judge(reply: &Reply) -> Registration {
    let Reply { kind, body, .. } = reply;
    let plain = kind.is_empty() || kind.trim_start().to_ascii_lowercase().starts_with("text/plain");
    let id = std::str::from_utf8(body).map(str::trim).unwrap_or_default();
    let is_name = !id.is_empty() && id.chars().count() <= ID_CHARS_MAX && !id.chars().any(char::is_control);
    if plain && is_name {
        Registration::Done(id.to_owned())
    } else {
        Registration::Failed(format!(
            "the answer contains no name of an agent (status 200{}). Check that StreamingUri is a FeatBit server",
            reply.who()
        ))
    }
}

fn read_answer(stream: &mut impl Read) -> io::Result<Reply> {
    let head = http::read_head(stream, HEAD_BYTES_MAX)?;
    let field = |name: &str| head.field(name).unwrap_or_default().to_owned();
    let reply = Reply {
        status: head.status,
        kind: field("content-type"),
        location: field("location"),
        server: field("server"),
        authenticate: field("www-authenticate"),
        body: Vec::new(),
    };
    let body = head.read_body(stream, BODY_BYTES_MAX);
    let body = match reply.status {
        200 => body?,
        // For a refusal the head is enough.
        _ => body.unwrap_or_default(),
    };
    Ok(Reply { body, ..reply })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AbsoluteUri, Secret};

    /// A server that answers with these bytes, so many at a time, whatever it is asked.
    struct Peer {
        answer: Vec<u8>,
        at: usize,
        step: usize,
        asked: Vec<u8>,
    }

    impl Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let end = (self.at + self.step.min(buffer.len())).min(self.answer.len());
            let part = &self.answer[self.at..end];
            buffer[..part.len()].copy_from_slice(part);
            self.at = end;
            Ok(part.len())
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.asked.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn endpoint() -> Endpoint {
        let uri = AbsoluteUri::parse("ws://els:5100", &["ws"]).unwrap();
        Endpoint { uri, key: Secret::new("rp-1".into()), agent_id: "agent \"1\"".into() }
    }

    fn registered(answer: &str) -> Registration {
        // By single bytes, long ones would take a minute.
        let steps = if answer.len() > 10_000 { [701, 1000, 100_000] } else { [1, 7, 100_000] };
        let each = steps.map(|step| {
            let mut peer = Peer { answer: answer.as_bytes().to_vec(), at: 0, step, asked: Vec::new() };
            register(&mut peer, &endpoint(), "/api/public/agent/register")
        });
        assert!(each[0] == each[1] && each[1] == each[2], "{each:?}");
        each[0].clone()
    }

    #[test]
    fn the_request_has_the_form_that_the_server_expects() {
        let mut peer = Peer { answer: Vec::new(), at: 0, step: 1, asked: Vec::new() };
        register(&mut peer, &endpoint(), "/x/api/public/agent/register");
        let asked = String::from_utf8(peer.asked).unwrap();
        let (head, body) = asked.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, r#""agent \"1\"""#);
        let mut lines = head.split("\r\n");
        assert_eq!(lines.next(), Some("POST /x/api/public/agent/register HTTP/1.1"));
        for line in [
            "Host: els:5100",
            "Authorization: rp-1",
            "Content-Type: application/json; charset=utf-8",
            "Content-Length: 13",
            "Connection: close",
        ] {
            assert!(head.contains(line), "{line} is not in\n{head}");
        }
    }

    #[test]
    fn answers_of_a_real_server_are_understood() {
        let recorded: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/relay.json")).unwrap();
        let mut statuses = Vec::new();
        for call in recorded["register"].as_array().unwrap() {
            let text = |name: &str| call[name].as_str().unwrap().to_owned();
            let (status, kind, body) =
                (call["status"].as_u64().unwrap(), text("contentType"), text("answer"));
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            );
            let expected = match status {
                200 => Registration::Done(body),
                401 => Registration::Not(401, Meaning::Refused),
                _ => Registration::Not(
                    400,
                    Meaning::Failed(format!("the server answered with status {status}")),
                ),
            };
            assert_eq!(registered(&answer), expected);
            statuses.push(status);
        }
        assert_eq!(statuses, [200, 200, 401, 401, 400]);
    }

    #[test]
    fn a_body_ends_by_its_length_or_with_the_connection() {
        let done = Registration::Done("a-1".into());
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na-1",
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n a-1\n",
            "HTTP/1.0 200 \r\nContent-Length: 3\r\n\r\na-1 and more",
        ] {
            assert_eq!(registered(answer), done, "{answer}");
        }
    }

    #[test]
    fn every_other_answer_is_a_failure_with_a_description() {
        for (answer, part) in [
            ("", "cannot be read"),
            ("\x16\x03\x01 what?\r\n\r\n", "not an HTTP response"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nage", "cannot be read"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz", "malformed"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "no name"),
            ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>!", "no name"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na\x01b", "no name"),
            ("HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", "http://elsewhere/"),
            ("HTTP/1.1 503 Busy\r\n\r\n", "status 503"),
            ("HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\nbroken", "status 503"),
        ] {
            let (Registration::Failed(text) | Registration::Not(_, Meaning::Failed(text))) =
                registered(answer)
            else {
                panic!("{answer}")
            };
            assert!(text.contains(part), "{answer}: {text}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(100_000));
        assert!(matches!(registered(&endless), Registration::Failed(text) if text.contains("no end")));
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_000));
        assert!(matches!(registered(&long), Registration::Failed(text) if text.contains("too long")));
        let absent = registered("HTTP/1.1 404 Not Found\r\n\r\n");
        assert!(matches!(absent, Registration::Not(404, Meaning::Absent(_))), "{absent:?}");
        let refused = registered("HTTP/1.1 403 Forbidden\r\n\r\n");
        assert_eq!(refused, Registration::Not(403, Meaning::Refused));
        let login = registered(
            "HTTP/1.1 401 No\r\nServer: nginx\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Type: text/html\r\n\
             Content-Length: 6\r\n\r\n<html>",
        );
        assert!(matches!(login, Registration::Not(401, Meaning::Blocked(_))), "{login:?}");
    }
}
