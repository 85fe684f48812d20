//! Requests with a body: checks before the body is received, and decompression afterwards.

use crate::payload::Payload;
use crate::protocol::http::{is_json_content_type, is_text_content_type};
use crate::serve::context::Context;
use crate::serve::session::State;
use crate::wire::gzip::{self, GzipError};
use crate::wire::http1::Refusal;
use crate::wire::http1::head::{BodyLength, ContentEncoding, Head};
use crate::wire::http1::response::{CONTINUE, Connection};

use super::answer::{answer, answer_and_close};
use super::body::Body;
use super::exchange::{Answer, Exchange};

/// Starts to receive a request's body, or answers with the refusal.
pub(crate) fn begin(
    cx: &mut Context<'_, '_>,
    body: Result<Body, (Exchange, Refusal)>,
    expects_continue: bool,
) -> State {
    match body {
        Ok(body) => {
            if expects_continue {
                cx.link.send(Payload::Static(CONTINUE));
            }
            let body_time = cx.options().limits.body;
            cx.link.set_deadline(cx.link.now().after(body_time));
            State::Body(Box::new(body))
        }
        Err((exchange, refusal)) => {
            answer_and_close(cx, exchange, Answer::error(refusal.status, refusal.reason))
        }
    }
}

/// Answers a request without receiving its body. If it has one, closes the connection, so that the body is not parsed as
/// the next request.
pub(crate) fn answer_without_body(
    cx: &mut Context<'_, '_>,
    mut exchange: Exchange,
    head: &Head<'_>,
    refusal: Answer,
) -> State {
    close_unless_empty(&mut exchange, head);
    answer(cx, &exchange, refusal)
}

/// Makes the answer close the connection, unless the request has no body that could be parsed as the next request.
pub(crate) fn close_unless_empty(exchange: &mut Exchange, head: &Head<'_>) {
    if !matches!(head.body, BodyLength::None | BodyLength::Length(0)) {
        exchange.connection = Connection::Close;
    }
}

/// Checks that the announced body is JSON in a supported coding; returns whether it is compressed with gzip. The error is
/// a 415.
pub(crate) fn accept_json(head: &Head<'_>) -> Result<bool, Answer> {
    accept(head, "the body must be application/json", is_json_content_type)
}

/// As [`accept_json`], also if the body is declared as plain text, which is how `navigator.sendBeacon` sends a text.
pub(crate) fn accept_json_or_text(head: &Head<'_>) -> Result<bool, Answer> {
    let is_accepted =
        |content_type: &str| is_json_content_type(content_type) || is_text_content_type(content_type);
    accept(head, "the body must be application/json or text/plain", is_accepted)
}

fn accept(head: &Head<'_>, wanted: &str, is_accepted: impl FnOnce(&str) -> bool) -> Result<bool, Answer> {
    if !head.content_type.is_some_and(is_accepted) {
        return Err(Answer::error(415, wanted));
    }
    match head.content_encoding {
        ContentEncoding::Identity => Ok(false),
        ContentEncoding::Gzip => Ok(true),
        ContentEncoding::Other => {
            Err(Answer::error(415, "the only supported content coding is gzip")
                .with("Accept-Encoding", "gzip"))
        }
    }
}

/// The body without compression. The error is a 413 if it is larger than `bytes_max`, or a 400 if the gzip is corrupt.
pub(crate) fn decompress(bytes: Vec<u8>, is_gzip: bool, bytes_max: u64) -> Result<Vec<u8>, Answer> {
    if !is_gzip {
        return Ok(bytes);
    }
    gzip::decompress(&bytes, bytes_max).map_err(|error| {
        let status = match error {
            GzipError::Broken => 400,
            GzipError::TooLarge => 413,
        };
        Answer::error(status, &error.to_string())
    })
}
