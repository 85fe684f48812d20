//! What the threads of the worker share, and how events get to the agent.
//!
//! Must not talk to Redis.

use std::time::Duration;

use crossbeam::channel::{SendTimeoutError, Sender};

use super::calls::Problem;
use super::event::Event;
use super::mailbox::Mailbox;
use super::scripts::{Keys, Scripts};
use super::status::SharedStatus;

/// How often a thread that waits for a slow reader of events looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How the worker works.
#[derive(Clone, Debug)]
pub struct Options {
    /// What all keys begin with; with a hash tag in it.
    pub key_prefix: String,
    /// The name of this agent. Another one for each process.
    pub instance: String,
    /// How often to look for changes that were not announced.
    pub poll: Duration,
    /// The longest pause after the first failure. It doubles with each.
    pub retry_first: Duration,
    /// The longest pause between two attempts.
    pub retry_last: Duration,
    /// How many commands may wait.
    pub commands_max: usize,
    /// How many bytes the waiting commands may have; one comparison of all data comes on top.
    pub bytes_max: usize,
    /// How many events may wait for the agent.
    pub events_max: usize,
}

impl Options {
    /// The usual ones, for a cluster and an agent.
    pub fn new(key_prefix: &str, instance: &str) -> Self {
        Self {
            key_prefix: key_prefix.to_owned(),
            instance: instance.to_owned(),
            poll: Duration::from_secs(10),
            retry_first: Duration::from_millis(500),
            retry_last: Duration::from_secs(30),
            commands_max: 4096,
            bytes_max: 32 << 20,
            events_max: 16,
        }
    }
}

/// Shared by the threads of the worker.
pub(super) struct Shared {
    pub options: Options,
    pub keys: Keys,
    pub scripts: Scripts,
    pub mailbox: Mailbox,
    pub status: SharedStatus,
    pub events: Sender<Event>,
    pub wake: Box<dyn Fn() + Send + Sync>,
}

impl Shared {
    /// Tells the agent. Waits while it has much to do, but never beyond a stop.
    pub fn emit(&self, event: Event) -> Result<(), Problem> {
        let mut event = event;
        loop {
            match self.events.send_timeout(event, LOOK_EVERY) {
                Ok(()) => {
                    (self.wake)();
                    return Ok(());
                }
                Err(SendTimeoutError::Timeout(back)) if !self.mailbox.is_stopping() => event = back,
                Err(_) => return Err(Problem::Stopped),
            }
        }
    }

    /// Tells the agent that the state of the connection has changed.
    pub fn emit_status(&self) -> Result<(), Problem> {
        self.emit(Event::Status(Box::new(self.status.get())))
    }
}
