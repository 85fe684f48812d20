//! How much of a stream to send next, and which events are given up.
//!
//! Must not give up an event that the server would take, unless the server has refused many single ones in a row.
//!
//! Too large (413) says something about the amount: half of it is sent next, and more again after some successes. Rejected
//! (other 4xx) says that one of the events at least is bad: halves find it, as in a binary search, and only that one is
//! given up.

use crate::insights::queue::PeekLimits;

/// How many single events are given up in a row before a rejection concerns whole portions. Otherwise a server that takes
/// nothing would be asked about each event alone.
pub const SINGLES_MAX: u32 = 16;

/// After so many requests in a row that were not too large, more is tried.
const PATIENCE: u32 = 8;
/// Each time that more is too large again, it takes twice as many, up to this number.
const PATIENCE_MAX: u32 = 512;

/// What happens to the events of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They stay, and are sent again.
    Stay,
    /// They are given up.
    GivenUp,
}

/// How much to send next.
#[derive(Clone, Debug)]
pub struct Portions {
    max: PeekLimits,
    /// What is not too large, as far as known.
    fits: PeekLimits,
    /// Successes before `fits` grows.
    patience: u32,
    successes: u32,
    /// Whether `fits` has grown since something was too large.
    grown: bool,
    /// So many events from the first on have a bad one among them; 0 if none is known.
    suspects: usize,
    /// The most events while bad ones are frequent: doubled by each success, then no bound.
    careful: usize,
    /// Single events rejected since the last success.
    singles: u32,
}

impl Portions {
    /// At most so much.
    pub fn new(max: PeekLimits) -> Self {
        let max = PeekLimits { events: max.events.max(1), bytes: max.bytes.max(1) };
        Self {
            max,
            fits: max,
            patience: PATIENCE,
            successes: 0,
            grown: false,
            suspects: 0,
            careful: usize::MAX,
            singles: 0,
        }
    }

    /// How much to send next.
    pub fn limits(&self) -> PeekLimits {
        let half = if self.suspects == 0 { usize::MAX } else { (self.suspects / 2).max(1) };
        PeekLimits { events: self.fits.events.min(half).min(self.careful), bytes: self.fits.bytes }
    }

    /// Whether whole portions are given up.
    pub fn is_giving_up(&self) -> bool {
        self.singles >= SINGLES_MAX
    }

    /// The server has taken so many events.
    pub fn taken(&mut self, events: usize) {
        self.singles = 0;
        self.suspects = self.suspects.saturating_sub(events);
        self.careful = self.doubled_care();
        self.successes = self.successes.saturating_add(1);
        if self.successes < self.patience {
            return;
        }
        self.successes = 0;
        if self.fits == self.max {
            self.patience = PATIENCE;
            return;
        }
        self.grown = true;
        self.fits.events = self.fits.events.saturating_mul(2).min(self.max.events);
        self.fits.bytes = self.fits.bytes.saturating_mul(2).min(self.max.bytes);
    }

    /// A body with so many events, of so many bytes, was too large.
    pub fn too_large(&mut self, events: usize, bytes: usize) -> Fate {
        self.successes = 0;
        if events <= 1 {
            // It alone was too large, so nothing is known about others.
            self.fits = self.max;
            return self.give_up_single();
        }
        // The amount before it grew was the right one, so that is kept longer.
        if std::mem::take(&mut self.grown) {
            self.patience = (self.patience * 2).min(PATIENCE_MAX);
        }
        self.fits.events = (events / 2).max(1);
        self.fits.bytes = (bytes / 2).max(1);
        Fate::Stay
    }

    /// The server rejects a portion of so many events.
    pub fn rejected(&mut self, events: usize) -> Fate {
        if self.is_giving_up() {
            self.suspects = 0;
            self.careful = self.doubled_care();
            return Fate::GivenUp;
        }
        if events <= 1 {
            self.singles = self.singles.saturating_add(1);
            return self.give_up_single();
        }
        self.suspects = events;
        Fate::Stay
    }

    fn give_up_single(&mut self) -> Fate {
        self.suspects = 0;
        // Where one is bad, the next is often too.
        self.careful = 2;
        Fate::GivenUp
    }

    fn doubled_care(&self) -> usize {
        match self.careful.saturating_mul(2) {
            doubled if doubled >= self.max.events => usize::MAX,
            doubled => doubled,
        }
    }
}
