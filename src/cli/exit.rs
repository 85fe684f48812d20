//! Exit codes, as `sysexits.h` numbers them.
//!
//! Must be the only place in `cli` that defines them.

/// Success.
pub const OK: u8 = 0;
/// `health`: the agent is not ready, or did not answer.
pub const UNHEALTHY: u8 = 1;
/// The command line is wrong (EX_USAGE).
pub const USAGE: u8 = 64;
/// `check`: the data file cannot be served; `pull`: the server's data cannot be used; `backup`: the file is damaged
/// or no backup file; `events stats`: a file cannot be read to its end;
/// `events preview`: the file is not JSON (EX_DATAERR).
pub const DATA: u8 = 65;
/// `backup`, `events preview`: the file cannot be read; `events stats`: there are no files, or none of that environment (EX_NOINPUT).
pub const NO_INPUT: u8 = 66;
/// `pull`: the server cannot be reached, or did not answer (EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// The system refuses a thread, an address or a signal handler (EX_OSERR).
pub const SYSTEM: u8 = 71;
/// `pull`, `backup export`: the dump cannot be written (EX_CANTCREAT).
pub const CANNOT_WRITE: u8 = 73;
/// Standard output cannot be written, so the output is lost (EX_IOERR).
pub const OUTPUT: u8 = 74;
/// `pull`: the server refuses the key (EX_NOPERM).
pub const REFUSED: u8 = 77;
/// The settings cannot be used (EX_CONFIG).
pub const SETTINGS: u8 = 78;
