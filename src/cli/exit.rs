//! Exit codes, as `sysexits.h` numbers them.
//!
//! Must not be chosen anywhere else in `cli`.

/// Done.
pub const OK: u8 = 0;
/// `health`: the agent is not ready, or did not answer.
pub const UNHEALTHY: u8 = 1;
/// The command line is not understood (EX_USAGE).
pub const USAGE: u8 = 64;
/// `check`: the data file is no usable dump (EX_DATAERR).
pub const DATA: u8 = 65;
/// The settings cannot be used (EX_CONFIG).
pub const SETTINGS: u8 = 78;
