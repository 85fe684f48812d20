//! Answers that wait until the test lets them go: a server that takes its time, or one whose answer is overtaken by what
//! is pushed meanwhile.

use std::sync::Arc;

use serde_json::Value;

use super::relay::Relay;

/// When a held answer is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holding {
    /// When it is asked for: it lacks what changes while it waits.
    Old,
    /// When it is let go.
    New,
}

/// A request whose answer waits.
#[derive(Debug)]
pub struct Held {
    /// Who asked.
    pub relay: Arc<Relay>,
    /// For what.
    pub request: Value,
    /// The answer, if it was made when it was asked for.
    pub answer: Option<String>,
}
