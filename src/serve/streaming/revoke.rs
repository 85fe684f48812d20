//! Closes connections whose secret no longer gives access to their environment.

use crate::serve::context::Context;
use crate::serve::refusals;
use crate::serve::session::State;
use crate::telemetry::metrics::Refusal;

use super::broadcast::is_valid;
use super::close;
use super::close_reason::CloseReason;

/// Closes a connection if its secret was removed or now opens another environment.
pub(crate) fn close_if_revoked(cx: &mut Context<'_, '_>, state: &mut State) {
    let State::Stream(stream) = state else { return };
    let Some(grant) = cx.parts.broadcast.secrets.get(stream.secret).copied() else { return };
    let view = &cx.parts.view;
    if is_valid(view, &grant) {
        return;
    }
    let opens_another = view.secret(&grant.secret).is_some_and(|entry| entry.opens_to(grant.kind).is_some());
    let reason = if opens_another {
        // Not final: the SDK must reconnect, and then gets the other environment.
        CloseReason::OtherEnvironment
    } else {
        refusals::count_and_log(cx.parts, Refusal::Revoked, Some(&grant.secret));
        CloseReason::Revoked
    };
    state.change(|state| close::begin(cx, state, reason));
}
