//! An HTTP answer other than the requested one: who sent it, as far as that is visible, and what to do about it.
//!
//! Must not log what may contain a key: the query and user of a redirect's target, and any part of a body.

use std::fmt;

/// The longest foreign text that is quoted in a log line, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// What was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A registration at this path.
    Registration,
    /// A WebSocket.
    Stream,
}

/// What an answer means. The texts describe it and say what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// FeatBit's server refuses the agent.
    Refused,
    /// Something in front of the server refuses the agent.
    Blocked(String),
    /// The path does not exist.
    Absent(String),
    /// Any other failure.
    Failed(String),
}

/// The parts of an answer that show who sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub status: u16,
    /// `Content-Type`.
    pub kind: String,
    /// `Location`.
    pub location: String,
    /// `Server`.
    pub server: String,
    /// `WWW-Authenticate`, or `Proxy-Authenticate`.
    pub authenticate: String,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

impl Reply {
    /// What it means for the request.
    pub fn meaning(&self, asked: Asked, path: &str) -> Meaning {
        let (status, who) = (self.status, self.who());
        match status {
            300..=399 if !self.location.is_empty() => Meaning::Failed(format!(
                "it redirects the agent to {} (status {status}{who}); the agent does not follow redirects, since its key \
                 is for the server alone: set StreamingUri to the server's own address",
                redirect_target(&self.location)
            )),
            401 | 403 if self.is_featbits() => Meaning::Refused,
            401 | 403 if !self.authenticate.is_empty() => Meaning::Blocked(format!(
                "something in front of the server asks for a login (status {status}, {}{who}), and the ApiKey was not \
                 checked: allow the agent there without a login, by its address or by a client certificate \
                 (Upstream__ClientCertificateFile)",
                quoted(self.authenticate.split([' ', ',']).next().unwrap_or_default())
            )),
            401 | 403 => Meaning::Blocked(format!(
                "something in front of the server, such as a gateway or firewall, refuses the agent (status {status}{who}), \
                 and neither ApiKey nor licence was checked: configure it to let the agent through to /streaming and \
                 /api/public/agent/register"
            )),
            407 => Meaning::Blocked(format!(
                "a proxy on the way asks for a login (status {status}{who}): set Upstream__Proxy to its URL, with user and \
                 password"
            )),
            502..=504 if !self.is_featbits() => Meaning::Failed(format!(
                "the gateway in front of the server cannot reach it (status {status}{who})"
            )),
            404 => Meaning::Absent(match asked {
                Asked::Registration => format!("the server has nothing at {path} (404{who})"),
                Asked::Stream => format!(
                    "there is nothing at {path} (status {status}{who}): StreamingUri has to be the address of FeatBit's \
                     evaluation server, with the path under which a gateway forwards to it"
                ),
            }),
            _ if asked == Asked::Stream && matches!(status, 200..=299 | 400 | 426) => {
                Meaning::Failed(format!(
                    "it answered the WebSocket handshake with status {status}{who}: StreamingUri has to be the address of \
                     FeatBit's evaluation server, and a gateway in front of it has to use HTTP/1.1 and forward Upgrade and \
                     Connection"
                ))
            }
            _ => Meaning::Failed(match asked {
                Asked::Registration => format!("the server answered with status {status}{who}"),
                Asked::Stream => format!("it answered the WebSocket handshake with status {status}{who}"),
            }),
        }
    }

    /// Whether a FeatBit server or a featbit-agent sent it. This is visible in the body only, since gateways replace the
    /// `Server` field of forwarded answers. An answer without a body counts, unless a field shows another sender.
    fn is_featbits(&self) -> bool {
        let kind = self.kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match &*kind {
            "application/problem+json" => true,
            "application/json" => self.body.starts_with(br#"{"error":"#),
            "" => {
                let is_named = !matches!(&*self.server, "" | "Kestrel");
                self.body.is_empty() && self.authenticate.is_empty() && !is_named
            }
            _ => false,
        }
    }

    /// The sender and content type, for a log line; empty if FeatBit's server sent it.
    pub fn who(&self) -> Who<'_> {
        Who(self)
    }
}

/// See [`Reply::who`].
pub(super) struct Who<'a>(&'a Reply);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reply = self.0;
        if reply.is_featbits() {
            return Ok(());
        }
        if !reply.server.is_empty() {
            write!(f, ", Server: {}", quoted(&reply.server))?;
        }
        match reply.kind.split(';').next().map(str::trim).filter(|kind| !kind.is_empty()) {
            Some(kind) => write!(f, ", {}", quoted(kind)),
            None => Ok(()),
        }
    }
}

/// A foreign text for a log line: quoted, without control characters, and cut if it is too long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The target of a redirect for a log line, without query and user: the query may repeat that of the request, which contains
/// the key.
fn redirect_target(location: &str) -> String {
    let end = location.find(['?', '#']).unwrap_or(location.len());
    let place = &location[..end];
    let start = place.find("//").map_or(0, |at| at + 2);
    let authority = place[start..].find('/').map_or(place.len(), |at| start + at);
    match place[start..authority].rfind('@') {
        Some(at) => quoted(&format!("{}{}", &place[..start], &place[start + at + 1..])),
        None => quoted(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NGINX_401: &[u8] = b"<html>\r\n<head><title>401 Authorization Required</title></head>";

    fn reply(status: u16, kind: &str, server: &str, body: &[u8]) -> Reply {
        Reply { status, kind: kind.into(), server: server.into(), body: body.to_vec(), ..Reply::default() }
    }

    fn describe(meaning: Meaning) -> String {
        match meaning {
            Meaning::Refused => "refused".into(),
            Meaning::Blocked(text) => format!("blocked: {text}"),
            Meaning::Absent(text) => format!("absent: {text}"),
            Meaning::Failed(text) => format!("failed: {text}"),
        }
    }

    fn of_stream(reply: &Reply) -> String {
        describe(reply.meaning(Asked::Stream, "/streaming"))
    }

    /// What went wrong: nginx's basic authentication was reported as a wrong ApiKey, a firewall's page as a full licence.
    #[test]
    fn only_a_refusal_of_featbits_server_is_about_the_key_or_the_licence() {
        for status in [401, 403] {
            for own in [
                reply(status, "application/problem+json; charset=utf-8", "Kestrel", b"{}"),
                // A gateway puts its own name on what it passes on.
                reply(status, "application/problem+json", "nginx/1.22.1", b"{\"status\""),
                reply(status, "application/json", "", br#"{"error":"Authorization must be"}"#),
                reply(status, "", "Kestrel", b""),
                reply(status, "", "", b""),
            ] {
                assert_eq!(of_stream(&own), "refused", "{own:?}");
            }
            for other in [
                reply(status, "text/html", "nginx/1.22.1", NGINX_401),
                reply(status, "text/plain", "envoy", b"RBAC: access denied"),
                reply(status, "application/json", "kong/3.4", br#"{"message":"No API key found"}"#),
                reply(status, "", "awselb/2.0", b""),
                reply(status, "", "", b"forbidden"),
            ] {
                let text = of_stream(&other);
                assert!(text.starts_with("blocked: something in front of the server"), "{text}");
                assert!(text.contains("neither ApiKey nor licence was checked"), "{text}");
                assert!(other.server.is_empty() || text.contains(&other.server), "{text}");
            }
        }
        let login = Reply {
            authenticate: r#"Basic realm="internal""#.into(),
            ..reply(401, "text/html", "nginx/1.22.1", NGINX_401)
        };
        let text = of_stream(&login);
        assert!(text.contains(r#"asks for a login (status 401, "Basic", Server: "nginx/1.22.1""#), "{text}");
        assert!(text.contains("the ApiKey was not checked"), "{text}");
    }

    #[test]
    fn the_text_for_other_answers_of_a_gateway_says_what_to_do() {
        for (reply, part) in [
            (
                reply(502, "text/html", "nginx", b"<html>"),
                "failed: the gateway in front of the server cannot reach it",
            ),
            (
                reply(404, "text/html", "nginx", b"<html>"),
                r#"absent: there is nothing at /streaming (status 404, Server: "nginx""#,
            ),
            (reply(400, "text/html", "nginx", b""), "forward Upgrade and Connection"),
            (reply(200, "text/html", "", b"<!doctype html>"), "the address of FeatBit's evaluation server"),
            (reply(407, "", "squid", b""), "blocked: a proxy on the way asks for a login"),
            (reply(500, "application/problem+json", "Kestrel", b"{}"), "handshake with status 500"),
        ] {
            let text = of_stream(&reply);
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_target_of_a_redirect_is_logged_without_what_may_be_secret() {
        let to =
            |location: &str| of_stream(&Reply { location: location.into(), ..reply(302, "", "nginx", b"") });
        let text = to("https://me:sesame@els.example/streaming?type=relay-proxy&token=rp-sesame");
        assert!(text.contains(r#"to "https://els.example/streaming" (status 302"#), "{text}");
        assert!(to("/login#sesame").contains(r#""/login""#));
        for hostile in
            ["//sesame@x?token=sesame", "?sesame", "#sesame", "https://a@sesame@b/", "\u{1b}[31m\nx"]
        {
            let text = to(hostile);
            assert!(!text.contains("sesame") && !text.contains(char::is_control), "{text:?}");
        }
        assert!(to(&"x".repeat(1000)).len() < 400);
    }
}
