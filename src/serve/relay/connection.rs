//! Downstream agents follow this one as they would follow a FeatBit server.
//!
//! A downstream agent is remembered by the publish it was brought to, as SDKs are, but for the whole data instead of one
//! environment. There are few of them, so that a change visits each. A full sync is put together off the reactor, and
//! until it is there nothing else is sent, so that a downstream agent takes everything in order.

use crate::fanout::mailbox::RelayFull;
use crate::ingest::ResyncReason;
use crate::payload::Payload;
use crate::protocol::close::CloseCode;
use crate::protocol::from_relay::{FromRelay, RelayRequest};
use crate::protocol::to_relay;
use crate::protocol::to_sdk::PONG_FRAME;
use crate::serve::context::Context;
use crate::serve::keys::{Keys, RelayAccess};
use crate::serve::refusals;
use crate::serve::session::State;
use crate::serve::streaming::close;
use crate::serve::streaming::close_reason::CloseReason;
use crate::store::{Scope, SyncKind};
use crate::telemetry::metrics::{Connection, Limit, Refusal};
use crate::wire::ws::frame;
use crate::wire::ws::reader::{Event, Step};

use super::downstream::{Downstream, Verify};

/// What is done for a downstream agent may end with closing its connection.
type Done = Result<(), CloseReason>;

/// The connection is a downstream agent's from now on.
pub(crate) fn begin(cx: &mut Context<'_, '_>, access: RelayAccess) -> State {
    let downstream = cx.parts.relays.join(&cx.parts.shared, cx.link.key(), access);
    cx.count_as(Connection::Relay);
    cx.restart_idle_time();
    let state = cx.parts.shared.ingest.following().state();
    // A downstream agent takes it that all is well unless it is told otherwise.
    if !state.is_current() {
        cx.link.send(Payload::private(frame::text_frame(to_relay::state(state).as_bytes())));
    }
    State::Relay(Box::new(downstream))
}

/// Takes one frame off `bytes`, if it is all there. Returns the bytes consumed.
pub(crate) fn receive(cx: &mut Context<'_, '_>, state: &mut State, bytes: &mut [u8]) -> usize {
    let State::Relay(downstream) = state else { return 0 };
    let length = bytes.len();
    let step = downstream.reader.step(bytes, cx.options().limits.message_bytes);
    cx.restart_idle_time();
    let (consumed, done) = match step {
        Ok(Step::Incomplete { .. }) => (0, Ok(())),
        Ok(Step::Consumed(consumed)) => (consumed, Ok(())),
        Ok(Step::Event { event, consumed }) => {
            cx.parts.meter.message();
            let done = match event {
                Event::Text(text) | Event::Binary(text) => match FromRelay::parse(text) {
                    FromRelay::Echo => {
                        cx.link.send(Payload::private(frame::text_frame(text)));
                        Ok(())
                    }
                    message => answer(cx, downstream, message),
                },
                Event::Ping(payload) => {
                    cx.link.send(Payload::private(frame::pong_frame(payload)));
                    Ok(())
                }
                Event::Pong => Ok(()),
                Event::Close { code } => {
                    close::by_peer(cx.link, code, consumed == length);
                    Ok(())
                }
            };
            (consumed, done)
        }
        // As FeatBit's server does: closed, it would come back and send the same.
        Err(violation) if violation.code == CloseCode::TOO_BIG => {
            let consumed = downstream.reader.pass_over(bytes);
            note_too_long(cx);
            // Perhaps it asked for what is newer than what it has.
            let lacks_data = downstream.lacks_data();
            let done = if lacks_data { sync(cx, downstream, &RelayRequest::full()) } else { Ok(()) };
            (consumed, done)
        }
        Err(violation) => {
            close::violated(cx, state, violation, bytes);
            return length;
        }
    };
    match done {
        Ok(()) => cx.link.hold_memory(downstream.reader.settle()),
        Err(reason) => state.change(|state| close::begin(cx, state, reason)),
    }
    consumed
}

fn answer(cx: &mut Context<'_, '_>, downstream: &mut Downstream, message: FromRelay) -> Done {
    match message {
        FromRelay::Ping => cx.link.send(Payload::Static(PONG_FRAME)),
        FromRelay::DataSync(request) => return sync(cx, downstream, &request),
        FromRelay::Status { agent_id, status } => {
            let shared = &cx.parts.shared;
            shared.downstream.report(downstream.id, agent_id, status, (shared.wall_ms)());
        }
        FromRelay::Echo | FromRelay::Ignored => {}
    }
    Ok(())
}

fn note_too_long(cx: &Context<'_, '_>) {
    let shared = &cx.parts.shared;
    cx.parts.meter.limit_hit(Limit::MessageBytes);
    if let Some(held_back) = shared.log_limits.relay_message_too_long.allow(shared.now_ms()) {
        tracing::warn!(
            others_like_it = held_back,
            allowed = shared.options.limits.message_bytes,
            "an agent that follows this one sent a longer message than allowed, which was passed over. If it is not \
             shown in the status, or gets everything whenever it comes back, raise Limits__MessageBytes"
        );
    }
}

/// It asks for data: all of it, or what is newer than it has.
fn sync(cx: &mut Context<'_, '_>, downstream: &mut Downstream, request: &RelayRequest) -> Done {
    let (shared, view) = (&cx.parts.shared, &cx.parts.view);
    if let Some(number) = request.verify {
        downstream.verify = Some(Verify { number, requested: shared.ingest.following().asked() });
        if view.answered() != u64::MAX {
            shared.ingest.request_resync(ResyncReason::UnknownSecret);
        }
    }
    if !view.loaded() {
        downstream.waits_for_data = true;
        return Ok(());
    }
    if !request.is_full()
        && !downstream.awaits_full
        && let Ok(patch) = view.relay_patch(&downstream.access.scope, request, &shared.options.instance)
    {
        cx.parts.meter.synced(SyncKind::Patch);
        cx.link.send(patch);
        downstream.sequence = Some(view.sequence());
        verify(cx, downstream);
        return Ok(());
    }
    order_full(cx, downstream)
}

/// Has a full sync put together, which comes by mail.
fn order_full(cx: &mut Context<'_, '_>, downstream: &mut Downstream) -> Done {
    if downstream.awaits_full {
        downstream.owed_full = true;
        return Ok(());
    }
    let (view, scope) = (cx.parts.view.clone(), Scope::clone(&downstream.access.scope));
    let certain = view.answered() == u64::MAX;
    let mailbox = cx.parts.mailbox.clone();
    if !cx.parts.shared.ingest.relay_full(view, scope, certain, mailbox, cx.link.key()) {
        return Err(CloseReason::Busy);
    }
    downstream.awaits_full = true;
    Ok(())
}

/// The full sync that was ordered has come.
pub(crate) fn send_full(cx: &mut Context<'_, '_>, state: &mut State, full: RelayFull) {
    if cx.link.is_closing() {
        return;
    }
    or_close(cx, state, |cx, downstream| {
        downstream.awaits_full = false;
        downstream.sequence = Some(full.sequence);
        cx.parts.meter.synced(SyncKind::Full);
        cx.link.send(full.payload);
        if std::mem::take(&mut downstream.owed_full) {
            return order_full(cx, downstream);
        }
        bring_up_to_date(cx, downstream)
    });
}

/// Sends a downstream agent what it lacks, once it has taken what it was sent before.
pub(crate) fn update(cx: &mut Context<'_, '_>, state: &mut State) {
    or_close(cx, state, bring_up_to_date);
}

/// The keys are others: a connection whose key is gone is closed, and one whose key opens something else gets that.
pub(crate) fn check_key(cx: &mut Context<'_, '_>, state: &mut State, keys: &Keys) {
    if cx.link.is_closing() {
        return;
    }
    or_close(cx, state, |cx, downstream| match keys.relay(downstream.access.key.expose()) {
        None => {
            refusals::note(cx.parts, Refusal::RelayKey, None);
            Err(CloseReason::Refused)
        }
        Some(access) if access.scope == downstream.access.scope => Ok(()),
        Some(access) => {
            downstream.access = access.clone();
            if downstream.has_data() { order_full(cx, downstream) } else { Ok(()) }
        }
    });
}

fn or_close(
    cx: &mut Context<'_, '_>,
    state: &mut State,
    work: impl FnOnce(&mut Context<'_, '_>, &mut Downstream) -> Done,
) {
    let State::Relay(downstream) = state else { return };
    if let Err(reason) = work(cx, downstream) {
        state.change(|state| close::begin(cx, state, reason));
    }
}

fn bring_up_to_date(cx: &mut Context<'_, '_>, downstream: &mut Downstream) -> Done {
    if cx.link.is_closing() || cx.link.is_blocked() || downstream.awaits_full {
        return Ok(());
    }
    let parts = &mut *cx.parts;
    if downstream.waits_for_data && parts.view.loaded() {
        downstream.waits_for_data = false;
        return order_full(cx, downstream);
    }
    let Some(from) = downstream.sequence else { return Ok(()) };
    if from < parts.view.sequence() {
        let frames = &mut parts.broadcast.frames;
        frames.clear();
        let complete = parts.view.relay_since(&downstream.access.scope, from, frames);
        if !frames.is_empty() {
            parts.meter.delivered(SyncKind::Patch);
        }
        frames.drain(..).for_each(|frame| cx.link.send(frame));
        if complete.is_err() {
            return order_full(cx, downstream);
        }
        downstream.sequence = Some(parts.view.sequence());
    }
    verify(cx, downstream);
    Ok(())
}

/// Says that what was sent is certain, if that was asked for and it is.
fn verify(cx: &mut Context<'_, '_>, downstream: &mut Downstream) {
    if let Some(Verify { number, requested }) = downstream.verify
        && cx.parts.view.answered() > requested
    {
        downstream.verify = None;
        cx.link.send(Payload::private(frame::text_frame(to_relay::verified(number).as_bytes())));
    }
}
