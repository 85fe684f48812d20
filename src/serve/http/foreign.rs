//! Peers that send something other than HTTP/1 to a port without TLS: how they are answered and logged.

use crate::net::service::Close;
use crate::payload::Payload;
use crate::serve::context::Context;
use crate::serve::log_limits::NO_PROXY_PROTOCOL;
use crate::serve::session::State;
use crate::serve::shared::Shared;
use crate::wire::http1::foreign::Foreign;

use super::routes::Route;

/// The answer, unencrypted, to a plain HTTP request on a TLS port.
pub const PLAIN_REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 46\r\nCache-Control: no-store\r\n\
    Connection: close\r\n\r\n\
    This port speaks TLS: use https:// or wss://.\n";

/// Answers a peer in its own protocol and closes the connection. `None` if that protocol has no such answer: then nothing
/// was sent or closed.
pub(crate) fn refuse(cx: &mut Context<'_, '_>, foreign: Foreign) -> Option<State> {
    log_foreign(&cx.parts.shared, foreign);
    let answer = foreign.answer()?;
    cx.parts.meter.answered(Route::Unknown, 505);
    cx.link.send(Payload::Static(answer));
    cx.link.close(Close::Linger);
    Some(State::Over)
}

/// Logs which protocol a peer used instead of HTTP/1.
fn log_foreign(shared: &Shared, foreign: Foreign) {
    let (limit, what) = match foreign {
        Foreign::Http2 => (
            &shared.log_limits.http_2,
            "a client or proxy speaks HTTP/2, which the agent does not support: its connection was closed. Configure it \
             to use HTTP/1.1 for the agent",
        ),
        Foreign::Proxy => (&shared.log_limits.proxy_protocol, NO_PROXY_PROTOCOL),
        Foreign::Tls => (
            &shared.log_limits.tls_to_plain,
            "a client was refused: it speaks TLS on a port without TLS. Use http:// or ws:// in the client, or add an \
             https:// address to Urls",
        ),
    };
    if let Some(suppressed) = limit.allow(shared.now_ms()) {
        tracing::warn!(others_like_it = suppressed, "{what}");
    }
}
