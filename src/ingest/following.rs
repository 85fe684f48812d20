//! Where the agent stands with the server it follows, and what is wished of it: shared by the sync thread, which
//! writes it, and the reactors.
//!
//! Must not talk to anybody, and no reactor waits for it: all of it is read and written without a lock.
//!
//! Secrets come only by full syncs, never by patches, so one that was made a minute ago is unknown and right. Full
//! syncs are therefore numbered in the order in which they are asked for. A secret that is sighted while `n` have been
//! asked for is certainly unknown once a full sync of a number above `n` has been answered, which a snapshot tells
//! ([`Snapshot::answered`](crate::store::Snapshot::answered)).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::protocol::status::SyncState;

/// Why a full sync is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wish {
    /// A secret is shown that the data does not have. There may be any number of these, so they are served rarely.
    UnknownSecret = 1,
    /// An operator, or a signal, asks for it: to be served at once.
    Operator = 2,
}

/// The wishes that were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes(u8);

impl Wishes {
    /// Whether this one is among them.
    pub fn has(self, wish: Wish) -> bool {
        self.0 & wish as u8 != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Where the agent stands, as operators and health checks are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// FeatBit's word for it; `None` if it follows no server.
    pub state: SyncState,
    /// The server's address, without credentials and query.
    pub upstream: Option<String>,
    /// When the present connection was opened, in Unix milliseconds.
    pub connected_since_ms: Option<i64>,
    /// Attempts to connect that failed since the last one that did not.
    pub failed_attempts: u64,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// What went wrong last, and when (Unix milliseconds). Holds no credentials.
    pub last_error: Option<(i64, String)>,
    /// When the data was last brought up to date, in Unix milliseconds.
    pub last_synced_ms: Option<i64>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Following {
    asked: AtomicU64,
    wishes: AtomicU8,
    standing: ArcSwap<Standing>,
}

impl Following {
    /// Nothing asked, nothing wished, state `None`.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Numbers a full sync. To be called by the sync thread before the request is sent, so that whatever is sighted
    /// from now on waits for a later one.
    pub fn begin_full(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How many full syncs have been asked for: what a sighting remembers.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Notes a wish; true if it was not there already, and the sync thread has to be told.
    pub(super) fn wish(&self, wish: Wish) -> bool {
        self.wishes.fetch_or(wish as u8, Ordering::SeqCst) & wish as u8 == 0
    }

    /// Takes the wishes out. To be called before the full sync is begun that serves them.
    pub fn take_wishes(&self) -> Wishes {
        Wishes(self.wishes.swap(0, Ordering::SeqCst))
    }

    /// The wishes, left where they are.
    pub fn wishes(&self) -> Wishes {
        Wishes(self.wishes.load(Ordering::SeqCst))
    }

    /// Takes out one wish and leaves the other.
    pub fn take_wish(&self, wish: Wish) -> bool {
        self.wishes.fetch_and(!(wish as u8), Ordering::SeqCst) & wish as u8 != 0
    }

    /// Where the agent stands.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// FeatBit's word for it.
    pub fn state(&self) -> SyncState {
        self.standing.load().state
    }

    /// Changes where the agent stands; for the sync thread alone.
    pub fn update(&self, change: impl FnOnce(&mut Standing)) {
        let mut standing = Standing::clone(&self.standing.load());
        change(&mut standing);
        self.standing.store(Arc::new(standing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sighting_made_while_a_full_sync_is_under_way_waits_for_the_next() {
        let following = Following::new();
        let before = following.asked();
        let first = following.begin_full();
        let meanwhile = following.asked();
        assert!(first > before && first <= meanwhile);
        assert!(following.begin_full() > meanwhile);
    }

    #[test]
    fn a_wish_is_told_once_until_it_is_taken() {
        let following = Following::new();
        assert!(following.wish(Wish::UnknownSecret));
        assert!(!following.wish(Wish::UnknownSecret));
        assert!(following.wish(Wish::Operator));
        assert!(following.take_wish(Wish::Operator) && !following.take_wish(Wish::Operator));
        let wishes = following.take_wishes();
        assert!(wishes.has(Wish::UnknownSecret) && !wishes.has(Wish::Operator));
        assert!(following.take_wishes().is_empty());
        assert!(following.wish(Wish::UnknownSecret));
    }
}
