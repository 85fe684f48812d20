//! Payloads of an environment that are built on first use, and shared by all connections.
//!
//! Must not outlive the items that it was built from: every change to an environment starts an empty cache.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::flags_by_key::FlagsByKey;
use super::patch_form::PatchForm;
use crate::payload::Payload;

/// Payloads that are built on first use. Cloned with an environment whose items stay the same, else empty.
#[derive(Clone, Default)]
pub(super) struct Cache {
    pub full_frame: OnceLock<Payload>,
    pub full_body: OnceLock<Payload>,
    pub full_gzip: OnceLock<Payload>,
    pub flags_by_key: OnceLock<Arc<FlagsByKey>>,
    /// The last patch that answered a `data-sync`: after a pause, many SDKs ask with the same timestamp.
    pub patch: Arc<ArcSwapOption<SyncPatch>>,
}

/// An answer to a `data-sync` by timestamp.
pub(super) struct SyncPatch {
    pub timestamp_ms: i64,
    pub form: PatchForm,
    pub frames: Arc<[u8]>,
}
