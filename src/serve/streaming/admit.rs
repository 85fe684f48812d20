//! Whether a streaming SDK is let in: by the verdict on its secret, which it may have to wait for.

use crate::fanout::secrets::Grant;
use crate::model::secret::SecretKind;
use crate::protocol::sdk::Sdk;
use crate::protocol::secret::Secret;
use crate::serve::context::Context;
use crate::serve::refusals;
use crate::serve::session::State;
use crate::serve::verdict::{self, UNKNOWN_FORM, Verdict, Wanted};
use crate::telemetry::metrics::{Connection, Limit, Refusal};
use crate::wire::ws::reader::Reader;

use super::close;
use super::close_reason::CloseReason;
use super::stream::{PendingStream, Stream};

/// Lets a new streaming connection in, has it wait, or closes it.
pub(crate) fn decide(cx: &mut Context<'_, '_>, secret: Secret, kind: SecretKind, sdk: Sdk) -> State {
    let state = judge(cx, secret, kind, sdk);
    if matches!(state, State::Pending(_)) {
        wait(cx);
    }
    state
}

/// The same for one that waits, when there is new data. Its deadline stays.
pub(crate) fn decide_again(cx: &mut Context<'_, '_>, pending: Box<PendingStream>) -> State {
    match *pending {
        PendingStream::Verdict { secret, kind, sdk } => {
            let state = judge(cx, secret, kind, sdk);
            if !matches!(state, State::Pending(_)) {
                cx.link.resume();
            }
            state
        }
        // No data makes a difference.
        PendingStream::OutOfTime { .. } | PendingStream::UnknownForm { .. } => State::Pending(pending),
    }
}

fn judge(cx: &mut Context<'_, '_>, secret: Secret, kind: SecretKind, sdk: Sdk) -> State {
    let now = cx.link.now();
    match verdict::judge(&cx.parts.shared, &cx.parts.view, &secret, Wanted::Only(kind), now) {
        Verdict::Accepted { slot } => let_in(cx, Grant { secret, slot, kind }, sdk),
        Verdict::Refused(refused) => {
            refusals::note(cx.parts, refused.into(), Some(&secret));
            close::begin(cx, State::Over, CloseReason::Refused)
        }
        Verdict::Undecided => {
            cx.parts.pending.add(cx.link.key());
            State::Pending(Box::new(PendingStream::Verdict { secret, kind, sdk }))
        }
    }
}

/// From now on the connection can ask for data. Once it has asked, it is sent every change.
fn let_in(cx: &mut Context<'_, '_>, grant: Grant, sdk: Sdk) -> State {
    let (place, secret) = cx.parts.broadcast.join(grant, cx.link.key());
    cx.count_as(match grant.kind {
        SecretKind::Server => Connection::Server,
        SecretKind::Client => Connection::Client,
    });
    cx.restart_idle_time();
    State::Stream(Stream {
        reader: Reader::new(),
        place,
        secret,
        sdk,
        asked: None,
        waits_for_memory: false,
        user: None,
    })
}

/// Has a connection wait whose token is out of time, and says, at most once a minute, how far the clocks differ.
pub(crate) fn wait_out_of_time(cx: &mut Context<'_, '_>, ahead_ms: i64, sdk: Sdk) -> State {
    let shared = &cx.parts.shared;
    cx.parts.meter.refused(Refusal::Expired);
    if let Some(held_back) = shared.log_limits.token_out_of_time.allow(shared.now_ms()) {
        tracing::warn!(
            others_like_it = held_back,
            difference_seconds = ahead_ms as f64 / 1000.0,
            allowed_seconds = shared.options.streaming.token_expiry.as_secs_f64(),
            "an SDK's token is out of time: its clock and this machine's differ (positive: the SDK's is ahead); \
             it gets no data until they agree. Check the time synchronisation of both"
        );
    }
    let deadline = cx.link.now().after(shared.options.streaming.token_hold);
    cx.link.set_deadline(deadline);
    cx.link.pause();
    State::Pending(Box::new(PendingStream::OutOfTime { sdk }))
}

/// Has a connection wait whose token is of no form that is known here.
pub(crate) fn wait_with_unknown_form(cx: &mut Context<'_, '_>, sdk: Sdk) -> State {
    refusals::note(cx.parts, Refusal::UnknownForm, None);
    wait(cx);
    State::Pending(Box::new(PendingStream::UnknownForm { sdk }))
}

fn wait(cx: &mut Context<'_, '_>) {
    let deadline = cx.link.now().after(cx.options().limits.verdict_wait);
    cx.link.set_deadline(deadline);
    cx.link.pause();
}

/// A connection has waited for as long as it may.
pub(crate) fn out_of_time(cx: &mut Context<'_, '_>, pending: Box<PendingStream>) -> State {
    let reason = match &*pending {
        PendingStream::OutOfTime { .. } => CloseReason::TokenOutOfTime,
        PendingStream::UnknownForm { .. } => CloseReason::Undecided(UNKNOWN_FORM),
        PendingStream::Verdict { secret, .. } => {
            cx.parts.meter.limit_hit(Limit::VerdictWait);
            let (why, text) = verdict::undecided(&cx.parts.view);
            refusals::note(cx.parts, why, Some(secret));
            CloseReason::Undecided(text)
        }
    };
    close::begin(cx, State::Pending(pending), reason)
}
