//! Sends data to an SDK: the answer to its `data-sync`, and every change after that.

use crate::model::secret::SecretKind;
use crate::payload::Payload;
use crate::serve::context::Context;
use crate::serve::session::State;
use crate::store::PatchForm;
use crate::telemetry::metrics::Limit;
use crate::wire::ws::frame;

use super::stream::{Stream, audience};

/// Answers a `data-sync`, or stores the request until there is memory for the answer.
pub(crate) fn answer(cx: &mut Context<'_, '_>, stream: &mut Stream, timestamp_ms: i64) {
    let parts = &mut *cx.parts;
    let Some(environment) = parts.view.environment(stream.position.slot) else { return };
    environment.record_requested_version(timestamp_ms, parts.shared.wall_ms);
    match &stream.user {
        None if stream.position.kind == SecretKind::Client => return,
        None => {
            let frames = parts.scratch.frames();
            let kind = environment.server_sync(timestamp_ms, PatchForm::of(stream.sdk), frames);
            parts.meter.synced(kind);
            for payload in frames.drain(..) {
                cx.link.send(payload);
            }
        }
        Some(user) => {
            let text = parts.scratch.text();
            let audience = audience(user, stream.sdk);
            let outcome = environment.client_sync(parts.view.segments(), audience, timestamp_ms, text);
            if !parts.memory.fits(cx.link, text.len()) {
                stream.pending_timestamp_ms = Some(timestamp_ms);
                return wait_for_memory(cx, stream);
            }
            parts.meter.synced(outcome.kind);
            cx.link.send(Payload::private(frame::text_frame(text)));
        }
    }
    parts.broadcast.index.set_sequence(stream.position, environment.sequence());
}

/// Sends a change. A connection with unsent output is *behind*: it gets one patch with all changes when that output is
/// sent.
pub(crate) fn push(cx: &mut Context<'_, '_>, state: &mut State) {
    let State::Stream(stream) = state else { return };
    if cx.link.is_blocked() {
        return cx.parts.meter.behind();
    }
    // A connection that waits for memory, or has an unanswered request, gets this change with the answer.
    if !stream.waits_for_memory && stream.pending_timestamp_ms.is_none() {
        send_changes(cx, stream);
    }
}

/// All earlier output is sent: sends the answer to a stored request, or the changes that the connection lacks.
pub(crate) fn catch_up(cx: &mut Context<'_, '_>, stream: &mut Stream) {
    match stream.pending_timestamp_ms.take() {
        Some(timestamp_ms) => answer(cx, stream, timestamp_ms),
        None => send_changes(cx, stream),
    }
}

/// Memory is free: goes on with a connection that waited for it.
pub(crate) fn resume(cx: &mut Context<'_, '_>, stream: &mut Stream) {
    stream.waits_for_memory = false;
    if !cx.link.is_blocked() {
        catch_up(cx, stream);
    }
}

/// Sends the changes since the connection's publish sequence, and advances that to the present one.
fn send_changes(cx: &mut Context<'_, '_>, stream: &mut Stream) {
    let parts = &mut *cx.parts;
    let Some(from) = parts.broadcast.index.sequence(stream.position) else { return };
    let Some(environment) = parts.view.environment(stream.position.slot) else { return };
    let to = environment.sequence();
    if from >= to {
        return;
    }
    let sent = match &stream.user {
        Some(user) => {
            let text = parts.scratch.text();
            let audience = audience(user, stream.sdk);
            let kind = environment.client_since(parts.view.segments(), audience, from, text);
            if kind.is_some() {
                if !parts.memory.fits(cx.link, text.len()) {
                    return wait_for_memory(cx, stream);
                }
                cx.link.send(Payload::private(frame::text_frame(text)));
            }
            kind
        }
        None => {
            let frames = parts.scratch.frames();
            let kind = environment.server_since(from, PatchForm::of(stream.sdk), frames);
            if !parts.memory.fits(cx.link, frames.iter().map(Payload::private_bytes).sum()) {
                return wait_for_memory(cx, stream);
            }
            for payload in frames.drain(..) {
                cx.link.send(payload);
            }
            kind
        }
    };
    if let Some(kind) = sent {
        parts.meter.delivered(kind);
    }
    parts.broadcast.index.set_sequence(stream.position, to);
}

/// Adds a connection to those that wait for memory, unless it is on that list already.
fn wait_for_memory(cx: &mut Context<'_, '_>, stream: &mut Stream) {
    if !std::mem::replace(&mut stream.waits_for_memory, true) {
        cx.parts.meter.limit_hit(Limit::PendingBytes);
        cx.parts.memory.add(cx.link);
    }
}
