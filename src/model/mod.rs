//! FeatBit's data as it is received: flags, segments, secrets and the dataset that contains them.
//!
//! Must not evaluate, encode or keep anything: no clock, no socket, no thread, no global. The definitions borrow from the
//! text they were parsed from; `eval` and `store` keep what they compile from them.

pub mod ahead;
pub mod dataset;
pub mod environment_id;
pub mod flag;
pub mod parse;
pub mod secret;
pub mod segment;
pub mod stamp;
pub mod timestamp;
pub mod user;
