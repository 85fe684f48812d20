//! One request and its answer: the part of the request that is kept until the answer is sent.

use std::borrow::Cow;

use crate::net::service::Link;
use crate::payload::Payload;
use crate::wire::http1::response::{Connection, JSON, ResponseHead, error_body};

use super::cors::Allowed;
use super::routes::Route;

/// The part of a request on which the form of its answer depends.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub route: Route,
    pub connection: Connection,
    /// Whether the answer must have no body, as for HEAD.
    pub without_body: bool,
    pub allowed: Allowed,
    pub accepts_gzip: bool,
}

/// An answer, without the fields that the [`Exchange`] adds.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub body: Payload,
    pub fields: Vec<(&'static str, String)>,
    /// Whether its content coding depends on what the request accepts.
    pub varies_by_coding: bool,
}

impl Answer {
    /// An answer with a body of this content type.
    pub fn new(status: u16, content_type: &'static str, body: Payload) -> Self {
        Self { status, content_type: Some(content_type), body, fields: Vec::new(), varies_by_coding: false }
    }

    /// An answer in plain text.
    pub fn text(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        let body = match text.into() {
            Cow::Borrowed(text) => Payload::Static(text.as_bytes()),
            Cow::Owned(text) => Payload::private(text.into_bytes()),
        };
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// An answer in JSON.
    pub fn json(status: u16, body: Payload) -> Self {
        Self::new(status, JSON, body)
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        let body = Payload::Static(b"");
        Self { status, content_type: None, body, fields: Vec::new(), varies_by_coding: false }
    }

    /// An error in the form `{"error": …}`.
    pub fn error(status: u16, reason: &str) -> Self {
        Self::json(status, Payload::private(error_body(reason)))
    }

    /// Adds a header field.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Marks an answer whose content coding depends on what the request accepts.
    pub fn varying_by_coding(mut self) -> Self {
        self.varies_by_coding = true;
        self
    }

    /// The answer to a poll with an invalid timestamp.
    pub fn bad_timestamp() -> Self {
        Self::error(400, "timestamp must be an integer")
    }

    /// 503: the client should try again in some seconds, since the agent cannot answer now.
    pub fn later(reason: &str) -> Self {
        Self::error(503, reason).with("Retry-After", "5")
    }
}

/// The largest body that is copied behind its head, so that both are sent as one piece.
const JOINED_BYTES_MAX: usize = 16 * 1024;

impl Exchange {
    /// Sends the answer. `connection` replaces the value that was set when the request came.
    pub fn send(&self, link: &mut Link<'_>, answer: Answer, connection: Connection) {
        let length = answer.body.len();
        let mut fields = Vec::with_capacity(3 + answer.fields.len());
        // No cache may keep an answer: nearly all depend on a secret or key, and all change with time.
        fields.push(("Cache-Control", "no-store"));
        fields.push(("Vary", if answer.varies_by_coding { "Origin, Accept-Encoding" } else { "Origin" }));
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
