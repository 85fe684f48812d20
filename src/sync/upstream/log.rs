//! The log lines about the server. Each problem is logged when it occurs, then at most every ten minutes.
//!
//! Must not log a key or any byte of a message.

use std::collections::HashSet;
use std::hash::Hash;

use crate::ingest::Ingest;
use crate::model::dataset::LeftOut;
use crate::protocol::close::CloseCode;
use crate::protocol::status::SyncState;
use crate::telemetry::metrics::DialFault;
use crate::telemetry::once::{Others, RateLimits};

use super::connection::ConnectionEnd;
use super::follow::FailureKind;
use super::opener::ConnectError;
use super::plausible::Lack;
use super::reply::quoted;

/// The problem with a ring of agents, and what to do.
pub(super) const FOLLOWS_ITSELF: &str = "it follows this agent, directly or over others, so this agent would follow itself; set StreamingUri to another one";

/// Between two log lines about the same problem, in milliseconds.
const AGAIN_MS: u64 = 600_000;

/// How many kinds of unknown messages are logged; further kinds are only counted.
const UNKNOWN_MAX: usize = 32;

/// Writes the log lines about one server.
pub(super) struct UpstreamLog {
    server: String,
    limits: RateLimits,
    /// The last error with its time, until it is published.
    error: Option<(i64, String)>,
    connected_before: bool,
    /// Whether it was logged that a status report is incomplete.
    cut_logged: bool,
    /// The kinds of unknown messages that were logged.
    unknown: HashSet<(String, String)>,
}

impl UpstreamLog {
    /// For the server at this address.
    pub fn new(server: String) -> Self {
        Self {
            server,
            limits: RateLimits::new(AGAIN_MS, 256),
            error: None,
            connected_before: false,
            cut_logged: false,
            unknown: HashSet::new(),
        }
    }

    /// Takes the last error since the previous call, with its time in Unix milliseconds.
    pub fn take_error(&mut self) -> Option<(i64, String)> {
        self.error.take()
    }

    /// A connection was opened.
    pub fn connected(&mut self) {
        if self.connected_before {
            tracing::info!(server = self.server, "connected to the server again");
        } else {
            tracing::info!(server = self.server, "connected to the server");
        }
        self.connected_before = true;
    }

    /// The full sync that an operator has requested is in service, and has changed this number of environments.
    pub fn resynced(&self, environments: usize) {
        let outcome = if environments == 0 { "nothing in it is new" } else { "it is in service" };
        tracing::info!(
            server = self.server,
            environments_changed = environments,
            "the requested full sync has come: {outcome}"
        );
    }

    /// The upstream status has changed.
    pub fn state_changed(&self, state: SyncState) {
        tracing::info!(server = self.server, "the state of the synchronization is now {}", state.as_str());
    }

    /// A status report leaves out this number of environment names, or cannot be sent at all (`None`), since it would be too
    /// long. Logged once, until a report is complete again.
    pub fn reports(&mut self, left_out: Option<usize>) {
        let is_cut = left_out != Some(0);
        if !is_cut || std::mem::replace(&mut self.cut_logged, is_cut) {
            self.cut_logged = is_cut;
            return;
        }
        match left_out {
            Some(left_out) => tracing::info!(
                server = self.server,
                left_out,
                "the status that is reported to the server does not name all environments: it would be longer than \
                 servers accept. Data is not affected"
            ),
            None => tracing::warn!(
                server = self.server,
                "no status is reported to the server: the AgentId is longer than servers accept. Choose a shorter one"
            ),
        }
    }

    /// The registration failed, but the agent can follow the server without it. `follows`: a connection is open.
    pub fn not_registered(&mut self, ingest: &Ingest, failure: &ConnectError, follows: bool, now_ms: i64) {
        if !follows && is_before_the_server(failure.reason) {
            // The dial fails for the same reason, and that is logged.
            return;
        }
        let Some(others) = self.record(("register", follows, &failure.text), now_ms, &failure.text) else {
            return;
        };
        let (all_the_same, served) = match follows {
            true => ("It follows the server all the same; it", effect_on_sdks(ingest)),
            false => ("Following the server does not require it. The agent", ""),
        };
        tracing::warn!(
            others_like_it = others,
            "the agent could not be registered: {failure}. {all_the_same} tries to register again{served}"
        );
    }

    /// No connection could be opened.
    pub fn not_connected(&mut self, ingest: &Ingest, failure: &ConnectError, now_ms: i64) {
        let Some(others) = self.record(("connect", &failure.text), now_ms, &failure.text) else { return };
        match failure.kind {
            _ if failure.reason == DialFault::Ring => {
                tracing::error!(
                    others_like_it = others,
                    "a ring of agents: {failure}. It is not followed{}",
                    effect_on_sdks(ingest)
                )
            }
            FailureKind::Refused if failure.reason == DialFault::Gateway => tracing::error!(
                others_like_it = others,
                "the agent is not let through to the server: {failure}. It keeps trying until that is corrected{}",
                effect_on_sdks(ingest)
            ),
            FailureKind::Refused => tracing::error!(
                others_like_it = others,
                "the server refuses the agent: {failure}. The agent keeps trying until that is corrected{}",
                effect_on_sdks(ingest)
            ),
            FailureKind::Failed => tracing::warn!(
                others_like_it = others,
                "the server cannot be reached: {failure}. The agent keeps trying{}",
                effect_on_sdks(ingest)
            ),
        }
    }

    /// The server turns out to be an agent that follows this one.
    pub fn ring(&mut self, now_ms: i64) {
        if let Some(others) = self.record("ring", now_ms, FOLLOWS_ITSELF) {
            tracing::error!(
                server = self.server,
                others_like_it = others,
                "a ring of agents: {FOLLOWS_ITSELF}"
            );
        }
    }

    /// The server is an agent that is not connected to its own server.
    pub fn upstream_not_connected(&mut self, ingest: &Ingest, state: SyncState, now_ms: i64) {
        let text = format!(
            "the upstream agent, or one upstream of it, is not connected to what it follows (it reports {})",
            state.as_str()
        );
        if let Some(others) = self.record(("upstream", state.as_str()), now_ms, &text) {
            tracing::warn!(
                server = self.server,
                others_like_it = others,
                "{text}: no changes arrive until it is. Check that agent{}",
                effect_on_sdks(ingest)
            );
        }
    }

    /// The agent has dropped a connection.
    pub fn dropped(&mut self, ingest: &Ingest, text: &str, now_ms: i64) {
        if let Some(others) = self.record(text, now_ms, text) {
            tracing::warn!(
                server = self.server,
                others_like_it = others,
                "the connection was dropped: {text}. The agent opens another one{}",
                effect_on_sdks(ingest)
            );
        }
    }

    /// A connection has ended.
    pub fn ended(&mut self, ingest: &Ingest, ended: &ConnectionEnd, bytes_max: u64, now_ms: i64) {
        let text = match ended {
            ConnectionEnd::Closed(code) => format!("the server closed the connection with code {code}"),
            ConnectionEnd::TooLarge(bytes) => format!(
                "a message of the server has {bytes} bytes, and Limits__BootstrapBytes allows {bytes_max}: raise it"
            ),
            ConnectionEnd::Broken(text) => format!("the connection ended: {text}"),
        };
        let Some(others) = self.record(ended, now_ms, &text) else { return };
        match ended {
            ConnectionEnd::Closed(CloseCode::REFUSED) => tracing::error!(
                server = self.server,
                others_like_it = others,
                "the server refuses the agent: it closed the connection with code 4003. Either it does not know the \
                 ApiKey, or the relay proxy has no environment with a server secret. The agent keeps trying until that \
                 is corrected{}",
                effect_on_sdks(ingest)
            ),
            ConnectionEnd::TooLarge(_) => {
                tracing::error!(server = self.server, others_like_it = others, "{text}");
            }
            _ => {
                tracing::warn!(
                    server = self.server,
                    others_like_it = others,
                    "{text}; the agent opens another one{}",
                    effect_on_sdks(ingest)
                )
            }
        }
    }

    /// A message was rejected, for these errors.
    pub fn rejected(&mut self, errors: &str, now_ms: i64) {
        let text = format!("a message of the server was rejected: {errors}");
        if let Some(others) = self.record(errors, now_ms, &text) {
            tracing::error!(
                server = self.server,
                others_like_it = others,
                "{text}. The data in service stays, and the agent requests a full sync"
            );
        }
    }

    /// A message of an unknown kind, which is the value of this field. Logged once for each kind.
    pub fn unknown(&mut self, field: &str, kind: &str) {
        if self.unknown.len() == UNKNOWN_MAX || !self.unknown.insert((field.to_owned(), quoted(kind))) {
            return;
        }
        tracing::warn!(
            server = self.server,
            "the server sends a message that this agent does not know ({field} {}): it is ignored, and the agent requests a \
             full sync instead. Look for a newer version of the agent. This is logged once for each kind",
            quoted(kind)
        );
    }

    /// A full sync of one environment came, but does not show of which one.
    pub fn environment_unclear(&mut self, environments: usize, now_ms: i64) {
        let now_ms = u64::try_from(now_ms).unwrap_or(0);
        let Some(others) = self.limits.allow(("vague", environments == 0), now_ms) else { return };
        if environments == 0 {
            tracing::info!(
                server = self.server,
                others_like_it = others,
                "the server sent the whole of one environment without a request, but without a flag or segment that names \
                 it: the agent requests a full sync"
            );
        } else {
            tracing::warn!(
                server = self.server,
                others_like_it = others,
                environments,
                "the server sent the whole of one environment without a request, but its flags and segments name several: \
                 the agent requests a full sync instead"
            );
        }
    }

    /// Parts of a message cannot be parsed.
    pub fn left_out(&mut self, left_out: &LeftOut<'_>, now_ms: i64) {
        let count = left_out.count();
        let faults = left_out.to_string();
        let text = format!(
            "{count} flags, segments or secrets of the server cannot be read and were left out: {faults}"
        );
        if let Some(others) = self.record(&faults, now_ms, &text) {
            tracing::error!(
                server = self.server,
                others_like_it = others,
                "{text}. Their earlier state stays in service; the rest of the message is used"
            );
        }
    }

    /// A full sync was rejected since it lacks all secrets, or all flags and segments.
    pub fn empty(&mut self, ingest: &Ingest, lack: Lack, now_ms: i64) {
        let text = match lack {
            Lack::Secrets => {
                "the server sent an rp_full without any secret of the environments, so that no SDK could be served"
            }
            Lack::Items => {
                "the server sent an rp_full without any flag or segment, while there are some in service"
            }
        };
        let remedy = match (lack, ingest.snapshot().loaded()) {
            (Lack::Items, _) => ". If they were removed on purpose, restart the agent",
            (Lack::Secrets, true) => ". If no SDK is to be served any more, stop the agent",
            (Lack::Secrets, false) => {
                ". Check that the server has loaded its data, and that the scope of the relay proxy (or of the key, if the \
                 server is an agent) has an environment"
            }
        };
        if let Some(others) = self.record(("empty", lack, remedy), now_ms, text) {
            tracing::error!(
                server = self.server,
                others_like_it = others,
                "{text}: it was rejected, and the agent requests it again{}{remedy}",
                effect_on_sdks(ingest)
            );
        }
    }

    /// Stores an error for the status. Returns how many like it were suppressed if it has to be logged now, otherwise `None`.
    fn record(&mut self, key: impl Hash, now_ms: i64, text: &str) -> Option<Others> {
        self.error = Some((now_ms, text.to_owned()));
        self.limits.allow(key, u64::try_from(now_ms).unwrap_or(0))
    }
}

/// Whether an attempt failed before the server was reached.
fn is_before_the_server(reason: DialFault) -> bool {
    match reason {
        DialFault::Resolve
        | DialFault::Connect
        | DialFault::Proxy
        | DialFault::Tls
        | DialFault::Abandoned => true,
        DialFault::Register
        | DialFault::Handshake
        | DialFault::Refused
        | DialFault::Gateway
        | DialFault::Ring => false,
    }
}

/// What a problem means for SDKs.
fn effect_on_sdks(ingest: &Ingest) -> &'static str {
    if ingest.snapshot().loaded() {
        "; SDKs still get the data in service"
    } else {
        "; SDKs wait, and have to retry, until there is data"
    }
}
