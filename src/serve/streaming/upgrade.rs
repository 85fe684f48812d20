//! Upgrades a connection to a WebSocket: of an SDK, of a downstream agent, or of a conformance suite.

use crate::model::secret::SecretKind;
use crate::payload::Payload;
use crate::protocol::from_relay;
use crate::protocol::relay_path::{PATH_FIELD, write_path};
use crate::protocol::sdk::Sdk;
use crate::serve::context::Context;
use crate::serve::http::routes::Route;
use crate::serve::refusals;
use crate::serve::relay::connection as relay;
use crate::serve::session::State;
use crate::serve::verdict;
use crate::telemetry::metrics::{Connection, Refusal};
use crate::wire::http1::head::{Head, Upgrade};
use crate::wire::http1::target::query_param;
use crate::wire::ws::handshake;
use crate::wire::ws::reader::Reader;

use super::admit;
use super::close;
use super::close_reason::CloseReason;
use super::token::{self, TokenError};

/// Accepts the upgrade. On `/streaming` a faulty request gets a close code instead of an HTTP error, after which every SDK
/// would retry for ever.
pub(crate) fn upgrade(
    cx: &mut Context<'_, '_>,
    upgrade: &Upgrade<'_>,
    head: &Head<'_>,
    route: Route,
) -> State {
    let kind = query_param(head.query, "type");
    let is_relay = route == Route::Streaming && kind.as_deref() == Some(from_relay::STREAM_TYPE);
    let token = query_param(head.query, "token").unwrap_or_default();
    let relay = if is_relay { cx.parts.shared.keys.load().relay(&token).cloned() } else { None };
    let path = relay.as_ref().map(|_| write_path(cx.parts.relays.path()));
    let mut response = Vec::with_capacity(160);
    let field = path.as_deref().map(|path| (PATH_FIELD, path));
    handshake::accept_response(upgrade.key, field, &mut response);
    cx.link.send(Payload::private(response));
    cx.parts.meter.answered(route, 101);
    cx.count_as(Connection::Other);
    if route == Route::Echo {
        cx.restart_idle_time();
        return State::Echo(Reader::new());
    }
    if let Some(access) = relay {
        return relay::begin(cx, access);
    }
    match kind.as_deref() {
        Some("server") => upgrade_sdk(cx, head, &token, SecretKind::Server),
        Some("client") => upgrade_sdk(cx, head, &token, SecretKind::Client),
        Some(from_relay::STREAM_TYPE) => refuse(cx, Refusal::RelayKey),
        _ => refuse(cx, Refusal::Malformed),
    }
}

/// Checks an SDK's token, and judges the secret in it.
fn upgrade_sdk(cx: &mut Context<'_, '_>, head: &Head<'_>, token: &str, kind: SecretKind) -> State {
    if !matches!(query_param(head.query, "version").as_deref(), None | Some("" | "1" | "2")) {
        return refuse(cx, Refusal::Malformed);
    }
    let sdk = Sdk::of(head.user_agents);
    match token::check(token, (cx.parts.shared.wall_ms)(), cx.options().streaming.token_expiry) {
        Ok(secret) => admit::decide(cx, secret, kind, sdk),
        Err(TokenError::UnknownForm) if token.is_empty() || verdict::knows_all_forms(&cx.parts.shared) => {
            refuse(cx, Refusal::Malformed)
        }
        Err(TokenError::UnknownForm) => admit::wait_with_unknown_form(cx, sdk),
        Err(TokenError::ClockMismatch { ahead_ms }) => admit::wait_with_clock_mismatch(cx, ahead_ms, sdk),
    }
}

/// Refuses a peer whose request has no secret, so that the log cannot name an environment.
fn refuse(cx: &mut Context<'_, '_>, why: Refusal) -> State {
    refusals::count_and_log(cx.parts, why, None);
    close::begin(cx, State::Over, CloseReason::Refused)
}
