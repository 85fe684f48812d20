//! Accepts or refuses a streaming SDK by the verdict on its secret. While there is no verdict, the connection is pending.

use crate::fanout::secrets::Grant;
use crate::model::secret::SecretKind;
use crate::protocol::sdk::Sdk;
use crate::protocol::secret::Secret;
use crate::serve::context::Context;
use crate::serve::refusals;
use crate::serve::session::State;
use crate::serve::verdict::{self, AcceptedKind, UNKNOWN_FORM, Verdict};
use crate::telemetry::metrics::{Connection, Limit, Refusal};
use crate::wire::ws::reader::Reader;

use super::close;
use super::close_reason::CloseReason;
use super::stream::{PendingStream, Stream};

/// Accepts a new streaming connection, makes it pending, or closes it.
pub(crate) fn decide(cx: &mut Context<'_, '_>, secret: Secret, kind: SecretKind, sdk: Sdk) -> State {
    let state = judge(cx, secret, kind, sdk);
    if matches!(state, State::Pending(_)) {
        wait(cx);
    }
    state
}

/// As [`decide`], for a pending connection when there is new data. Its deadline stays.
pub(crate) fn decide_again(cx: &mut Context<'_, '_>, pending: Box<PendingStream>) -> State {
    match *pending {
        PendingStream::Verdict { secret, kind, sdk } => {
            let state = judge(cx, secret, kind, sdk);
            if !matches!(state, State::Pending(_)) {
                cx.link.resume();
            }
            state
        }
        // New data does not change what is wrong with these tokens.
        PendingStream::ClockMismatch { .. } | PendingStream::UnknownForm { .. } => State::Pending(pending),
    }
}

fn judge(cx: &mut Context<'_, '_>, secret: Secret, kind: SecretKind, sdk: Sdk) -> State {
    let now = cx.link.now();
    match verdict::judge(&cx.parts.shared, &cx.parts.view, &secret, AcceptedKind::Only(kind), now) {
        Verdict::Accepted { slot } => accept(cx, Grant { secret, slot, kind }, sdk),
        Verdict::Refused(refused) => {
            refusals::count_and_log(cx.parts, refused.into(), Some(&secret));
            close::begin(cx, State::Over, CloseReason::Refused)
        }
        Verdict::Undecided => {
            cx.parts.pending.add(cx.link.key());
            State::Pending(Box::new(PendingStream::Verdict { secret, kind, sdk }))
        }
    }
}

/// Accepts a connection. It can ask for data from now on; after it has asked, it is sent every change.
fn accept(cx: &mut Context<'_, '_>, grant: Grant, sdk: Sdk) -> State {
    let (position, secret) = cx.parts.broadcast.join(grant, cx.link.key());
    cx.count_as(match grant.kind {
        SecretKind::Server => Connection::Server,
        SecretKind::Client => Connection::Client,
    });
    cx.restart_idle_time();
    State::Stream(Stream {
        reader: Reader::new(),
        position,
        secret,
        sdk,
        pending_timestamp_ms: None,
        waits_for_memory: false,
        user: None,
    })
}

/// Makes a connection pending whose token has a time too far from this machine's clock, and logs the difference, at most
/// once a minute.
pub(crate) fn wait_with_clock_mismatch(cx: &mut Context<'_, '_>, ahead_ms: i64, sdk: Sdk) -> State {
    let shared = &cx.parts.shared;
    cx.parts.meter.refused(Refusal::Expired);
    if let Some(suppressed) = shared.log_limits.clock_mismatch.allow(shared.now_ms()) {
        tracing::warn!(
            others_like_it = suppressed,
            difference_seconds = ahead_ms as f64 / 1000.0,
            allowed_seconds = shared.options.streaming.token_expiry.as_secs_f64(),
            "an SDK's token is out of time: its clock and this machine's differ (positive: the SDK's is ahead). The SDK \
             gets no data until they agree. Check the time synchronisation of both machines"
        );
    }
    let deadline = cx.link.now().after(shared.options.streaming.token_hold);
    cx.link.set_deadline(deadline);
    cx.link.pause();
    State::Pending(Box::new(PendingStream::ClockMismatch { sdk }))
}

/// Makes a connection pending whose token has a format that this agent does not know.
pub(crate) fn wait_with_unknown_form(cx: &mut Context<'_, '_>, sdk: Sdk) -> State {
    refusals::count_and_log(cx.parts, Refusal::UnknownForm, None);
    wait(cx);
    State::Pending(Box::new(PendingStream::UnknownForm { sdk }))
}

fn wait(cx: &mut Context<'_, '_>) {
    let deadline = cx.link.now().after(cx.options().limits.verdict_wait);
    cx.link.set_deadline(deadline);
    cx.link.pause();
}

/// Closes a connection that was pending for as long as allowed.
pub(crate) fn wait_timed_out(cx: &mut Context<'_, '_>, pending: Box<PendingStream>) -> State {
    let reason = match &*pending {
        PendingStream::ClockMismatch { .. } => CloseReason::ClockMismatch,
        PendingStream::UnknownForm { .. } => CloseReason::Undecided(UNKNOWN_FORM),
        PendingStream::Verdict { secret, .. } => {
            cx.parts.meter.limit_hit(Limit::VerdictWait);
            let (why, text) = verdict::undecided(&cx.parts.view);
            refusals::count_and_log(cx.parts, why, Some(secret));
            CloseReason::Undecided(text)
        }
    };
    close::begin(cx, State::Pending(pending), reason)
}
