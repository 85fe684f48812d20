//! The thread that writes one log: groups of records that are durable together, compaction, and going on without a disk.
//!
//! Must not know what a record means, nor make a caller wait for the disk.
