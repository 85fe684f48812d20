//! The upstream status, and requests for a full sync: shared by the sync thread, which keeps them up to date, and the
//! reactors.
//!
//! Must not block: everything is read and written without a lock, so that no reactor waits.
//!
//! Secrets come only with full syncs, never with patches. So a secret that was created a minute ago is valid although it is
//! unknown. Full syncs are therefore numbered in the order of their requests. If an SDK first sends a secret when `n` full
//! syncs have been requested, the secret is certainly invalid if the answer to a later full sync lacks it
//! ([`Snapshot::answered`](crate::store::Snapshot::answered)).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::protocol::status::SyncState;

/// Why a full sync is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ResyncReason {
    /// An SDK sent a secret that the data lacks. Anybody can cause these requests, so they are rate-limited.
    UnknownSecret = 1,
    /// An operator or a signal requested it: to be done at once.
    Operator = 2,
}

/// The upstream status, for operators and health checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// The state, by FeatBit's names; `SyncState::None` outside agent mode.
    pub state: SyncState,
    /// The server's address, without credentials and query.
    pub upstream: Option<String>,
    /// When the present connection was opened, in Unix milliseconds.
    pub connected_since_ms: Option<i64>,
    /// Failed attempts to connect since the last successful one.
    pub failed_attempts: u64,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// The last error, and when it happened (Unix milliseconds). Never contains credentials.
    pub last_error: Option<(i64, String)>,
    /// When the data was last brought up to date, in Unix milliseconds.
    pub last_synced_ms: Option<i64>,
}

/// The upstream status and the requests for a full sync.
#[derive(Debug, Default)]
pub struct Following {
    requested: AtomicU64,
    reasons: AtomicU8,
    status: ArcSwap<UpstreamStatus>,
}

impl Following {
    /// No full sync requested, and no upstream.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Numbers a full sync. The sync thread must call this before it sends the request, so that a secret that is first seen
    /// after this waits for a later full sync.
    pub fn begin_full(&self) -> u64 {
        self.requested.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How many full syncs have been requested.
    pub fn requested_full_syncs(&self) -> u64 {
        self.requested.load(Ordering::SeqCst)
    }

    /// Requests a full sync. True if no request for this reason was pending, so that the sync thread has to be woken.
    pub(super) fn request_resync(&self, reason: ResyncReason) -> bool {
        self.reasons.fetch_or(reason as u8, Ordering::SeqCst) & reason as u8 == 0
    }

    /// Removes a reason. Returns whether it was set. To be called before the full sync for it begins.
    pub fn take_resync_reason(&self, reason: ResyncReason) -> bool {
        self.reasons.fetch_and(!(reason as u8), Ordering::SeqCst) & reason as u8 != 0
    }

    /// The upstream status, for operators and health checks.
    pub fn status(&self) -> Arc<UpstreamStatus> {
        self.status.load_full()
    }

    /// The upstream state, by FeatBit's names.
    pub fn state(&self) -> SyncState {
        self.status.load().state
    }

    /// Changes the status. For the sync thread only.
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
    fn a_secret_first_seen_while_a_full_sync_is_under_way_waits_for_the_next() {
        let following = Following::new();
        let before = following.requested_full_syncs();
        let first = following.begin_full();
        let meanwhile = following.requested_full_syncs();
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
        // The other reason stays until it is taken itself.
        assert!(!following.request_resync(ResyncReason::UnknownSecret));
        assert!(
            following.take_resync_reason(ResyncReason::UnknownSecret)
                && !following.take_resync_reason(ResyncReason::UnknownSecret)
        );
        assert!(following.request_resync(ResyncReason::UnknownSecret));
    }
}
