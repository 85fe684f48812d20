//! The head of a request: request line and header fields (RFC 9112 sections 2, 3, 5).
//!
//! Must not decide what is served. Uses `httparse` and adds what that does not check: line ends, the framing of the body,
//! `Host`, and the fields that this server uses.

use std::fmt;
use std::mem::MaybeUninit;

use super::Refusal;
pub use super::fields::ContentEncoding;
use super::fields::Fields;
use super::target;
use crate::wire::ws::handshake;

/// The most header fields of a head, whatever its limits are. They take 128 × 32 bytes of stack.
pub const MAX_HEADERS: usize = 128;

/// The most bytes of empty lines before a request line that are ignored (RFC 9112 section 2.2): four lines.
const MAX_EMPTY_LINE_BYTES: usize = 8;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes from the first byte to the empty line that ends the head.
    pub max_bytes: usize,
    /// Header fields; at most [`MAX_HEADERS`] count.
    pub max_headers: usize,
}

/// The request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    /// Any other; no route accepts it.
    Other,
}

/// Where the request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// `Content-Length`, in bytes; may be 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A valid request for an upgrade to WebSocket (RFC 6455 section 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade<'b> {
    /// The valid `Sec-WebSocket-Key`.
    pub key: &'b str,
}

/// Why a GET that asks for WebSocket (`Upgrade: websocket` and `Connection: upgrade`, or what a proxy left of them) is not a
/// valid upgrade request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketFault {
    /// `Sec-WebSocket-Key` is missing, repeated or not 16 bytes of base64.
    Key,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
    /// The request is HTTP/1.0.
    Http10,
    /// There is a `Sec-WebSocket-Key` or `Sec-WebSocket-Version`, but no upgrade is asked for: a proxy on the way drops
    /// those fields, which are for the next hop only.
    NoUpgrade,
    /// The request has a body, whose bytes could be read as frames.
    Body,
}

impl WebSocketFault {
    /// 426 if another protocol or version would work (the response then has `Upgrade: websocket` and, for another version,
    /// `Sec-WebSocket-Version: 13`), else 400.
    pub const fn status(self) -> u16 {
        match self {
            WebSocketFault::Version | WebSocketFault::Http10 | WebSocketFault::NoUpgrade => 426,
            WebSocketFault::Key | WebSocketFault::Body => 400,
        }
    }

    /// What is wrong, for the body of the response.
    pub const fn reason(self) -> &'static str {
        match self {
            WebSocketFault::Key => "Sec-WebSocket-Key is missing or invalid",
            WebSocketFault::Version => "Sec-WebSocket-Version must be 13",
            WebSocketFault::Http10 => {
                "WebSocket needs HTTP/1.1, and the request came by HTTP/1.0: a proxy on the way has to speak HTTP/1.1"
            }
            WebSocketFault::NoUpgrade => {
                "the WebSocket request came without Upgrade or Connection: a proxy on the way has to pass them on"
            }
            WebSocketFault::Body => "a WebSocket upgrade has no body",
        }
    }
}

/// A request's head, borrowed from the bytes it was parsed from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head<'b> {
    /// The method.
    pub method: Method,
    /// The path, still percent-encoded; begins with `/`. `*` for `OPTIONS *`, the whole target for `CONNECT`.
    pub path: &'b str,
    /// What follows the first `?` of the target, still percent-encoded; may be empty.
    pub query: &'b str,
    /// 0 or 1, of HTTP/1.x.
    pub minor_version: u8,
    /// Whether the client wants the connection to stay open.
    pub keep_alive: bool,
    /// Where the body ends.
    pub body: BodyLength,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The upgrade to WebSocket, if the request asks for one and is valid.
    pub websocket: Option<Upgrade<'b>>,
    /// Why a request for an upgrade to WebSocket is not valid.
    pub websocket_fault: Option<WebSocketFault>,
    /// `Authorization`, unchanged.
    pub authorization: Option<&'b str>,
    /// `Origin`, visible ASCII.
    pub origin: Option<&'b str>,
    /// `Content-Type`.
    pub content_type: Option<&'b str>,
    /// `Content-Encoding`.
    pub content_encoding: ContentEncoding,
    /// Whether `Accept-Encoding` allows gzip.
    pub accepts_gzip: bool,
    /// `User-Agent`, then `X-FeatBit-User-Agent` and `X-User-Agent`, which SDKs send where they may not set the first;
    /// without those that are not UTF-8.
    pub user_agents: [Option<&'b str>; 3],
    /// `Access-Control-Request-Method`, visible ASCII.
    pub access_control_request_method: Option<&'b str>,
    /// `Access-Control-Request-Headers`, visible ASCII.
    pub access_control_request_headers: Option<&'b str>,
    /// Whether `Access-Control-Request-Private-Network` asks for access from a public page to a private address.
    pub access_control_request_private_network: bool,
    /// Bytes of the head, the empty line included: the body begins there.
    pub len: usize,
}

/// Without queries and fields, which contain secrets and tokens.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({:?} {}, {:?}, {} bytes)", self.method, self.path, self.body, self.len)
    }
}

/// Parses the head at the start of `buf`; `Ok(None)` if it is incomplete.
///
/// With a longer buffer, only `Ok(None)` can become another result, and a refusal another refusal if more than one thing is
/// wrong.
pub fn parse<'b>(buf: &'b [u8], limits: &HeadLimits) -> Result<Option<Head<'b>>, Refusal> {
    let skipped = empty_lines(buf)?;
    let mut room = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let max_headers = limits.max_headers.min(MAX_HEADERS);
    let parsed = request.parse_with_uninit_headers(&buf[skipped..], &mut room[..max_headers]);
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) => Some(skipped + len),
        Ok(httparse::Status::Partial) => None,
        Err(error) => return Err(refusal(error, &buf[skipped..])),
    };
    // All of an unfinished buffer belongs to the head.
    check_line_ends(&buf[..len.unwrap_or(buf.len())])?;
    let Some(len) = len else {
        return if buf.len() >= limits.max_bytes { Err(TOO_LARGE) } else { Ok(None) };
    };
    if len > limits.max_bytes {
        return Err(TOO_LARGE);
    }
    let mut fields = Fields::default();
    for header in request.headers.iter() {
        fields.take(header.name, header.value)?;
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Refusal::bad("malformed request line"));
    };
    fields.into_head(method, target, version, len).map(Some)
}

/// More header fields than allowed.
pub const TOO_MANY_FIELDS: Refusal = Refusal::new(431, "too many header fields");

const TOO_LARGE: Refusal = Refusal::new(431, "request head is too large");

/// The number of bytes of empty lines before the request line.
fn empty_lines(buf: &[u8]) -> Result<usize, Refusal> {
    let mut skipped = 0;
    while buf[skipped..].starts_with(b"\r\n") {
        skipped += 2;
        if skipped > MAX_EMPTY_LINE_BYTES {
            return Err(Refusal::bad("empty lines before the request"));
        }
    }
    Ok(skipped)
}

/// `httparse` accepts a bare LF as a line end, but another parser on the request's way may not.
fn check_line_ends(head: &[u8]) -> Result<(), Refusal> {
    let mut before = 0;
    for at in memchr::memchr_iter(b'\n', head) {
        if at == before || head[at - 1] != b'\r' {
            return Err(Refusal::bad("line does not end with CR LF"));
        }
        before = at + 1;
    }
    Ok(())
}

fn refusal(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => TOO_MANY_FIELDS,
        httparse::Error::Version if asks_for_another_version(head) => {
            Refusal::new(505, "only HTTP/1.0 and HTTP/1.1 are supported")
        }
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Refusal::bad("malformed header field"),
        _ => Refusal::bad("malformed request line"),
    }
}

/// Whether the request line is well formed but for another version of HTTP, such as HTTP/2's preface.
fn asks_for_another_version(head: &[u8]) -> bool {
    let line = head.split(|&byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let version = line.split(|&byte| byte == b' ').nth(2).unwrap_or_default();
    matches!(version, [b'H', b'T', b'T', b'P', b'/', digit, ..] if digit.is_ascii_digit())
}

impl<'b> Fields<'b> {
    /// The head of a request with these fields and this request line, if its body and host are unambiguous.
    fn into_head(
        self,
        method: &str,
        target: &'b str,
        minor_version: u8,
        len: usize,
    ) -> Result<Head<'b>, Refusal> {
        self.check_host(minor_version)?;
        let body = self.body(minor_version)?;
        let method = match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            "PATCH" => Method::Patch,
            // The target of CONNECT is an authority, which no other method takes.
            "CONNECT" => return Ok(self.build(Method::Other, target, "", minor_version, body, len)),
            _ => Method::Other,
        };
        let (path, query) = target::split(target, method == Method::Options)
            .ok_or(Refusal::bad("malformed request target"))?;
        // RFC 9112 section 3.2.2 lets the target win; a proxy that looks at the field would be deceived.
        if self.host.is_some_and(|host| target::names_another_host(target, host)) {
            return Err(Refusal::bad("the target and Host name different hosts"));
        }
        Ok(self.build(method, path, query, minor_version, body, len))
    }

    fn build(
        self,
        method: Method,
        path: &'b str,
        query: &'b str,
        minor_version: u8,
        body: BodyLength,
        len: usize,
    ) -> Head<'b> {
        let has_body = !matches!(body, BodyLength::None | BodyLength::Length(0));
        let (websocket, websocket_fault) = match self.websocket(method, minor_version, has_body) {
            None => (None, None),
            Some(Ok(upgrade)) => (Some(upgrade), None),
            Some(Err(fault)) => (None, Some(fault)),
        };
        Head {
            method,
            path,
            query,
            minor_version,
            keep_alive: !self.says_close && (minor_version == 1 || self.says_keep_alive),
            body,
            expect_continue: self.expects_continue && has_body && minor_version == 1,
            websocket,
            websocket_fault,
            authorization: self.authorization,
            origin: self.origin,
            content_type: self.content_type,
            content_encoding: self.content_encoding.unwrap_or(ContentEncoding::Identity),
            accepts_gzip: self.gzip_allowed.or(self.anything_allowed).unwrap_or(false),
            user_agents: self.user_agents,
            access_control_request_method: self.access_control_request_method,
            access_control_request_headers: self.access_control_request_headers,
            access_control_request_private_network: self.access_control_request_private_network,
            len,
        }
    }

    /// RFC 9112 section 3.2: HTTP/1.1 has exactly one valid `Host`, HTTP/1.0 at most one.
    fn check_host(&self, minor_version: u8) -> Result<(), Refusal> {
        match self.host {
            None if minor_version == 1 => Err(Refusal::bad("Host is missing")),
            Some(host) if !host.iter().all(|&byte| is_host_byte(byte)) => Err(Refusal::bad("malformed Host")),
            _ => Ok(()),
        }
    }

    /// RFC 9112 section 6.3, as strictly as it allows: a body that two parsers could frame differently is refused.
    fn body(&self, minor_version: u8) -> Result<BodyLength, Refusal> {
        match (&self.transfer_codings, self.content_length) {
            (Some(_), Some(_)) => Err(Refusal::bad("both Content-Length and Transfer-Encoding")),
            (Some(_), None) if minor_version == 0 => Err(Refusal::bad("Transfer-Encoding in HTTP/1.0")),
            (Some(codings), None) => codings.check().map(|()| BodyLength::Chunked),
            (None, Some(length)) => Ok(BodyLength::Length(length)),
            (None, None) => Ok(BodyLength::None),
        }
    }

    /// The upgrade to WebSocket or why it is not valid; `None` if the request does not ask for one (RFC 6455 section 4.2.1),
    /// not even if a proxy has removed a part of it.
    fn websocket(
        &self,
        method: Method,
        minor_version: u8,
        has_body: bool,
    ) -> Option<Result<Upgrade<'b>, WebSocketFault>> {
        if method != Method::Get {
            return None;
        }
        if !self.asks_websocket || !self.says_upgrade {
            let asked = self.websocket_key.is_some() || self.websocket_version_seen;
            let fault = if minor_version == 0 { WebSocketFault::Http10 } else { WebSocketFault::NoUpgrade };
            return asked.then_some(Err(fault));
        }
        let key = self.websocket_key.and_then(|key| std::str::from_utf8(key).ok());
        Some(match key {
            _ if minor_version == 0 => Err(WebSocketFault::Http10),
            _ if has_body => Err(WebSocketFault::Body),
            _ if !self.websocket_version_13 => Err(WebSocketFault::Version),
            Some(key) if !self.websocket_key_repeated && handshake::is_key(key) => Ok(Upgrade { key }),
            _ => Err(WebSocketFault::Key),
        })
    }
}

/// The characters of `uri-host [":" port]` (RFC 3986 section 3.2.2).
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

#[cfg(test)]
mod tests;
