//! Peers that do not speak HTTP/1 to a port without TLS: what they are answered, and what the log says of them.

use crate::net::service::Close;
use crate::payload::Payload;
use crate::serve::context::Context;
use crate::serve::log_limits::NO_PROXY_PROTOCOL;
use crate::serve::session::State;
use crate::serve::shared::Shared;
use crate::wire::http1::foreign::Foreign;

use super::routes::Route;

/// Without TLS, the answer to a request without TLS where TLS is spoken.
pub const PLAIN_REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 46\r\nCache-Control: no-store\r\n\
    Connection: close\r\n\r\n\
    This port speaks TLS: use https:// or wss://.\n";

/// Answers a peer that does not speak HTTP/1, and ends the connection. `None` if it knows no answer of its own.
pub(crate) fn refuse(cx: &mut Context<'_, '_>, foreign: Foreign) -> Option<State> {
    note(&cx.parts.shared, foreign);
    let answer = foreign.answer()?;
    cx.parts.meter.answered(Route::Unknown, 505);
    cx.link.send(Payload::Static(answer));
    cx.link.close(Close::Linger);
    Some(State::Over)
}

/// Says that something else than HTTP/1 is spoken to a port without TLS.
fn note(shared: &Shared, foreign: Foreign) {
    let (limit, what) = match foreign {
        Foreign::Http2 => (
            &shared.log_limits.http_2,
            "a client or proxy speaks HTTP/2, which is not spoken here, and its connection was ended. Let it use \
             HTTP/1.1 towards the agent",
        ),
        Foreign::Proxy => (&shared.log_limits.proxy_protocol, NO_PROXY_PROTOCOL),
        Foreign::Tls => (
            &shared.log_limits.tls_to_plain,
            "a client speaks TLS where it is not spoken, and was refused. Let it use http:// or ws://, or add an \
             https:// address to Urls",
        ),
    };
    if let Some(held_back) = limit.allow(shared.now_ms()) {
        tracing::warn!(others_like_it = held_back, "{what}");
    }
}
