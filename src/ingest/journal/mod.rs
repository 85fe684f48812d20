//! The backup file's contents: changes as records, and a state from records.
//!
//! Must not open, write or sync a file: `persist` does.
//!
//! | Where | What |
//! |---|---|
//! | `records` | the records of a change, and how they are encoded |
//! | `read` | a state from the records of a file |
//! | `keeper` | gives every change to the thread that writes the file |

mod keeper;
mod read;
mod records;
#[cfg(test)]
mod tests;

pub use keeper::{JournalKeeper, WantsWhole, fingerprint};
pub use read::{ReadError, Recovery};
pub use records::write;
