//! What an operator can know about Redis: the state of the connection, the last error, what was read and written.
//!
//! Must not hold a secret: it is shown as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::model::stamp::Edition;

use super::dial::Failure;

/// How the connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not connected yet.
    #[default]
    Connecting,
    /// Everything in Redis was read; changes come as they happen.
    Connected,
    /// The connection was lost or could not be opened; it is tried again.
    Away,
    /// Redis refuses, for this reason: the connection, or own changes while those of others are still read. It is tried
    /// again, more slowly.
    Refused(&'static str),
}

/// The state of Redis at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisStatus {
    /// How the connection is.
    pub state: State,
    /// Since when, in Unix milliseconds.
    pub since_ms: i64,
    /// Where Redis is.
    pub address: String,
    /// The last error, with its time in Unix milliseconds. It stays when everything works again.
    pub error: Option<(i64, String)>,
    /// Why changes of other agents are only polled for; `None` if they are announced, or before that was tried.
    pub polling: Option<String>,
    /// The edition in Redis, as far as it was read.
    pub edition: Option<Edition>,
    /// The last sequence in Redis that was read.
    pub sequence: u64,
    /// How many sequences were announced and not yet read.
    pub lag: u64,
    /// Records in Redis, removals too.
    pub records: u64,
    /// What was done since the start.
    pub counters: Counters,
}

/// What was done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands sent, scripts among them.
    pub commands: u64,
    /// Records whose bodies were read.
    pub records_read: u64,
    /// Records that this agent has stored.
    pub records_written: u64,
    /// Announcements of other agents.
    pub announcements: u64,
    /// Connections opened after the first one.
    pub reconnects: u64,
    /// Lost connections, failed attempts and refused commands.
    pub errors: u64,
    /// Records in Redis that no agent has written; they are left alone.
    pub unreadable: u64,
    /// Times that own changes were dropped because they came faster than Redis took them. All data is compared then.
    pub overflows: u64,
}

/// The counters as threads count.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub commands: Arc<AtomicU64>,
    pub records_read: AtomicU64,
    pub records_written: AtomicU64,
    pub announcements: AtomicU64,
    pub reconnects: AtomicU64,
    pub errors: AtomicU64,
    pub unreadable: AtomicU64,
    pub overflows: AtomicU64,
}

/// Shared by the threads of the worker and by those who ask.
#[derive(Debug)]
pub(super) struct SharedStatus {
    status: Mutex<RedisStatus>,
    pub counting: Counting,
}

impl SharedStatus {
    pub fn new(address: String) -> Self {
        let status = RedisStatus { address, since_ms: now_ms(), ..RedisStatus::default() };
        Self { status: Mutex::new(status), counting: Counting::default() }
    }

    /// The status now.
    pub fn get(&self) -> RedisStatus {
        let mut status = self.status.lock().clone();
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        status.counters = Counters {
            commands: read(&self.counting.commands),
            records_read: read(&self.counting.records_read),
            records_written: read(&self.counting.records_written),
            announcements: read(&self.counting.announcements),
            reconnects: read(&self.counting.reconnects),
            errors: read(&self.counting.errors),
            unreadable: read(&self.counting.unreadable),
            overflows: read(&self.counting.overflows),
        };
        status
    }

    /// Changes something. Returns whether to report it: the state or the polling has changed.
    pub fn change(&self, change: impl FnOnce(&mut RedisStatus)) -> bool {
        let mut status = self.status.lock();
        let before = (status.state, status.polling.is_some());
        change(&mut status);
        if status.state != before.0 {
            status.since_ms = now_ms();
        }
        before != (status.state, status.polling.is_some())
    }

    /// Records an error. Returns as [`Self::change`].
    pub fn failed(&self, failure: &Failure) -> bool {
        self.counting.errors.fetch_add(1, Relaxed);
        self.change(|status| {
            status.state =
                if failure.refused || failure.usable { State::Refused(failure.kind) } else { State::Away };
            status.error = Some((now_ms(), failure.text.clone()));
        })
    }
}

/// The wall clock in Unix milliseconds, for people to read.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
