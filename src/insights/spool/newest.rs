//! The segment that is being written.
//!
//! Must not know what is in it: `write` does.

use crate::persist::log::SegmentWriter;

/// The newest segment.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) number: u64,
    pub(super) writer: SegmentWriter,
    /// Whether it has anything that its summary would tell.
    pub(super) has_events: bool,
}
