//! One request and its answer: what has to be remembered of the request until the answer is sent.

use std::borrow::Cow;

use crate::net::service::Link;
use crate::payload::Payload;
use crate::wire::http1::response::{Connection, JSON, ResponseHead, error_body};

use super::cors::Allowed;
use super::routes::Route;

/// The part of a request that shapes its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub route: Route,
    pub connection: Connection,
    /// The answer to HEAD has no body.
    pub without_body: bool,
    pub allowed: Allowed,
    pub accepts_gzip: bool,
}

/// An answer, but for what the [`Exchange`] adds.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub body: Payload,
    pub fields: Vec<(&'static str, String)>,
    /// Whether its coding depends on what the request accepts.
    pub by_coding: bool,
}

impl Answer {
    /// A body of a type.
    pub fn new(status: u16, content_type: &'static str, body: Payload) -> Self {
        Self { status, content_type: Some(content_type), body, fields: Vec::new(), by_coding: false }
    }

    /// A body of plain text.
    pub fn text(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        let body = match text.into() {
            Cow::Borrowed(text) => Payload::Static(text.as_bytes()),
            Cow::Owned(text) => Payload::private(text.into_bytes()),
        };
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// A body in JSON.
    pub fn json(status: u16, body: Payload) -> Self {
        Self::new(status, JSON, body)
    }

    /// Nothing but a status.
    pub fn empty(status: u16) -> Self {
        let body = Payload::Static(b"");
        Self { status, content_type: None, body, fields: Vec::new(), by_coding: false }
    }

    /// `{"error": …}`.
    pub fn error(status: u16, reason: &str) -> Self {
        Self::json(status, Payload::private(error_body(reason)))
    }

    /// With one more header field.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// As an answer whose coding depends on what the request accepts.
    pub fn by_coding(mut self) -> Self {
        self.by_coding = true;
        self
    }

    /// The timestamp of a poll is not valid.
    pub fn bad_timestamp() -> Self {
        Self::error(400, "timestamp must be an integer")
    }

    /// Come back later: the verdict or the work could not be done now.
    pub fn later(reason: &str) -> Self {
        Self::error(503, reason).with("Retry-After", "5")
    }
}

/// Largest body that is sent in one run with its head.
const JOINED_BYTES_MAX: usize = 16 * 1024;

impl Exchange {
    /// Sends the answer. `connection` is what becomes of the connection in the end, whatever was meant when the
    /// request came.
    pub fn send(&self, link: &mut Link<'_>, answer: Answer, connection: Connection) {
        let length = answer.body.len();
        let mut fields = Vec::with_capacity(3 + answer.fields.len());
        // Nothing may be kept for somebody else: nearly all depends on a secret or key, and all on this moment.
        fields.push(("Cache-Control", "no-store"));
        fields.push(("Vary", if answer.by_coding { "Origin, Accept-Encoding" } else { "Origin" }));
        fields.extend(self.allowed.field());
        fields.extend(answer.fields.iter().map(|(name, value)| (*name, value.as_str())));
        let mut head = Vec::with_capacity(256 + if length <= JOINED_BYTES_MAX { length } else { 0 });
        ResponseHead {
            status: answer.status,
            content_type: answer.content_type,
            content_length: (!matches!(answer.status, 204 | 304)).then_some(length as u64),
            connection,
            fields: &fields,
        }
        .write(&mut head);
        if self.without_body || length == 0 {
            link.send(Payload::private(head));
        } else if length <= JOINED_BYTES_MAX {
            head.extend_from_slice(&answer.body.to_vec());
            link.send(Payload::private(head));
        } else {
            link.send(Payload::private(head));
            link.send(answer.body);
        }
    }
}
