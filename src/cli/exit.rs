//! Exit codes, as `sysexits.h` numbers them.
//!
//! Must not be chosen anywhere else in `cli`.

/// Done.
pub const OK: u8 = 0;
/// `health`: the agent is not ready, or did not answer.
pub const UNHEALTHY: u8 = 1;
/// The command line is not understood (EX_USAGE).
pub const USAGE: u8 = 64;
/// `check`: the data file is no usable dump; `pull`: the server's data is none (EX_DATAERR).
pub const DATA: u8 = 65;
/// `pull`: the server cannot be reached, or did not answer (EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// The system refuses what every start needs: threads, addresses, signals (EX_OSERR).
pub const SYSTEM: u8 = 71;
/// `pull`: the dump cannot be written (EX_CANTCREAT).
pub const CANNOT_WRITE: u8 = 73;
/// Standard output cannot be written, and what was asked for is lost (EX_IOERR).
pub const OUTPUT: u8 = 74;
/// `pull`: the server refuses the key (EX_NOPERM).
pub const REFUSED: u8 = 77;
/// The settings cannot be used (EX_CONFIG).
pub const SETTINGS: u8 = 78;
