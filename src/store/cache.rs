//! Payloads of an environment that are made when first asked for, and shared by all who ask.
//!
//! Must not outlive the items it was made of: whoever changes an environment begins a new one.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::outgoing_item::PatchForm;
use crate::payload::Payload;

/// Payloads made when first asked for. Cloned with an environment whose items stay, else begun anew.
#[derive(Clone, Default)]
pub(super) struct Cache {
    pub full_frame: OnceLock<Payload>,
    pub full_body: OnceLock<Payload>,
    pub full_gzip: OnceLock<Payload>,
    /// The last patch that answered a `data-sync`: after a pause, many SDKs ask with the same timestamp.
    pub patch: Arc<ArcSwapOption<SyncPatch>>,
}

/// An answer to a `data-sync` by timestamp.
pub(super) struct SyncPatch {
    pub timestamp_ms: i64,
    pub form: PatchForm,
    pub frames: Arc<[u8]>,
}
