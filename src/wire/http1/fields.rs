//! Collects the header fields of a request in one pass (RFC 9110).
//!
//! Must not keep fields that the agent does not use, and must not choose between two values of a significant field: such a
//! request is refused.

use super::Refusal;

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

/// The values of the header fields.
#[derive(Default)]
pub(super) struct Fields<'b> {
    pub host: Option<&'b [u8]>,
    pub content_length: Option<u64>,
    pub transfer_codings: Option<TransferCodings>,
    pub says_close: bool,
    pub says_keep_alive: bool,
    pub says_upgrade: bool,
    pub asks_websocket: bool,
    pub websocket_version_13: bool,
    pub websocket_version_seen: bool,
    pub websocket_key: Option<&'b [u8]>,
    pub websocket_key_repeated: bool,
    pub expects_continue: bool,
    pub authorization: Option<&'b str>,
    pub origin: Option<&'b str>,
    pub content_type: Option<&'b str>,
    pub content_encoding: Option<ContentEncoding>,
    pub gzip_allowed: Option<bool>,
    pub anything_allowed: Option<bool>,
    pub user_agents: [Option<&'b str>; 3],
    pub access_control_request_method: Option<&'b str>,
    pub access_control_request_headers: Option<&'b str>,
    pub access_control_request_private_network: bool,
}

impl<'b> Fields<'b> {
    /// Adds one field. Names are compared by length first, so that most are skipped quickly.
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

    /// RFC 9110 section 12.5.3: a coding that is named takes precedence over `*`; weight 0 means "not acceptable".
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
}

/// The codings in `Transfer-Encoding`, all its lines together.
#[derive(Default)]
pub(super) struct TransferCodings {
    /// How often `chunked` occurs.
    chunked: usize,
    /// Whether it is the last one.
    ends_in_chunked: bool,
    /// Whether there are others.
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

    /// RFC 9112 sections 6.1 and 6.3: without `chunked` at the end the body's end is unknown, and `chunked` may be applied
    /// only once. Other codings are valid, but not supported.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if !self.ends_in_chunked || self.chunked > 1 {
            return Err(Refusal::bad("the last transfer encoding must be chunked, and only once"));
        }
        if self.has_others {
            return Err(Refusal::new(501, "only the transfer encoding chunked is understood"));
        }
        Ok(())
    }
}

/// Fills `slot`, or refuses a second value, because two parsers could use different ones.
fn once<T>(slot: &mut Option<T>, value: T, refused: &'static str) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::bad(refused)),
    }
}

/// The items of a comma-separated list (RFC 9110 section 5.6.1), without white space around them.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

fn text(value: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(value).map_err(|_| Refusal::bad("header field is not valid text"))
}

/// Text that can be sent back in a header field.
fn visible(value: &[u8]) -> Result<&str, Refusal> {
    if value.is_ascii() { text(value) } else { Err(Refusal::bad("header field is not valid text")) }
}

/// `1*DIGIT` (RFC 9110 section 8.6) and nothing else: no sign, no list, no white space.
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
