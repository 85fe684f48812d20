//! The closing handshake of a WebSocket (RFC 6455 section 7), begun by either side.
//!
//! Some proxies do not forward a half-close. If a FIN followed the close frame at once, the peer's next message would meet
//! a reset, and the peer would never see the close code. So after the close frame the TCP connection stays open, and input
//! is discarded, until the peer's close frame, its FIN, or the time limit.

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

/// What the closing handshake depends on: taken from the state before it.
#[derive(Clone, Copy, Debug, Default)]
struct PeerAtClose {
    sdk: Sdk,
    /// How many bytes of an overlong message are still to be skipped.
    bytes_to_skip: u64,
}

/// Begins the closing handshake of a WebSocket in `state`, and returns the new state. Frees at once what the connection
/// used.
pub(crate) fn begin(cx: &mut Context<'_, '_>, state: State, reason: CloseReason) -> State {
    if matches!(state, State::Closing(_)) {
        return state;
    }
    cx.info.closed = Some(reason.label());
    let peer = release(cx, state);
    cx.link.hold_memory(0);
    cx.link.resume();
    if peer.sdk.waits_after_close() && !reason.is_final() {
        // This SDK ignores a close frame, but reconnects at once when TCP ends without one.
        cx.link.close(Close::LingerBriefly);
        return State::Over;
    }
    cx.link.send(Payload::private(frame::close_frame(reason.code(), reason.text())));
    cx.link.begin_close();
    restart_close_deadline(cx);
    State::Closing(Rest::after(peer.bytes_to_skip))
}

/// Removes a connection from the parts of the server.
fn release(cx: &mut Context<'_, '_>, state: State) -> PeerAtClose {
    match state {
        State::Stream(stream) => {
            cx.parts.broadcast.leave(stream.position, stream.secret);
            PeerAtClose { sdk: stream.sdk, bytes_to_skip: 0 }
        }
        State::Relay(relay) => {
            cx.parts.relays.leave(&cx.parts.shared, cx.link.key(), relay.id);
            PeerAtClose { sdk: Sdk::Other, bytes_to_skip: relay.left_to_skip() }
        }
        State::Pending(pending) => PeerAtClose { sdk: pending.sdk(), bytes_to_skip: 0 },
        State::Head { .. }
        | State::Body(_)
        | State::Parked(_)
        | State::Echo(_)
        | State::Closing(_)
        | State::Over => PeerAtClose::default(),
    }
}

/// Closes the connection of a peer that violated the protocol in the frame at the start of `bytes`.
pub(crate) fn close_after_violation(
    cx: &mut Context<'_, '_>,
    state: &mut State,
    violation: Violation,
    bytes: &[u8],
) {
    if violation.code == CloseCode::TOO_BIG {
        cx.parts.meter.limit_hit(Limit::MessageBytes);
    }
    state.change(|state| begin(cx, state, CloseReason::Violation(violation)));
    discard_input(cx.link, state, bytes);
}

/// Discards what a peer still sends after the agent's close frame. Closes TCP once the peer's close frame has come.
pub(crate) fn discard_input(link: &mut Link<'_>, state: &mut State, bytes: &[u8]) {
    if let State::Closing(rest) = state
        && rest.drop(bytes)
    {
        link.close(Close::LingerBriefly);
    }
}

/// The peer has not answered the close frame in time.
pub(crate) fn timed_out(cx: &mut Context<'_, '_>) {
    // While the close frame itself is unsent, the limits for slow readers apply instead.
    if !cx.link.is_blocked() {
        cx.parts.meter.limit_hit(Limit::CloseSeconds);
        cx.link.close(Close::LingerBriefly);
    }
}

/// Restarts the peer's time to answer the close frame.
pub(crate) fn restart_close_deadline(cx: &mut Context<'_, '_>) {
    let wait = cx.parts.drain.close_wait(cx.options().limits.close);
    cx.link.set_deadline(cx.link.now().after(wait));
}

/// Closes a connection to free its memory for others. Its SDK reconnects. `input`: received bytes not handled yet.
pub(crate) fn shed(cx: &mut Context<'_, '_>, state: &mut State, input: &[u8]) {
    cx.parts.meter.limit_hit(Limit::PendingBytes);
    match state {
        State::Stream(_) | State::Pending(_) | State::Echo(_) | State::Relay(_) => {
            state.change(|state| begin(cx, state, CloseReason::Memory));
            discard_input(cx.link, state, input);
        }
        State::Head { .. } | State::Body(_) | State::Parked(_) | State::Closing(_) | State::Over => {
            cx.info.closed = Some(CloseReason::Memory.label());
            cx.link.close(Close::Abort);
        }
    }
}

/// Answers the peer's close frame with the same code, and closes the connection. `is_end_of_input`: no bytes that would
/// have to be read follow the frame.
pub(crate) fn answer_peer_close(link: &mut Link<'_>, code: Option<CloseCode>, is_end_of_input: bool) {
    link.send(Payload::private(frame::close_reply(code)));
    link.close(if is_end_of_input { Close::Flush } else { Close::Linger });
}

#[cfg(test)]
mod tests;
