//! The end of a WebSocket (RFC 6455 section 7): whoever begins it, and what is waited for.
//!
//! A close frame with the end of TCP right behind it does not arrive through proxies that do not forward the end of one
//! side alone: the peer's next message meets a reset, and it never learns the code. So after a close frame TCP stays open,
//! and input is dropped, until the peer's own close frame, its end, or the time is over.

use crate::net::service::{Close, Link};
use crate::payload::Payload;
use crate::protocol::close::{CloseCode, REFUSED_REASON};
use crate::protocol::sdk::Sdk;
use crate::telemetry::metrics::Closed;
use crate::wire::ws::frame;
use crate::wire::ws::reader::Violation;
use crate::wire::ws::rest::Rest;

use crate::serve::metrics::Limit;
use crate::serve::server::Server;
use crate::serve::session::{Session, State};
use crate::serve::verdict::pending::HeldStream;

/// Who was at the other end, as far as that decides how the connection ends.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    sdk: Sdk,
    /// Bytes of a message that were being passed over.
    bytes: u64,
}

impl Server {
    pub(crate) fn close_violated(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        violation: Violation,
    ) {
        if violation.code == CloseCode::TOO_BIG {
            self.meter.limit_hit(Limit::MessageBytes);
        }
        self.close_stream(link, session, violation.code, violation.reason);
    }

    /// Closes for good: the SDK never comes back.
    pub(crate) fn close_refused(&mut self, link: &mut Link<'_>, session: &mut Session) {
        self.close_stream(link, session, CloseCode::REFUSED, REFUSED_REASON);
    }

    /// Begins the closing handshake of a WebSocket. What it held is given back at once.
    pub(crate) fn close_stream(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        code: CloseCode,
        reason: &str,
    ) {
        if matches!(session.state, State::Closing(_)) {
            return;
        }
        session.why = Some(match code {
            CloseCode::REFUSED => session.why.unwrap_or(Closed::Refused),
            CloseCode::GOING_AWAY => Closed::Shutdown,
            CloseCode::POLICY => Closed::Expired,
            CloseCode::INTERNAL_ERROR => Closed::Undecided,
            CloseCode::TRY_AGAIN_LATER => Closed::Memory,
            CloseCode::TOO_BIG => Closed::Limit,
            _ => Closed::Protocol,
        });
        let left = self.leave(link, session);
        link.hold_memory(0);
        link.resume();
        if left.sdk.waits_after_close() && code != CloseCode::REFUSED {
            session.state = State::Over;
            // It has nothing more to say, but keeps its own end open until it comes back.
            return link.close(Close::LingerBriefly);
        }
        link.send(Payload::private(frame::close_frame(code, reason)));
        link.begin_close();
        link.set_deadline(link.now().after(self.close_wait()));
        session.state = State::Closing(Rest::after(left.bytes));
    }

    /// Gives back what a connection holds in this server.
    fn leave(&mut self, link: &Link<'_>, session: &mut Session) -> Left {
        match std::mem::replace(&mut session.state, State::Over) {
            State::Stream(stream) => {
                self.index.remove(stream.place);
                self.secrets.leave(stream.secret);
                Left { sdk: stream.sdk, bytes: 0 }
            }
            State::Relay(relay) => {
                self.relay_left(link.key(), &relay);
                Left { sdk: Sdk::Other, bytes: relay.left_to_pass() }
            }
            State::Held(held) => match *held {
                HeldStream::Verdict { sdk, .. }
                | HeldStream::OutOfTime { sdk }
                | HeldStream::UnknownForm { sdk } => Left { sdk, bytes: 0 },
            },
            State::Head { .. }
            | State::Body(_)
            | State::Parked(_)
            | State::Echo(_)
            | State::Closing(_)
            | State::Over => Left::default(),
        }
    }

    /// Drops what a peer still sends after it was sent a close frame.
    pub(crate) fn drop_rest(&mut self, link: &mut Link<'_>, session: &mut Session, bytes: &[u8]) {
        if let State::Closing(rest) = &mut session.state
            && rest.drop(bytes)
        {
            link.close(Close::LingerBriefly);
        }
    }

    /// The closing handshake has taken as long as it may.
    pub(crate) fn end_of_close(&mut self, link: &mut Link<'_>) {
        // As long as the close frame has not gone, it is the peer's pace that counts.
        if !link.is_blocked() {
            self.meter.limit_hit(Limit::CloseSeconds);
            link.close(Close::LingerBriefly);
        }
    }

    /// The close frame is on its way at last.
    pub(crate) fn close_frame_sent(&mut self, link: &mut Link<'_>) {
        link.set_deadline(link.now().after(self.close_wait()));
    }

    /// Gives a connection up so that others can be served. Its SDK comes back. `input` was kept of it.
    pub(crate) fn give_up(&mut self, link: &mut Link<'_>, session: &mut Session, input: &[u8]) {
        self.meter.limit_hit(Limit::PendingBytes);
        match &session.state {
            State::Stream(_) | State::Held(_) | State::Echo(_) | State::Relay(_) => {
                let reason = "memory for output is short, try again later";
                self.close_stream(link, session, CloseCode::TRY_AGAIN_LATER, reason);
                self.drop_rest(link, session, input);
            }
            State::Head { .. } | State::Body(_) | State::Parked(_) | State::Closing(_) | State::Over => {
                session.why = Some(Closed::Memory);
                link.close(Close::Abort);
            }
        }
    }
}

/// The peer begins the closing handshake: its code goes back, and nothing more is to come from it.
pub(crate) fn close_by_peer(link: &mut Link<'_>, code: Option<CloseCode>, was_the_last: bool) {
    link.send(Payload::private(frame::close_reply(code)));
    link.close(if was_the_last { Close::Flush } else { Close::Linger });
}

#[cfg(test)]
mod tests;
