//! Messages of SDKs: each frame as it comes, and what it asks for.

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

/// Takes one frame off `bytes`, if it is all there. Returns the bytes consumed.
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
                Event::Close { code } => close::by_peer(cx.link, code, consumed == length),
            }
            consumed
        }
        Err(violation) => {
            // From the start of the frame that broke the protocol.
            close::violated(cx, state, violation, bytes);
            return length;
        }
    };
    cx.link.hold_memory(stream.reader.settle());
    consumed
}

fn answer(cx: &mut Context<'_, '_>, stream: &mut Stream, message: FromSdk) {
    match message {
        // To the Ruby SDK a pong is an invalid message, which ends the connection.
        FromSdk::Ping if stream.sdk == Sdk::Ruby => {}
        FromSdk::Ping => cx.link.send(Payload::Static(PONG_FRAME)),
        FromSdk::DataSync(request) => data_sync(cx, stream, request),
        FromSdk::Echo | FromSdk::RelayStatus | FromSdk::Ignored(_) => {}
    }
}

/// An SDK asks for data: all of it, or what is newer than it has.
fn data_sync(cx: &mut Context<'_, '_>, stream: &mut Stream, request: SdkRequest) {
    if stream.place.kind == SecretKind::Client {
        // Without a valid user there is nobody to evaluate for, and FeatBit's server does not answer.
        let Some(user) = request.user else { return note_no_user(cx, request.user_is_too_large) };
        stream.user = Some(user);
    }
    sync::answer(cx, stream, request.timestamp_ms);
}

/// Says, at most once a minute, why an SDK gets no answer, if that is not its own fault alone.
fn note_no_user(cx: &Context<'_, '_>, is_too_large: bool) {
    if !is_too_large {
        return;
    }
    let shared = &cx.parts.shared;
    cx.parts.meter.limit_hit(Limit::UserProperties);
    if let Some(held_back) = shared.log_limits.user_too_large.allow(shared.now_ms()) {
        tracing::warn!(
            others_like_it = held_back,
            allowed = shared.options.limits.user_properties,
            "a client SDK asked for a user with more custom properties than allowed, and is not answered. Send \
             fewer, or raise Limits__UserProperties"
        );
    }
}
