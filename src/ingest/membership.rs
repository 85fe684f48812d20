//! What this agent has to remember as a member of a cluster.
//!
//! Must not decide anything: `cluster`, `dataset` and `upstream` do.

use crate::store::ChangedSinceRequest;

/// What this agent has to remember as a member of a cluster.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// Whether it belongs to a cluster.
    pub is_member: bool,
    /// What other agents have changed since a full sync was requested.
    pub changed_since_request: ChangedSinceRequest,
    /// The digest of the data file that was loaded at the start, while it is not known whether the cluster has loaded it
    /// before.
    pub pending_data_file: Option<Box<str>>,
    /// Whether the list of environments and secrets in service came from a source that certainly lists everything. Other
    /// agents may then take what it lacks for removed.
    pub list_is_complete: bool,
    /// Whether a full sync from the server is needed, since data of other agents was taken over.
    pub wants_full_sync: bool,
}
