//! The secret of a request, once it was judged.

use crate::protocol::secret::Secret;
use crate::serve::verdict::Wanted;
use crate::store::EnvironmentSlot;

/// A secret that was judged, and not refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub secret: Secret,
    pub wanted: Wanted,
    /// The environment that it opens; `None` if that is not known yet.
    pub slot: Option<EnvironmentSlot>,
    /// The publish by which it was judged.
    pub sequence: u64,
}
