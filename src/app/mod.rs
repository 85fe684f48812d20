//! (room: app)

pub mod limits;

use std::fmt;

use crate::config::Settings;

/// Why the agent could not start.
#[derive(Debug)]
pub struct StartError {
    message: String,
    exit_code: u8,
}

impl StartError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(_settings: Settings) -> Result<(), StartError> {
    Err(StartError { message: "the server is not part of this build".into(), exit_code: 70 })
}
