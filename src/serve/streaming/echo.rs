//! The WebSocket echo of conformance suites.

use crate::payload::Payload;
use crate::serve::context::Context;
use crate::serve::session::State;
use crate::wire::ws::frame;
use crate::wire::ws::reader::{Event, Step};

use super::close;

/// The most bytes of a message. Conformance suites send up to 16 MiB.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Takes one frame from `bytes` if it is complete, and sends its message back. Returns the number of bytes consumed.
pub(crate) fn receive(cx: &mut Context<'_, '_>, state: &mut State, bytes: &mut [u8]) -> usize {
    let State::Echo(reader) = state else { return 0 };
    let length = bytes.len();
    let step = reader.step(bytes, BYTES_MAX);
    cx.restart_idle_time();
    let consumed = match step {
        Ok(Step::Incomplete { .. }) => 0,
        Ok(Step::Consumed(consumed)) => consumed,
        Ok(Step::Event { event, consumed }) => {
            match event {
                Event::Text(text) => cx.link.send(Payload::private(frame::text_frame(text))),
                Event::Binary(bytes) => cx.link.send(Payload::private(frame::binary_frame(bytes))),
                Event::Ping(payload) => cx.link.send(Payload::private(frame::pong_frame(payload))),
                Event::Pong => {}
                Event::Close { code } => close::answer_peer_close(cx.link, code, consumed == length),
            }
            consumed
        }
        Err(violation) => {
            close::close_after_violation(cx, state, violation, bytes);
            return length;
        }
    };
    cx.link.hold_memory(reader.settle());
    consumed
}
