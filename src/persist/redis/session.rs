//! One connection to Redis, and what this agent knows of the data there.
//!
//! `reading` and `writing` say what is done with it. Must not open connections or wait.

use std::sync::atomic::Ordering::Relaxed;

use crate::model::stamp::Edition;

use super::calls::{Calls, Problem};
use super::event::Event;
use super::mirror::Mirror;
use super::shared::Shared;

/// How much was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub epoch: String,
    pub edition: Edition,
    /// Everything up to this sequence.
    pub sequence: u64,
    pub register_sequence: u64,
    pub files_sequence: u64,
    /// How many records were removed as no longer needed, as far as the mirror reflects it.
    pub forgotten: u64,
    /// How many more records Redis has than the mirror although everything was read: records of others.
    pub surplus: i64,
}

impl Position {
    /// Whether it is in this data.
    pub fn is_in(&self, epoch: &str, edition: &Edition) -> bool {
        self.epoch == epoch && self.edition == *edition
    }
}

/// What this agent knows; it outlives connections.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The edition that this agent has, as far as it has said so or was given it.
    pub own: Edition,
    /// `None` before everything was read.
    pub position: Option<Position>,
    pub mirror: Mirror,
}

/// One connection.
pub(super) struct Session<'a> {
    pub calls: Calls<'a>,
    pub shared: &'a Shared,
    pub known: &'a mut Known,
    /// Whether the agent was asked for everything and has not answered.
    pub asked: bool,
    /// Whether it is to be asked again after that: Redis has lost something since, which the answer may lack.
    pub ask_again: bool,
    /// Whether it was logged that changes cannot be announced.
    pub unannounced_logged: bool,
}

impl Session<'_> {
    /// Asks the agent for everything that it has: now, or after the answer that is on its way.
    pub fn ask_full_state(&mut self) -> Result<(), Problem> {
        if self.asked {
            self.ask_again = true;
            return Ok(());
        }
        self.asked = true;
        self.shared.emit(Event::NeedFullState)
    }

    /// Redis has no data, or data of a lower edition: nothing of it is known any more.
    pub fn forget_all(&mut self) {
        self.known.position = None;
        self.known.mirror.clear();
        self.show_position();
    }

    /// Brings the status up to date.
    pub fn show_position(&self) {
        let (position, records) = (&self.known.position, self.known.mirror.len());
        self.shared.status.change(|status| {
            status.edition = position.as_ref().map(|position| position.edition.clone());
            status.sequence = position.as_ref().map_or(0, |position| position.sequence);
            status.records = u64::try_from(records).unwrap_or(u64::MAX);
            status.lag = 0;
        });
    }

    /// Counts records.
    pub fn count_read(&self, records: usize) {
        self.shared.status.counting.records_read.fetch_add(records as u64, Relaxed);
    }
}
