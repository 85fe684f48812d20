//! Receives the frames of a streaming SDK, and handles its messages.

use crate::model::secret::SecretKind;
use crate::payload::Payload;
use crate::protocol::from_sdk::{FromSdk, SdkRequest};
use crate::protocol::sdk::Sdk;
use crate::protocol::to_sdk::PONG_FRAME;
use crate::serve::context::Context;
use crate::serve::session::State;
use crate::telemetry::metrics::Limit;
use crate::wire::ws::frame;
use crate::wire::ws::reader::{Event, Step};

use super::stream::Stream;
use super::{close, sync};

/// Takes one frame from `bytes` if it is complete, and handles it. Returns the number of bytes consumed.
pub(crate) fn receive(cx: &mut Context<'_, '_>, state: &mut State, bytes: &mut [u8]) -> usize {
    let State::Stream(stream) = state else { return 0 };
    let length = bytes.len();
    let step = stream.reader.step(bytes, cx.options().limits.message_bytes);
    cx.restart_idle_time();
    let consumed = match step {
        Ok(Step::Incomplete { .. }) => 0,
        Ok(Step::Consumed(consumed)) => consumed,
        Ok(Step::Event { event, consumed }) => {
            cx.parts.meter.message();
            match event {
                Event::Text(text) | Event::Binary(text) => {
                    match FromSdk::parse(text, cx.options().limits.user_properties) {
                        FromSdk::Echo => cx.link.send(Payload::private(frame::text_frame(text))),
                        message => answer(cx, stream, message),
                    }
                }
                Event::Ping(payload) => cx.link.send(Payload::private(frame::pong_frame(payload))),
                Event::Pong => {}
                Event::Close { code } => close::answer_peer_close(cx.link, code, consumed == length),
            }
            consumed
        }
        Err(violation) => {
            // Here `bytes` still begins with the frame that violates the protocol.
            close::close_after_violation(cx, state, violation, bytes);
            return length;
        }
    };
    cx.link.hold_memory(stream.reader.settle());
    consumed
}

fn answer(cx: &mut Context<'_, '_>, stream: &mut Stream, message: FromSdk) {
    match message {
        // The Ruby SDK treats a pong as an invalid message, and disconnects.
        FromSdk::Ping if stream.sdk == Sdk::Ruby => {}
        FromSdk::Ping => cx.link.send(Payload::Static(PONG_FRAME)),
        FromSdk::DataSync(request) => data_sync(cx, stream, request),
        FromSdk::Echo | FromSdk::RelayStatus | FromSdk::Ignored(_) => {}
    }
}

/// Handles an SDK's request for data: all of it, or only what is newer than the SDK's timestamp.
fn data_sync(cx: &mut Context<'_, '_>, stream: &mut Stream, request: SdkRequest) {
    if stream.position.kind == SecretKind::Client {
        // Flags cannot be evaluated without a valid user. FeatBit's server does not answer such a request either.
        let Some(user) = request.user else { return log_missing_user(cx, request.user_is_too_large) };
        stream.user = Some(user);
    }
    sync::answer(cx, stream, request.timestamp_ms);
}

/// Logs, at most once a minute, that an SDK gets no answer since its user exceeds a limit of the agent. Malformed users
/// are not logged.
fn log_missing_user(cx: &Context<'_, '_>, is_too_large: bool) {
    if !is_too_large {
        return;
    }
    let shared = &cx.parts.shared;
    cx.parts.meter.limit_hit(Limit::UserProperties);
    if let Some(suppressed) = shared.log_limits.user_too_large.allow(shared.now_ms()) {
        tracing::warn!(
            others_like_it = suppressed,
            allowed = shared.options.limits.user_properties,
            "a client SDK gets no answer: its user has more custom properties than allowed. Send fewer, or raise \
             Limits__UserProperties"
        );
    }
}
