//! The state of the server that is followed, and requests for a full sync: shared by the sync thread, which keeps it up to
//! date, and the reactors.
//!
//! Must not talk to anybody, and no reactor waits for it: all of it is read and written without a lock.
//!
//! Secrets come only by full syncs, never by patches, so one that was made a minute ago is unknown and right. Full
//! syncs are therefore numbered in the order in which they are asked for. A secret that is first shown while `n` have been
//! asked for is certainly unknown once a full sync of a number above `n` has been answered, which a snapshot tells
//! ([`Snapshot::answered`](crate::store::Snapshot::answered)).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::protocol::status::SyncState;

/// Why a full sync is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ResyncReason {
    /// A secret is shown that the data does not have. There may be any number of these, so they are served rarely.
    UnknownSecret = 1,
    /// An operator, or a signal, asks for it: to be served at once.
    Operator = 2,
}

/// The reasons that came together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResyncReasons(u8);

impl ResyncReasons {
    /// Whether this one is among them.
    pub fn has(self, reason: ResyncReason) -> bool {
        self.0 & reason as u8 != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The state of the server that is followed, as operators and health checks see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// FeatBit's name for it; `None` if no server is followed.
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

/// What the sync thread and the reactors share.
#[derive(Debug, Default)]
pub struct Following {
    asked: AtomicU64,
    reasons: AtomicU8,
    status: ArcSwap<UpstreamStatus>,
}

impl Following {
    /// No full sync was asked for, and no server is followed.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Numbers a full sync. To be called by the sync thread before the request is sent, so that a secret that is
    /// first shown from now on waits for a later one.
    pub fn begin_full(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How many full syncs have been asked for.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Asks for a full sync; true if nobody has for this reason, so that the sync thread has to be woken.
    pub(super) fn request_resync(&self, reason: ResyncReason) -> bool {
        self.reasons.fetch_or(reason as u8, Ordering::SeqCst) & reason as u8 == 0
    }

    /// Takes the reasons out. To be called before the full sync is begun that serves them.
    pub fn take_resync_reasons(&self) -> ResyncReasons {
        ResyncReasons(self.reasons.swap(0, Ordering::SeqCst))
    }

    /// The reasons, left where they are.
    pub fn resync_reasons(&self) -> ResyncReasons {
        ResyncReasons(self.reasons.load(Ordering::SeqCst))
    }

    /// Takes out one reason and leaves the other; says whether it was there.
    pub fn take_resync_reason(&self, reason: ResyncReason) -> bool {
        self.reasons.fetch_and(!(reason as u8), Ordering::SeqCst) & reason as u8 != 0
    }

    /// The state of the server that is followed, for operators and health checks.
    pub fn status(&self) -> Arc<UpstreamStatus> {
        self.status.load_full()
    }

    /// FeatBit's word for it.
    pub fn state(&self) -> SyncState {
        self.status.load().state
    }

    /// Changes the status; for the sync thread alone.
    pub fn update(&self, change: impl FnOnce(&mut UpstreamStatus)) {
        let mut status = UpstreamStatus::clone(&self.status.load());
        change(&mut status);
        self.status.store(Arc::new(status));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_first_shown_while_a_full_sync_is_under_way_waits_for_the_next() {
        let following = Following::new();
        let before = following.asked();
        let first = following.begin_full();
        let meanwhile = following.asked();
        assert!(first > before && first <= meanwhile);
        assert!(following.begin_full() > meanwhile);
    }

    #[test]
    fn a_reason_wakes_the_sync_thread_once_until_it_is_taken() {
        let following = Following::new();
        assert!(following.request_resync(ResyncReason::UnknownSecret));
        assert!(!following.request_resync(ResyncReason::UnknownSecret));
        assert!(following.request_resync(ResyncReason::Operator));
        assert!(
            following.take_resync_reason(ResyncReason::Operator)
                && !following.take_resync_reason(ResyncReason::Operator)
        );
        let reasons = following.take_resync_reasons();
        assert!(reasons.has(ResyncReason::UnknownSecret) && !reasons.has(ResyncReason::Operator));
        assert!(following.take_resync_reasons().is_empty());
        assert!(following.request_resync(ResyncReason::UnknownSecret));
    }
}
