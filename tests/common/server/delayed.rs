//! Answers that the stand-in keeps back until the test releases them: a slow server, or one whose pushes are sent before
//! an older answer.

use std::sync::Arc;

use serde_json::Value;

use super::relay::Relay;

/// Which data a delayed answer has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delay {
    /// That of the request: the answer lacks what changes while it waits.
    AsRequested,
    /// That of the release.
    AsReleased,
}

/// A request whose answer waits.
#[derive(Debug)]
pub struct Delayed {
    /// The connection that asked.
    pub relay: Arc<Relay>,
    /// Its request.
    pub request: Value,
    /// The answer, if it was made at the time of the request.
    pub answer: Option<String>,
}
