//! The keys of operators and of relays, which may be other ones while the agent runs.
//!
//! Must not read a file, nor decide how long a key goes on that was taken back.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::Secret;
use crate::fanout::mailbox::{Mail, Mailbox};
use crate::net::io::{Io, Socket};
use crate::net::service::Link;
use crate::store::Scope;

use crate::serve::metrics::Refusal;
use crate::serve::server::Server;
use crate::serve::session::{Session, State};

/// All of them, as they are now.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// The key of the management calls; without it they are refused.
    pub api_key: Option<Secret>,
    /// The keys of relays that may follow this agent.
    pub relays: Vec<RelayAccess>,
}

/// A relay's key, and what it opens.
#[derive(Clone, Debug)]
pub struct RelayAccess {
    /// The key.
    pub key: Secret,
    /// The environments.
    pub scope: Arc<Scope>,
}

impl Keys {
    /// What a relay opens that shows this. Every key is compared, so that the time taken does not tell which one it was.
    pub(super) fn relay(&self, shown: &str) -> Option<&RelayAccess> {
        let matches = |access: &RelayAccess| access.key.matches(shown.as_bytes());
        self.relays.iter().fold(None, |found, access| if matches(access) { Some(access) } else { found })
    }
}

/// Where new keys are put in service.
#[derive(Clone, Debug)]
pub struct KeySwap {
    pub(super) current: Arc<ArcSwap<Keys>>,
}

impl KeySwap {
    /// From now on these count, and every reactor looks which of its relays may stay.
    pub fn put(&self, keys: Keys, reactors: &[Mailbox]) {
        self.current.store(Arc::new(keys));
        for reactor in reactors {
            reactor.post(Mail::Keys);
        }
    }
}

impl Server {
    /// The keys are other ones: a relay whose key is none any more is closed, and one whose key opens something else gets
    /// that.
    pub(super) fn take_keys<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        let keys = self.shared.keys.current.load_full();
        for key in self.relays.clone() {
            io.visit(key, |link, session| self.judge_relay(link, session, &keys));
        }
    }

    fn judge_relay(&mut self, link: &mut Link<'_>, session: &mut Session, keys: &Keys) {
        let State::Relay(relay) = &mut session.state else { return };
        if link.is_closing() {
            return;
        }
        match keys.relay(relay.access.key.expose()) {
            None => {
                self.note_refused(Refusal::RelayKey, None);
                self.close_refused(link, session);
            }
            Some(access) if access.scope == relay.access.scope => {}
            Some(access) => {
                relay.access = access.clone();
                if relay.has_data() {
                    self.order_full(link, session);
                }
            }
        }
    }
}
