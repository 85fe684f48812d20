//! What is logged of the server, and how often: each problem when it comes up, then every ten minutes.
//!
//! Must not show a key, nor a byte of a message.

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
use super::reply::shown;

/// What is wrong with a ring of agents.
pub(super) const FOLLOWS_ITSELF: &str = "it follows this agent, directly or over others, so this agent would follow itself; set StreamingUri to another one";

/// Between two log lines about the same problem, in milliseconds.
const AGAIN_MS: u64 = 600_000;

/// Kinds of unknown messages that are logged; further ones are counted only.
const UNKNOWN_MAX: usize = 32;

/// Logs about one server.
pub(super) struct UpstreamLog {
    server: String,
    limits: RateLimits,
    /// The last error with its time, until it is published.
    error: Option<(i64, String)>,
    connected_before: bool,
    /// It was logged that a status report is cut short.
    cut_logged: bool,
    /// Kinds of unknown messages that were logged.
    unknown: HashSet<(String, String)>,
}

impl UpstreamLog {
    /// About the server at this address.
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

    /// The last error since this was last asked, with its time.
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

    /// The full sync that somebody asked for is in service, and changed something in so many environments.
    pub fn resynced(&self, environments: usize) {
        let outcome = if environments == 0 { "nothing in it is new" } else { "it is in service" };
        tracing::info!(
            server = self.server,
            environments_changed = environments,
            "the full sync that was asked for has come: {outcome}"
        );
    }

    /// FeatBit's word for the state of the synchronization has changed.
    pub fn state_changed(&self, state: SyncState) {
        tracing::info!(server = self.server, "the state of the synchronization is now {}", state.as_str());
    }

    /// A status report is sent that leaves out so many names of environments, or none is, as it would be too long: said
    /// once, until one is whole again.
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
                 servers take. Data is not affected"
            ),
            None => tracing::warn!(
                server = self.server,
                "no status is reported to the server: the AgentId is longer than servers take. Choose a shorter one"
            ),
        }
    }

    /// The registration failed, but the agent can follow the server without it. `follows`: a connection is open.
    pub fn not_registered(&mut self, ingest: &Ingest, failure: &ConnectError, follows: bool, now_ms: i64) {
        if !follows && is_before_the_server(failure.reason) {
            // The dial goes the same way, and its own failure is logged.
            return;
        }
        let Some(others) = self.note(("register", follows, &failure.text), now_ms, &failure.text) else {
            return;
        };
        let (all_the_same, served) = match follows {
            true => ("It follows the server all the same; it", served(ingest)),
            false => ("The server can be followed without that. It", ""),
        };
        tracing::warn!(
            others_like_it = others,
            "the agent could not be registered: {failure}. {all_the_same} tries to register again{served}"
        );
    }

    /// No connection could be opened.
    pub fn not_connected(&mut self, ingest: &Ingest, failure: &ConnectError, now_ms: i64) {
        let Some(others) = self.note(("connect", &failure.text), now_ms, &failure.text) else { return };
        match failure.kind {
            _ if failure.reason == DialFault::Ring => {
                tracing::error!(others_like_it = others, "a ring: {failure}. It stays off{}", served(ingest))
            }
            FailureKind::Refused if failure.reason == DialFault::Gateway => tracing::error!(
                others_like_it = others,
                "the agent is not let through to the server: {failure}. It goes on asking until that is mended{}",
                served(ingest)
            ),
            FailureKind::Refused => tracing::error!(
                others_like_it = others,
                "the server refuses the agent: {failure}. The agent goes on asking until that is mended{}",
                served(ingest)
            ),
            FailureKind::Failed => tracing::warn!(
                others_like_it = others,
                "the server cannot be reached: {failure}. The agent goes on trying{}",
                served(ingest)
            ),
        }
    }

    /// The server turns out to be an agent that follows this one.
    pub fn ring(&mut self, now_ms: i64) {
        if let Some(others) = self.note("ring", now_ms, FOLLOWS_ITSELF) {
            tracing::error!(server = self.server, others_like_it = others, "a ring: {FOLLOWS_ITSELF}");
        }
    }

    /// The server is an agent that is not connected to its own server.
    pub fn upstream_not_connected(&mut self, ingest: &Ingest, state: SyncState, now_ms: i64) {
        let text = format!(
            "the agent above, or one further up, is not in touch with what it follows (it says {})",
            state.as_str()
        );
        if let Some(others) = self.note(("above", state.as_str()), now_ms, &text) {
            tracing::warn!(
                server = self.server,
                others_like_it = others,
                "{text}: changes do not come until it is. Look at that one{}",
                served(ingest)
            );
        }
    }

    /// A connection was given up.
    pub fn lost(&mut self, ingest: &Ingest, text: &str, now_ms: i64) {
        if let Some(others) = self.note(text, now_ms, text) {
            tracing::warn!(
                server = self.server,
                others_like_it = others,
                "the connection was given up: {text}. Another one is opened{}",
                served(ingest)
            );
        }
    }

    /// A connection ended.
    pub fn ended(&mut self, ingest: &Ingest, ended: &ConnectionEnd, bytes_max: u64, now_ms: i64) {
        let text = match ended {
            ConnectionEnd::Closed(code) => format!("the server closed the connection with code {code}"),
            ConnectionEnd::TooLarge(bytes) => format!(
                "a message of the server has {bytes} bytes, and Limits__BootstrapBytes allows {bytes_max}: raise it"
            ),
            ConnectionEnd::Broken(text) => format!("the connection ended: {text}"),
        };
        let Some(others) = self.note(ended, now_ms, &text) else { return };
        match ended {
            ConnectionEnd::Closed(CloseCode::REFUSED) => tracing::error!(
                server = self.server,
                others_like_it = others,
                "the server refuses the agent: it closed the connection with code 4003. Either it does not know the \
                 ApiKey, or the relay proxy has no environment with a server secret. The agent goes on asking until that \
                 is mended{}",
                served(ingest)
            ),
            ConnectionEnd::TooLarge(_) => {
                tracing::error!(server = self.server, others_like_it = others, "{text}");
            }
            _ => {
                tracing::warn!(
                    server = self.server,
                    others_like_it = others,
                    "{text}; another one is opened{}",
                    served(ingest)
                )
            }
        }
    }

    /// A message cannot be used.
    pub fn faulty(&mut self, faults: &str, now_ms: i64) {
        let text = format!("a message of the server was refused: {faults}");
        if let Some(others) = self.note(faults, now_ms, &text) {
            tracing::error!(
                server = self.server,
                others_like_it = others,
                "{text}. The data in service stays; everything is asked for again"
            );
        }
    }

    /// A message of an unknown kind, by what this field of it says: logged once of each kind.
    pub fn unknown(&mut self, field: &str, kind: &str) {
        if self.unknown.len() == UNKNOWN_MAX || !self.unknown.insert((field.to_owned(), shown(kind))) {
            return;
        }
        tracing::warn!(
            server = self.server,
            "the server sends a message that this agent does not know ({field} {}): it is passed over, and everything is \
             asked for instead. Look for a newer version of the agent. This is said once of each kind",
            shown(kind)
        );
    }

    /// All of an environment came, but nobody can tell of which one.
    pub fn environment_unclear(&mut self, environments: usize, now_ms: i64) {
        let now_ms = u64::try_from(now_ms).unwrap_or(0);
        let Some(others) = self.limits.allow(("vague", environments == 0), now_ms) else { return };
        if environments == 0 {
            tracing::info!(
                server = self.server,
                others_like_it = others,
                "the server sent the whole of an environment unasked, and nothing is in it that names one: everything is \
                 asked for"
            );
        } else {
            tracing::warn!(
                server = self.server,
                others_like_it = others,
                environments,
                "the server sent the whole of one environment unasked, but its flags and segments name several: everything \
                 is asked for instead"
            );
        }
    }

    /// Something of a message cannot be read.
    pub fn left_out(&mut self, left_out: &LeftOut<'_>, now_ms: i64) {
        let count = left_out.count();
        let faults = left_out.to_string();
        let text = format!(
            "{count} flags, segments or secrets of the server cannot be read and were left out: {faults}"
        );
        if let Some(others) = self.note(&faults, now_ms, &text) {
            tracing::error!(
                server = self.server,
                others_like_it = others,
                "{text}. Their earlier state stays in service, and everything else of the message counts"
            );
        }
    }

    /// A full sync came that lacks what it should have.
    pub fn empty(&mut self, ingest: &Ingest, lack: Lack, now_ms: i64) {
        let text = match lack {
            Lack::Secrets => {
                "the server sent an rp_full without any secret of the environments, by which no SDK could be let in"
            }
            Lack::Items => {
                "the server sent an rp_full without any flag or segment, while there are some in service"
            }
        };
        let mend = match (lack, ingest.snapshot().loaded()) {
            (Lack::Items, _) => ". If they are gone on purpose, start the agent again",
            (Lack::Secrets, true) => ". If no SDK is to be served any more, stop the agent",
            (Lack::Secrets, false) => {
                ". Look whether the server has read its data, and whether the scope of the relay proxy (or of the key, if \
                 the server is an agent) has an environment"
            }
        };
        if let Some(others) = self.note(("empty", lack, mend), now_ms, text) {
            tracing::error!(
                server = self.server,
                others_like_it = others,
                "{text}: it was not taken in, and is asked for again{}{mend}",
                served(ingest)
            );
        }
    }

    /// Notes an error; says how many like it were kept back, if it is to be logged.
    fn note(&mut self, key: impl Hash, now_ms: i64, text: &str) -> Option<Others> {
        self.error = Some((now_ms, text.to_owned()));
        self.limits.allow(key, u64::try_from(now_ms).unwrap_or(0))
    }
}

/// Whether the server was not even reached.
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

/// What that means for SDKs.
fn served(ingest: &Ingest) -> &'static str {
    if ingest.snapshot().loaded() {
        "; SDKs are served the data that is there"
    } else {
        "; SDKs wait, and are asked to come back, until there is data"
    }
}
