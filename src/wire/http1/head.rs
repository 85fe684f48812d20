//! The head of a request: request line and header fields (RFC 9112 sections 2, 3, 5).
//!
//! Must not decide what is served. On `httparse`, plus all that it leaves open: line ends, what frames the body,
//! `Host`, and the fields this server reads, each looked at once.

use std::fmt;
use std::mem::MaybeUninit;

use super::Refusal;
use super::target;
use crate::wire::ws::handshake;

/// No head has room for more header fields than this, whatever its limits say. 128 × 32 bytes of stack.
pub const MAX_HEADERS: usize = 128;

/// Empty lines before a request line that are overlooked (RFC 9112 section 2.2), in bytes: four.
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
    /// Any other, which no route of a server of resources takes.
    Other,
}

/// Where the request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// `Content-Length`, in bytes; may be 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// How the body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentEncoding {
    /// As it is.
    Identity,
    /// `gzip` or its old name `x-gzip`.
    Gzip,
    /// Something else, or several codings.
    Other,
}

/// A request to go over to WebSocket, all conditions of RFC 6455 section 4.2.1 fulfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade<'b> {
    /// The valid `Sec-WebSocket-Key`.
    pub key: &'b str,
}

/// Why a GET that asks for WebSocket (`Upgrade: websocket` and `Connection: upgrade`) cannot have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketFault {
    /// `Sec-WebSocket-Key` is missing, repeated or not 16 bytes of base64.
    Key,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
    /// The request is HTTP/1.0.
    Http10,
    /// The request has a body, whose bytes could be taken for frames.
    Body,
}

impl WebSocketFault {
    /// 426 for another version (the answer then carries `Sec-WebSocket-Version: 13`), else 400.
    pub const fn status(self) -> u16 {
        match self {
            WebSocketFault::Version => 426,
            _ => 400,
        }
    }

    /// What is wrong, for the body of the answer.
    pub const fn reason(self) -> &'static str {
        match self {
            WebSocketFault::Key => "Sec-WebSocket-Key is missing or invalid",
            WebSocketFault::Version => "Sec-WebSocket-Version must be 13",
            WebSocketFault::Http10 => "WebSocket needs HTTP/1.1",
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
    /// The valid wish to go over to WebSocket.
    pub websocket: Option<Upgrade<'b>>,
    /// Why a wish to go over to WebSocket is not valid.
    pub websocket_fault: Option<WebSocketFault>,
    /// `Authorization`, as it is.
    pub authorization: Option<&'b str>,
    /// `Origin`, visible ASCII.
    pub origin: Option<&'b str>,
    /// `Content-Type`.
    pub content_type: Option<&'b str>,
    /// `Content-Encoding`.
    pub content_encoding: ContentEncoding,
    /// Whether `Accept-Encoding` allows gzip.
    pub accepts_gzip: bool,
    /// `User-Agent`, unless it is not UTF-8.
    pub user_agent: Option<&'b str>,
    /// `Access-Control-Request-Method`, visible ASCII.
    pub access_control_request_method: Option<&'b str>,
    /// `Access-Control-Request-Headers`, visible ASCII.
    pub access_control_request_headers: Option<&'b str>,
    /// Bytes of the head, the empty line included: the body begins there.
    pub len: usize,
}

/// Says nothing of queries and fields, where secrets and tokens are.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({:?} {}, {:?}, {} bytes)", self.method, self.path, self.body, self.len)
    }
}

/// Parses the head at the start of `buf`; `Ok(None)` if it is not all there yet.
///
/// A longer buffer never changes an answer other than `Ok(None)`.
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

const TOO_LARGE: Refusal = Refusal::new(431, "request head is too large");

/// How many bytes of empty lines stand before the request line.
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

/// `httparse` takes a bare LF for a line end; another parser before or behind it may not.
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
        httparse::Error::TooManyHeaders => Refusal::new(431, "too many header fields"),
        httparse::Error::Version if asks_for_another_version(head) => {
            Refusal::new(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
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

/// What the header fields said, gathered in one pass.
#[derive(Default)]
struct Fields<'b> {
    host: Option<&'b [u8]>,
    content_length: Option<u64>,
    is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
    says_upgrade: bool,
    asks_websocket: bool,
    websocket_version_13: bool,
    websocket_version_seen: bool,
    websocket_key: Option<&'b [u8]>,
    websocket_key_repeated: bool,
    expects_continue: bool,
    authorization: Option<&'b str>,
    origin: Option<&'b str>,
    content_type: Option<&'b str>,
    content_encoding: Option<ContentEncoding>,
    gzip_allowed: Option<bool>,
    anything_allowed: Option<bool>,
    user_agent: Option<&'b str>,
    access_control_request_method: Option<&'b str>,
    access_control_request_headers: Option<&'b str>,
}

impl<'b> Fields<'b> {
    /// Takes in one field. Names are told apart by length first, so that most are dismissed at once.
    fn take(&mut self, name: &str, value: &'b [u8]) -> Result<(), Refusal> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("host") => once(&mut self.host, value, "more than one Host"),
            6 if is("expect") => {
                self.expects_continue |= list(value).any(|item| item.eq_ignore_ascii_case(b"100-continue"));
                Ok(())
            }
            6 if is("origin") => once(&mut self.origin, visible(value)?, "more than one Origin"),
            7 if is("upgrade") => {
                self.asks_websocket |= list(value).any(|item| item.eq_ignore_ascii_case(b"websocket"));
                Ok(())
            }
            10 if is("connection") => {
                self.take_connection(value);
                Ok(())
            }
            10 if is("user-agent") => {
                self.user_agent = std::str::from_utf8(value).ok();
                Ok(())
            }
            12 if is("content-type") => {
                once(&mut self.content_type, text(value)?, "more than one Content-Type")
            }
            13 if is("authorization") => {
                once(&mut self.authorization, text(value)?, "more than one Authorization")
            }
            14 if is("content-length") => {
                once(&mut self.content_length, content_length(value)?, "more than one Content-Length")
            }
            15 if is("accept-encoding") => {
                self.take_accept_encoding(value);
                Ok(())
            }
            16 if is("content-encoding") => {
                self.take_content_encoding(value);
                Ok(())
            }
            17 if is("transfer-encoding") => self.take_transfer_encoding(value),
            17 if is("sec-websocket-key") => {
                self.websocket_key_repeated |= self.websocket_key.replace(value).is_some();
                Ok(())
            }
            21 if is("sec-websocket-version") => {
                self.websocket_version_13 = value == b"13" && !self.websocket_version_seen;
                self.websocket_version_seen = true;
                Ok(())
            }
            29 if is("access-control-request-method") => {
                self.access_control_request_method.get_or_insert(visible(value)?);
                Ok(())
            }
            30 if is("access-control-request-headers") => {
                self.access_control_request_headers.get_or_insert(visible(value)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_connection(&mut self, value: &[u8]) {
        for item in list(value) {
            self.says_close |= item.eq_ignore_ascii_case(b"close");
            self.says_keep_alive |= item.eq_ignore_ascii_case(b"keep-alive");
            self.says_upgrade |= item.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// Only `chunked` is understood, and only said once (RFC 9112 section 6.1).
    fn take_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::new(501, "only the transfer encoding chunked is understood"));
        }
        self.is_chunked = true;
        Ok(())
    }

    fn take_content_encoding(&mut self, value: &[u8]) {
        for item in list(value) {
            let coding = if item.eq_ignore_ascii_case(b"identity") {
                continue;
            } else if is_gzip(item) && self.content_encoding.is_none() {
                ContentEncoding::Gzip
            } else {
                ContentEncoding::Other
            };
            self.content_encoding = Some(coding);
        }
    }

    /// RFC 9110 section 12.5.3: a coding named explicitly goes before `*`; weight 0 means "not acceptable".
    fn take_accept_encoding(&mut self, value: &[u8]) {
        for item in list(value) {
            let mut parts = item.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let coding = parts.next().unwrap_or_default();
            let allowed = !parts.any(is_weight_zero);
            if is_gzip(coding) {
                self.gzip_allowed = Some(allowed);
            } else if coding == b"*" {
                self.anything_allowed = Some(allowed);
            }
        }
    }

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
            user_agent: self.user_agent,
            access_control_request_method: self.access_control_request_method,
            access_control_request_headers: self.access_control_request_headers,
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

    /// RFC 9112 section 6.3, as strict as it allows: what two parsers could frame differently is refused.
    fn body(&self, minor_version: u8) -> Result<BodyLength, Refusal> {
        match (self.is_chunked, self.content_length) {
            (true, Some(_)) => Err(Refusal::bad("both Content-Length and Transfer-Encoding")),
            (true, None) if minor_version == 0 => Err(Refusal::bad("Transfer-Encoding in HTTP/1.0")),
            (true, None) => Ok(BodyLength::Chunked),
            (false, Some(length)) => Ok(BodyLength::Length(length)),
            (false, None) => Ok(BodyLength::None),
        }
    }

    /// `None` if nobody asked for WebSocket in the way that RFC 6455 section 4.2.1 describes.
    fn websocket(
        &self,
        method: Method,
        minor_version: u8,
        has_body: bool,
    ) -> Option<Result<Upgrade<'b>, WebSocketFault>> {
        if method != Method::Get || !self.asks_websocket || !self.says_upgrade {
            return None;
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

/// Fills `slot`, or refuses a second value: two parsers could take different ones.
fn once<T>(slot: &mut Option<T>, value: T, refused: &'static str) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::bad(refused)),
    }
}

/// The items of a comma-separated list (RFC 9110 section 5.6.1), without blanks around them.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

fn text(value: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(value).map_err(|_| Refusal::bad("header field is not valid text"))
}

/// Text that may be sent back in a header field.
fn visible(value: &[u8]) -> Result<&str, Refusal> {
    if value.is_ascii() { text(value) } else { Err(Refusal::bad("header field is not valid text")) }
}

/// `1*DIGIT` (RFC 9110 section 8.6) and nothing else: no sign, no list, no blank.
fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let malformed = Refusal::bad("malformed Content-Length");
    if value.is_empty() {
        return Err(malformed);
    }
    let mut length = 0u64;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return Err(malformed);
        }
        let digit = u64::from(byte - b'0');
        length = length
            .checked_mul(10)
            .and_then(|length| length.checked_add(digit))
            .ok_or(Refusal::new(413, "body is too large"))?;
    }
    Ok(length)
}

fn is_gzip(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip")
}

/// `q=0`, `q=0.`, `q=0.000` (RFC 9110 section 12.4.2).
fn is_weight_zero(parameter: &[u8]) -> bool {
    let Some((name, value)) = parameter.split_at_checked(2) else { return false };
    name.eq_ignore_ascii_case(b"q=")
        && value.starts_with(b"0")
        && value[1..].iter().all(|b| matches!(b, b'0' | b'.'))
}

/// The characters of `uri-host [":" port]` (RFC 3986 section 3.2.2).
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
