//! The log lines about sending: each kind of trouble of a stream when it begins, then at most every ten minutes, and once
//! when it is over.
//!
//! Must not log a secret, a body or user data: only statuses, the server's address, and the environment's name.

use std::collections::HashSet;

use crate::insights::queue::StreamKey;
use crate::telemetry::once::RateLimits;

use super::delivery::Verdict;
use super::outcome::{Fault, Outcome, Refusal};
use super::pool::JobDone;

/// Between two log lines about the same trouble, in milliseconds.
const AGAIN_MS: u64 = 600_000;
/// For how many troubles that is remembered.
const PLACES: usize = 1024;

/// Writes the log lines about one server.
#[derive(Debug)]
pub struct SendLog {
    host: String,
    limits: RateLimits,
    /// Streams of which it was logged that they wait.
    waiting: HashSet<StreamKey>,
    /// Whether it was logged that no connection is possible.
    unreachable: bool,
}

/// What is to be known about a trouble: the kind, once per stream, and the text.
struct Trouble {
    kind: (&'static str, u16),
    is_error: bool,
    text: String,
}

impl SendLog {
    /// For the server at this host and port.
    pub fn new(host: String) -> Self {
        Self { host, limits: RateLimits::new(AGAIN_MS, PLACES), waiting: HashSet::new(), unreachable: false }
    }

    /// A request of the environment called `label` has ended, and this is what happens to its events. `now_ms` is of a
    /// clock that only rises.
    pub fn ended(&mut self, done: &JobDone, verdict: Verdict, label: &str, now_ms: u64) {
        if done.gzip_refused {
            tracing::warn!(
                server = self.host,
                "the event server does not take compressed bodies: usage events are sent uncompressed until the agent \
                 is restarted. Turn Events__Gzip off"
            );
        }
        self.connection(&done.outcome, now_ms);
        if done.outcome == Outcome::Taken {
            if self.waiting.remove(&done.stream) {
                tracing::info!(environment = label, server = self.host, "usage events are sent again");
            }
            return;
        }
        let Some(trouble) = trouble(&done.outcome, verdict) else { return };
        if verdict == Verdict::Keep {
            self.waiting.insert(done.stream);
        }
        let Some(others) = self.limits.allow((done.stream, trouble.kind), now_ms) else { return };
        let (kind, text) = (done.stream.kind.as_str(), trouble.text);
        if trouble.is_error {
            tracing::error!(
                environment = label,
                secret = kind,
                server = self.host,
                others_like_it = others,
                "{text}"
            );
        } else {
            tracing::warn!(
                environment = label,
                secret = kind,
                server = self.host,
                others_like_it = others,
                "{text}"
            );
        }
    }

    /// Forgets a stream whose environment is gone.
    pub fn forget(&mut self, stream: StreamKey) {
        self.waiting.remove(&stream);
    }

    /// Connections concern all streams alike.
    fn connection(&mut self, outcome: &Outcome, now_ms: u64) {
        match outcome {
            Outcome::Again(Fault::NoConnection(error)) => {
                self.unreachable = true;
                if let Some(others) = self.limits.allow((), now_ms) {
                    tracing::warn!(
                        others_like_it = others,
                        "the event server cannot be reached: {error}. Usage events wait and are sent later"
                    );
                }
            }
            Outcome::Again(Fault::Abandoned) => {}
            _ if std::mem::take(&mut self.unreachable) => {
                tracing::info!(server = self.host, "the event server can be reached again");
            }
            _ => {}
        }
    }
}

fn trouble(outcome: &Outcome, verdict: Verdict) -> Option<Trouble> {
    const LATER: &str = "The events are kept and sent later";
    let warning = |kind, status, text| Some(Trouble { kind: (kind, status), is_error: false, text });
    match (outcome, verdict) {
        (Outcome::Taken | Outcome::Again(Fault::NoConnection(_) | Fault::Abandoned), _) => None,
        (Outcome::Again(Fault::Status { status, .. }), _) => warning(
            "again",
            *status,
            format!("the event server cannot take usage events at present (status {status}). {LATER}"),
        ),
        (Outcome::Again(Fault::NoAnswer { how, detail }), _) => warning(
            "no answer",
            *how as u16,
            format!(
                "the event server gave no answer ({outcome}: {detail}). {LATER}; if it has taken them before that, they \
                 count twice"
            ),
        ),
        (Outcome::Refused(refusal), _) => Some(Trouble {
            kind: ("refused", refusal.status),
            is_error: true,
            text: format!("{}. {LATER}", why_refused(refusal)),
        }),
        (Outcome::TooLarge, Verdict::DeadLetter { .. }) => warning(
            "too large",
            413,
            "an event alone is too large for the event server (status 413). It goes to the dead letters; the others are \
             sent on"
                .into(),
        ),
        (Outcome::Rejected { status }, Verdict::DeadLetter { events, .. }) => warning(
            "rejected",
            *status,
            format!(
                "the event server does not accept {} (status {status}). What it does not accept goes to the dead \
                 letters; the others are sent on",
                if events == 1 { "an event".into() } else { format!("{events} events, after many single ones") }
            ),
        ),
        // Smaller requests follow at once.
        (Outcome::TooLarge | Outcome::Rejected { .. }, _) => None,
    }
}

fn why_refused(refusal: &Refusal) -> String {
    let status = refusal.status;
    match (status, &refusal.redirected_to) {
        (300..=399, Some(host)) => format!(
            "the event server redirects usage events to {host} (status {status}); redirects are not followed. Set EventUri \
             to the address there"
        ),
        (300..=399, None) => format!(
            "the event server redirects usage events (status {status}); redirects are not followed. Set EventUri to the \
             server's own address"
        ),
        (401 | 403, _) => format!(
            "the event server does not know the secret of this environment, or does not let the agent in (status \
             {status}). Check that EventUri is the server that this environment is on, and the gateways before it"
        ),
        (404 | 405, _) => format!(
            "the event server takes no usage events at this address (status {status}): EventUri is wrong. Set it to the \
             address of FeatBit's evaluation server, with the path under which a gateway forwards to it"
        ),
        (400, _) => {
            "the event server asks for TLS (status 400): EventUri is wrong. Write it with https instead of http".into()
        }
        (508, _) => format!(
            "usage events sent to EventUri come back to this agent (status {status}): EventUri is wrong. Set it to the \
             address of FeatBit's evaluation server"
        ),
        (407, _) => format!(
            "a proxy before the event server asks for a login (status {status}). Set Upstream__Proxy to its URL, with \
             user and password"
        ),
        _ => format!(
            "something before the event server does not let usage events through (status {status}). Check EventUri and \
             the gateways before it"
        ),
    }
}

#[cfg(test)]
mod tests;
