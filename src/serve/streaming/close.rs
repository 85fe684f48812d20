//! The end of a WebSocket (RFC 6455 section 7): whoever begins it, and what is waited for.
//!
//! A close frame with the end of TCP right behind it does not arrive through proxies that do not forward the end of one
//! side alone: the peer's next message meets a reset, and it never learns the code. So after a close frame TCP stays open,
//! and input is dropped, until the peer's own close frame, its end, or the time is over.

use crate::net::service::{Close, Link};
use crate::payload::Payload;
use crate::protocol::close::CloseCode;
use crate::protocol::sdk::Sdk;
use crate::serve::context::Context;
use crate::serve::session::State;
use crate::telemetry::metrics::Limit;
use crate::wire::ws::frame;
use crate::wire::ws::reader::Violation;
use crate::wire::ws::rest::Rest;

use super::close_reason::CloseReason;

/// Who was at the other end, as far as that decides how the connection ends.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    sdk: Sdk,
    /// Bytes of a message that were being skipped.
    bytes: u64,
}

/// Begins the closing handshake of a WebSocket in `state`, and returns the state after it. What the connection held is
/// given back at once.
pub(crate) fn begin(cx: &mut Context<'_, '_>, state: State, reason: CloseReason) -> State {
    if matches!(state, State::Closing(_)) {
        return state;
    }
    cx.info.closed = Some(reason.label());
    let left = leave(cx, state);
    cx.link.hold_memory(0);
    cx.link.resume();
    if left.sdk.waits_after_close() && !reason.is_final() {
        // It has nothing more to say, but keeps its own end open until it comes back.
        cx.link.close(Close::LingerBriefly);
        return State::Over;
    }
    cx.link.send(Payload::private(frame::close_frame(reason.code(), reason.text())));
    cx.link.begin_close();
    restart_close_time(cx);
    State::Closing(Rest::after(left.bytes))
}

/// Gives back what a connection holds in the parts of the server.
fn leave(cx: &mut Context<'_, '_>, state: State) -> Left {
    match state {
        State::Stream(stream) => {
            cx.parts.broadcast.leave(stream.place, stream.secret);
            Left { sdk: stream.sdk, bytes: 0 }
        }
        State::Relay(relay) => {
            cx.parts.relays.leave(&cx.parts.shared, cx.link.key(), relay.id);
            Left { sdk: Sdk::Other, bytes: relay.left_to_skip() }
        }
        State::Pending(pending) => Left { sdk: pending.sdk(), bytes: 0 },
        State::Head { .. }
        | State::Body(_)
        | State::Parked(_)
        | State::Echo(_)
        | State::Closing(_)
        | State::Over => Left::default(),
    }
}

/// Closes a peer that broke the protocol in the frame that begins at `bytes`.
pub(crate) fn violated(cx: &mut Context<'_, '_>, state: &mut State, violation: Violation, bytes: &[u8]) {
    if violation.code == CloseCode::TOO_BIG {
        cx.parts.meter.limit_hit(Limit::MessageBytes);
    }
    state.change(|state| begin(cx, state, CloseReason::Violation(violation)));
    drop_rest(cx.link, state, bytes);
}

/// Drops what a peer still sends after it was sent a close frame.
pub(crate) fn drop_rest(link: &mut Link<'_>, state: &mut State, bytes: &[u8]) {
    if let State::Closing(rest) = state
        && rest.drop(bytes)
    {
        link.close(Close::LingerBriefly);
    }
}

/// The closing handshake has taken as long as it may.
pub(crate) fn out_of_time(cx: &mut Context<'_, '_>) {
    // As long as the close frame has not gone, it is the peer's pace that counts.
    if !cx.link.is_blocked() {
        cx.parts.meter.limit_hit(Limit::CloseSeconds);
        cx.link.close(Close::LingerBriefly);
    }
}

/// The peer may take its time for the closing handshake from now on: the close frame is on its way.
pub(crate) fn restart_close_time(cx: &mut Context<'_, '_>) {
    let wait = cx.parts.drain.close_wait(cx.options().limits.close);
    cx.link.set_deadline(cx.link.now().after(wait));
}

/// Gives a connection up so that others can be served. Its SDK comes back. `input` was kept of it.
pub(crate) fn give_up(cx: &mut Context<'_, '_>, state: &mut State, input: &[u8]) {
    cx.parts.meter.limit_hit(Limit::PendingBytes);
    match state {
        State::Stream(_) | State::Pending(_) | State::Echo(_) | State::Relay(_) => {
            state.change(|state| begin(cx, state, CloseReason::Memory));
            drop_rest(cx.link, state, input);
        }
        State::Head { .. } | State::Body(_) | State::Parked(_) | State::Closing(_) | State::Over => {
            cx.info.closed = Some(CloseReason::Memory.label());
            cx.link.close(Close::Abort);
        }
    }
}

/// The peer begins the closing handshake: its code goes back, and nothing more is to come from it.
pub(crate) fn by_peer(link: &mut Link<'_>, code: Option<CloseCode>, was_the_last: bool) {
    link.send(Payload::private(frame::close_reply(code)));
    link.close(if was_the_last { Close::Flush } else { Close::Linger });
}

#[cfg(test)]
mod tests;
