//! The header fields of a request, gathered in one pass (RFC 9110).
//!
//! Must not keep fields that nobody reads, and must not choose between two values of a field that decides anything:
//! such a request is refused.

use super::Refusal;
use super::head::{BodyLength, ContentEncoding, Head, Method, Upgrade, WebSocketFault};
use super::target;
use crate::wire::ws::handshake;

/// What the header fields said, gathered in one pass.
#[derive(Default)]
pub(super) struct Fields<'b> {
    host: Option<&'b [u8]>,
    content_length: Option<u64>,
    transfer_codings: Option<TransferCodings>,
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
    user_agents: [Option<&'b str>; 3],
    access_control_request_method: Option<&'b str>,
    access_control_request_headers: Option<&'b str>,
    access_control_request_private_network: bool,
}

impl<'b> Fields<'b> {
    /// Takes in one field. Names are told apart by length first, so that most are dismissed at once.
    pub(super) fn take(&mut self, name: &str, value: &'b [u8]) -> Result<(), Refusal> {
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
                self.user_agents[0] = std::str::from_utf8(value).ok();
                Ok(())
            }
            12 if is("x-user-agent") => {
                self.user_agents[2] = std::str::from_utf8(value).ok();
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
            17 if is("transfer-encoding") => {
                self.transfer_codings.get_or_insert_default().take(value);
                Ok(())
            }
            17 if is("sec-websocket-key") => {
                self.websocket_key_repeated |= self.websocket_key.replace(value).is_some();
                Ok(())
            }
            20 if is("x-featbit-user-agent") => {
                self.user_agents[1] = std::str::from_utf8(value).ok();
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
            38 if is("access-control-request-private-network") => {
                self.access_control_request_private_network = value.eq_ignore_ascii_case(b"true");
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

    /// The head that these fields and the request line make, if its body and host are beyond doubt.
    pub(super) fn into_head(
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
        // RFC 9112 section 3.2.2 lets the target win; who looks at the field would be deceived.
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

    /// RFC 9112 section 6.3, as strict as it allows: what two parsers could frame differently is refused.
    fn body(&self, minor_version: u8) -> Result<BodyLength, Refusal> {
        match (&self.transfer_codings, self.content_length) {
            (Some(_), Some(_)) => Err(Refusal::bad("both Content-Length and Transfer-Encoding")),
            (Some(_), None) if minor_version == 0 => Err(Refusal::bad("Transfer-Encoding in HTTP/1.0")),
            (Some(codings), None) => codings.check().map(|()| BodyLength::Chunked),
            (None, Some(length)) => Ok(BodyLength::Length(length)),
            (None, None) => Ok(BodyLength::None),
        }
    }

    /// `None` if nobody asked for WebSocket in the way that RFC 6455 section 4.2.1 describes, nor did before a proxy took
    /// something of it away.
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

/// What `Transfer-Encoding` said, all its lines together.
#[derive(Default)]
struct TransferCodings {
    /// How often `chunked` was said.
    chunked: usize,
    /// Whether it was the last that was said.
    ends_in_chunked: bool,
    /// Whether there was any other.
    has_others: bool,
}

impl TransferCodings {
    fn take(&mut self, value: &[u8]) {
        for item in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.ends_in_chunked = item.eq_ignore_ascii_case(b"chunked");
            self.chunked += usize::from(self.ends_in_chunked);
            self.has_others |= !self.ends_in_chunked;
        }
    }

    /// RFC 9112 sections 6.1 and 6.3: without `chunked` at the end nobody knows where the body ends, and it is applied
    /// once only. What comes before it is well formed, but not understood here.
    fn check(&self) -> Result<(), Refusal> {
        if !self.ends_in_chunked || self.chunked > 1 {
            return Err(Refusal::bad("the last transfer encoding must be chunked, said once"));
        }
        if self.has_others {
            return Err(Refusal::new(501, "only the transfer encoding chunked is understood"));
        }
        Ok(())
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
