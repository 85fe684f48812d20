//! The WebSocket of a downstream agent, which follows this one as it would follow a FeatBit server.
//!
//! As for an SDK, the connection stores the publish sequence up to which it was sent data; but that covers all of the data,
//! not one environment. There are few downstream agents, so each change visits all of them. A full sync is built on
//! another thread. Until it arrives nothing else is sent, so that the downstream agent gets everything in order.

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

use super::downstream::{Downstream, PendingVerification};

/// The error closes the connection.
type Done = Result<(), CloseReason>;

/// Turns an upgraded connection into that of a downstream agent.
pub(crate) fn begin(cx: &mut Context<'_, '_>, access: RelayAccess) -> State {
    let downstream = cx.parts.relays.join(&cx.parts.shared, cx.link.key(), access);
    cx.count_as(Connection::Relay);
    cx.restart_idle_time();
    let state = cx.parts.shared.ingest.following().state();
    // Without this message a downstream agent assumes that this one is up to date.
    if !state.is_current() {
        cx.link.send(Payload::private(frame::text_frame(to_relay::state(state).as_bytes())));
    }
    State::Relay(Box::new(downstream))
}

/// Takes one frame from `bytes` if it is complete, and handles it. Returns the number of bytes consumed.
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
                    close::answer_peer_close(cx.link, code, consumed == length);
                    Ok(())
                }
            };
            (consumed, done)
        }
        // Skipped, as FeatBit's server does. If the connection were closed, the agent would reconnect and send the same.
        Err(violation) if violation.code == CloseCode::TOO_BIG => {
            let consumed = downstream.reader.pass_over(bytes);
            log_too_long(cx);
            // It may have been a request for newer data. An agent that has none yet then needs a full sync.
            let lacks_data = downstream.lacks_data();
            let done = if lacks_data { sync(cx, downstream, &RelayRequest::full()) } else { Ok(()) };
            (consumed, done)
        }
        Err(violation) => {
            close::close_after_violation(cx, state, violation, bytes);
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

fn log_too_long(cx: &Context<'_, '_>) {
    let shared = &cx.parts.shared;
    cx.parts.meter.limit_hit(Limit::MessageBytes);
    if let Some(suppressed) = shared.log_limits.relay_message_too_long.allow(shared.now_ms()) {
        tracing::warn!(
            others_like_it = suppressed,
            allowed = shared.options.limits.message_bytes,
            "a message of an agent that follows this one was skipped: it is longer than allowed. If the status does not \
             list that agent, or it gets a full sync at every reconnect, raise Limits__MessageBytes"
        );
    }
}

/// Answers a request for data: with a patch if one is possible, otherwise with a full sync.
fn sync(cx: &mut Context<'_, '_>, downstream: &mut Downstream, request: &RelayRequest) -> Done {
    let (shared, view) = (&cx.parts.shared, &cx.parts.view);
    if let Some(number) = request.verify {
        downstream.verify =
            Some(PendingVerification { number, requested: shared.ingest.following().requested_full_syncs() });
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
    request_full(cx, downstream)
}

/// Orders a full sync from another thread. It arrives in the mailbox, see [`send_full`].
fn request_full(cx: &mut Context<'_, '_>, downstream: &mut Downstream) -> Done {
    if downstream.awaits_full {
        downstream.needs_another_full = true;
        return Ok(());
    }
    let (view, scope) = (cx.parts.view.clone(), Scope::clone(&downstream.access.scope));
    let is_authoritative = view.answered() == u64::MAX;
    let mailbox = cx.parts.mailbox.clone();
    if !cx.parts.shared.ingest.relay_full(view, scope, is_authoritative, mailbox, cx.link.key()) {
        return Err(CloseReason::Busy);
    }
    downstream.awaits_full = true;
    Ok(())
}

/// Sends the full sync that has arrived in the mailbox, and what has changed since it was ordered.
pub(crate) fn send_full(cx: &mut Context<'_, '_>, state: &mut State, full: RelayFull) {
    if cx.link.is_closing() {
        return;
    }
    or_close(cx, state, |cx, downstream| {
        downstream.awaits_full = false;
        downstream.sequence = Some(full.sequence);
        cx.parts.meter.synced(SyncKind::Full);
        cx.link.send(full.payload);
        if std::mem::take(&mut downstream.needs_another_full) {
            return request_full(cx, downstream);
        }
        send_missing(cx, downstream)
    });
}

/// Sends a downstream agent the changes that it lacks, unless it has not taken its earlier output yet.
pub(crate) fn update(cx: &mut Context<'_, '_>, state: &mut State) {
    or_close(cx, state, send_missing);
}

/// The keys were replaced: closes a connection whose key was removed, and sends a full sync if the key now opens other
/// environments.
pub(crate) fn recheck_key(cx: &mut Context<'_, '_>, state: &mut State, keys: &Keys) {
    if cx.link.is_closing() {
        return;
    }
    or_close(cx, state, |cx, downstream| match keys.relay(downstream.access.key.expose()) {
        None => {
            refusals::count_and_log(cx.parts, Refusal::RelayKey, None);
            Err(CloseReason::Refused)
        }
        Some(access) if access.scope == downstream.access.scope => Ok(()),
        Some(access) => {
            downstream.access = access.clone();
            if downstream.has_data() { request_full(cx, downstream) } else { Ok(()) }
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

fn send_missing(cx: &mut Context<'_, '_>, downstream: &mut Downstream) -> Done {
    if cx.link.is_closing() || cx.link.is_blocked() || downstream.awaits_full {
        return Ok(());
    }
    let parts = &mut *cx.parts;
    if downstream.waits_for_data && parts.view.loaded() {
        downstream.waits_for_data = false;
        return request_full(cx, downstream);
    }
    let Some(from) = downstream.sequence else { return Ok(()) };
    if from < parts.view.sequence() {
        let frames = parts.scratch.frames();
        let complete = parts.view.relay_since(&downstream.access.scope, from, frames);
        if !frames.is_empty() {
            parts.meter.delivered(SyncKind::Patch);
        }
        frames.drain(..).for_each(|frame| cx.link.send(frame));
        if complete.is_err() {
            return request_full(cx, downstream);
        }
        downstream.sequence = Some(parts.view.sequence());
    }
    verify(cx, downstream);
    Ok(())
}

/// Confirms what was sent, if the agent has asked for that and the upstream full sync has been answered.
fn verify(cx: &mut Context<'_, '_>, downstream: &mut Downstream) {
    if let Some(PendingVerification { number, requested }) = downstream.verify
        && cx.parts.view.answered() > requested
    {
        downstream.verify = None;
        cx.link.send(Payload::private(frame::text_frame(to_relay::verified(number).as_bytes())));
    }
}
