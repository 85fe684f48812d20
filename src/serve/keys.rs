//! The keys of operators and downstream agents, which can be replaced while the agent runs.
//!
//! Must not read a file. A connection that came in by a key that is gone is closed by [`relay`](super::relay).

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::config::Secret;
use crate::fanout::mailbox::{Mail, Mailbox};
use crate::store::Scope;

/// All keys, as they are now.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// The key of the management calls; without it they are refused.
    pub api_key: Option<Secret>,
    /// The keys of agents that may follow this one.
    pub relays: Vec<RelayAccess>,
}

/// The key of a downstream agent, and the environments that it opens.
#[derive(Clone, Debug)]
pub struct RelayAccess {
    /// The key.
    pub key: Secret,
    /// The environments.
    pub scope: Arc<Scope>,
}

impl Keys {
    /// What this key of a downstream agent opens, if it is one. Every key is compared, so that the time taken does not
    /// say which one matched.
    pub(crate) fn relay(&self, shown: &str) -> Option<&RelayAccess> {
        let matches = |access: &RelayAccess| access.key.matches(shown.as_bytes());
        self.relays.iter().fold(None, |found, access| if matches(access) { Some(access) } else { found })
    }
}

/// The keys in use. Clones share them.
#[derive(Clone, Debug)]
pub struct KeySwap {
    current: Arc<ArcSwap<Keys>>,
}

impl KeySwap {
    pub(crate) fn new(keys: Keys) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(keys)) }
    }

    /// Replaces the keys. Every reactor then checks the connections of its downstream agents by them.
    pub fn put(&self, keys: Keys, reactors: &[Mailbox]) {
        self.current.store(Arc::new(keys));
        for reactor in reactors {
            reactor.post(Mail::Keys);
        }
    }

    /// The keys as they are now.
    pub(crate) fn load_full(&self) -> Arc<Keys> {
        self.current.load_full()
    }

    /// The same for a moment: not to be kept.
    pub(crate) fn load(&self) -> Guard<Arc<Keys>> {
        self.current.load()
    }
}
