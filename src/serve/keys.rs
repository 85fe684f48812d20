//! The keys of operators and downstream agents, which can be replaced while the agent runs.
//!
//! Must not read a file. When a key is removed, [`relay`](super::relay) closes the connections that used it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::config::Secret;
use crate::fanout::mailbox::{Mail, Mailbox};
use crate::store::Scope;

/// All keys at one moment.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// The key for management calls. If there is none, all of them are refused.
    pub api_key: Option<Secret>,
    /// The keys of the agents that may follow this one.
    pub relays: Vec<RelayAccess>,
}

/// A downstream agent's key, and the environments to which it gives access.
#[derive(Clone, Debug)]
pub struct RelayAccess {
    /// The key.
    pub key: Secret,
    /// The environments.
    pub scope: Arc<Scope>,
}

impl Keys {
    /// The access that a key gives a downstream agent; `None` if the key is not valid. Compares every key, so that the time
    /// taken does not reveal which one matched.
    pub(crate) fn relay(&self, key: &str) -> Option<&RelayAccess> {
        let matches = |access: &RelayAccess| access.key.matches(key.as_bytes());
        self.relays.iter().fold(None, |found, access| if matches(access) { Some(access) } else { found })
    }
}

/// The keys in use, which can be replaced. Clones share them.
#[derive(Clone, Debug)]
pub struct KeySwap {
    current: Arc<ArcSwap<Keys>>,
}

impl KeySwap {
    pub(crate) fn new(keys: Keys) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(keys)) }
    }

    /// Replaces the keys. Every reactor then checks its downstream agents' connections against them.
    pub fn put(&self, keys: Keys, reactors: &[Mailbox]) {
        self.current.store(Arc::new(keys));
        for reactor in reactors {
            reactor.post(Mail::Keys);
        }
    }

    /// The current keys, to keep.
    pub(crate) fn load_full(&self) -> Arc<Keys> {
        self.current.load_full()
    }

    /// The current keys, cheaper, for immediate use only: a guard must not be kept.
    pub(crate) fn load(&self) -> Guard<Arc<Keys>> {
        self.current.load()
    }
}
