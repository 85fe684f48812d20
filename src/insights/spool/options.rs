//! The bounds of a spool, and why one cannot be opened.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::persist::log::{Identity, LogKind, LogLimits};

/// Which logs the segments are. A spool belongs to no ApiKey: each event carries the secret it came with.
pub const IDENTITY: Identity =
    Identity { kind: LogKind::Spool, fingerprint: *b"usage events of any environment." };

/// The smallest bound of a spool: what is taken together must fit.
pub const BYTES_MIN: u64 = 16 << 20;
const SEGMENT_BYTES_MAX: u64 = 16 << 20;
/// A spool consists of about so many segments when it is full: what is dropped at once is one of them.
const SEGMENTS: u64 = 16;

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// The space of all files together, in bytes.
    pub bytes_max: u64,
    /// The age at which events are dropped, in milliseconds. They may get a sixteenth older: a segment is dropped as a whole.
    pub age_max_ms: i64,
    /// A segment that is larger is closed, and a new one begins.
    pub segment_bytes: u64,
}

impl SpoolOptions {
    /// Bounds with segments of a sixteenth of all, between 1 MiB and 16 MiB. `bytes_max` is at least [`BYTES_MIN`].
    pub fn new(bytes_max: u64, age_max_ms: i64) -> Self {
        let bytes_max = bytes_max.max(BYTES_MIN);
        let segment_bytes = (bytes_max / SEGMENTS).min(SEGMENT_BYTES_MAX);
        Self { bytes_max, age_max_ms, segment_bytes }
    }

    /// The longest time between the first and the last event of a segment.
    pub(super) fn segment_ms(&self) -> i64 {
        (self.age_max_ms / SEGMENTS.cast_signed()).max(1)
    }

    /// The space that a segment allocates in advance.
    pub(super) fn step_bytes(&self) -> u64 {
        self.segment_bytes / 8
    }

    pub(super) fn limits(&self) -> LogLimits {
        let step = self.step_bytes();
        LogLimits { step_bytes_min: step, step_bytes_max: step, ..LogLimits::default() }
    }
}

/// Why a spool cannot be opened. What is wrong with its files is no reason.
#[derive(Debug)]
pub enum SpoolError {
    /// Another process uses it.
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The file that the other process has locked.
        lock: PathBuf,
    },
    /// The folder cannot be created, read or written.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolError::Locked { folder, lock } => write!(
                f,
                "the folder of usage events {} is in use by another process, which has locked {}. Stop that agent, or \
                 give each agent a folder of its own",
                folder.display(),
                lock.display()
            ),
            SpoolError::Folder { folder, error } => write!(
                f,
                "the folder of usage events {} cannot be used ({error}). Let the agent's user create, read and write \
                 files there",
                folder.display()
            ),
        }
    }
}

impl std::error::Error for SpoolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_a_sixteenth_within_bounds() {
        for (bytes_max, expected) in [(0, 1 << 20), (64 << 20, 4 << 20), (1 << 30, 16 << 20)] {
            let options = SpoolOptions::new(bytes_max, 1000);
            assert_eq!(options.segment_bytes, expected);
            assert!(options.bytes_max >= BYTES_MIN);
        }
    }
}
