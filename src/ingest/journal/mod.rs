//! The backup file's contents: changes as records, and a state from records.
//!
//! Must not open, write or sync a file: `persist` does.
//!
//! | Where | What |
//! |---|---|
//! | `records` | the records of a change, and how they are encoded |
//! | `read` | a state from the records of a file |
//! | `sink` | gives every change to the thread that writes the file |

mod read;
mod records;
mod sink;
#[cfg(test)]
mod tests;

pub use read::{ReadError, Recovery};
pub use records::write;
pub use sink::{JournalSink, WantsFullState, fingerprint};
