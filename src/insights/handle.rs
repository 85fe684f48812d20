//! How reactors reach the thread of usage events.
//!
//! Must not wait: a call is handed over or refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crossbeam::channel::{Sender, TrySendError};

use crate::config::EventsMode;
use crate::fanout::mailbox::Mailbox;
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::net::slab::Key;
use crate::protocol::secret::Secret;
use crate::telemetry::metrics::EventNumbers;

use super::board::Board;
use super::counts::{Counts, EventResult};
use super::policy::Policy;

/// What a call takes in memory beside its body.
const CALL_BYTES: usize = 256;

/// Events of one call of an SDK, not yet looked at.
#[derive(Debug)]
pub struct Call {
    /// The environment, from the secret.
    pub environment: EnvironmentId,
    /// The secret, which was judged.
    pub secret: Secret,
    /// Its kind.
    pub kind: SecretKind,
    /// When the call came, in Unix milliseconds.
    pub received_ms: i64,
    /// The body as it was received.
    pub body: Vec<u8>,
    /// Whether the body is compressed with gzip.
    pub gzip: bool,
    /// The most bytes of the body after decompression.
    pub bytes_max: u64,
    /// Where the reply goes.
    pub mailbox: Mailbox,
    /// The connection that waits for it.
    pub key: Key,
}

/// A call, or the end.
#[derive(Debug)]
pub(super) enum Message {
    Call(Taken),
    /// No call follows.
    End,
}

/// A call and the memory that it takes until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    pub call: Call,
    memory: Memory,
}

impl Taken {
    /// How much memory it takes.
    pub fn bytes(&self) -> usize {
        self.memory.bytes
    }
}

#[derive(Debug)]
struct Memory {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Relaxed);
    }
}

/// Why a call was refused: it may be repeated later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Too many events wait.
    Full,
    /// The agent is about to stop.
    Stopping,
}

/// What the thread of usage events shares with others.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub policy: Arc<Policy>,
    pub counts: Arc<Counts>,
    pub board: Arc<Board>,
}

/// Hands calls over to the thread of usage events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Shared,
    /// `None` where all events are dropped: there is no thread then.
    sender: Option<Sender<Message>>,
    used: Arc<AtomicUsize>,
    bytes_max: usize,
    refused: Arc<AtomicU64>,
}

impl Handle {
    /// A handle to the thread that receives from `sender`'s channel. Calls may take `bytes_max` of memory until it has
    /// dealt with them.
    pub(super) fn new(shared: Shared, sender: Sender<Message>, bytes_max: usize) -> Self {
        Self { sender: Some(sender), bytes_max, ..Self::dropping(shared) }
    }

    /// A handle where all events are dropped.
    pub(super) fn dropping(shared: Shared) -> Self {
        Self { shared, sender: None, used: Arc::default(), bytes_max: 0, refused: Arc::default() }
    }

    /// A handle for programs without events: all are dropped.
    pub fn off() -> Self {
        let policy = Arc::new(Policy::always(EventsMode::Drop));
        let board =
            Arc::new(Board::dropping("usage events are counted and dropped".into(), EventsMode::Drop));
        Self::dropping(Shared { policy, counts: Arc::default(), board })
    }

    /// Whether the events of an environment with this label are dropped, so that they need not be handed over.
    pub fn drops(&self, id: EnvironmentId, label: &str) -> bool {
        self.sender.is_none() || self.shared.policy.mode(id, label) == Some(EventsMode::Drop)
    }

    /// Counts events of an environment that drops them.
    pub fn dropped(&self, id: EnvironmentId, events: u64) {
        let counts = self.shared.counts.of(id);
        counts.add(EventResult::Accepted, events);
        counts.add(EventResult::Dropped, events);
    }

    /// Hands a call over. The reply comes to the mailbox.
    ///
    /// # Errors
    /// If it was not taken. Nothing of it is kept then.
    pub fn submit(&self, call: Call) -> Result<(), Busy> {
        let Some(sender) = &self.sender else { return Err(Busy::Stopping) };
        let bytes = call.body.capacity() + CALL_BYTES;
        let before = self.used.fetch_add(bytes, Relaxed);
        let memory = Memory { used: Arc::clone(&self.used), bytes };
        // One call alone is taken, however large it is: its size was bounded when it was received.
        if before > 0 && before + bytes > self.bytes_max {
            self.refused.fetch_add(1, Relaxed);
            return Err(Busy::Full);
        }
        sender.try_send(Message::Call(Taken { call, memory })).map_err(|error| {
            self.refused.fetch_add(1, Relaxed);
            match error {
                TrySendError::Full(_) => Busy::Full,
                TrySendError::Disconnected(_) => Busy::Stopping,
            }
        })
    }

    /// The numbers for the metrics, at this time in Unix milliseconds. `name` is how an environment is called.
    pub fn numbers(&self, now_ms: i64, name: impl Fn(EnvironmentId) -> String) -> EventNumbers {
        let mut numbers = self.shared.board.numbers(&self.shared.counts, now_ms, name);
        numbers.queue_bytes += self.used.load(Relaxed) as u64;
        numbers.calls_refused.push(("queue", self.refused.load(Relaxed)));
        numbers
    }

    /// What the thread has noted.
    pub fn board(&self) -> &Board {
        &self.shared.board
    }

    pub(super) fn end(&self) {
        if let Some(sender) = &self.sender {
            // If its thread has ended, it needs no message.
            let _ = sender.send(Message::End);
        }
    }
}
