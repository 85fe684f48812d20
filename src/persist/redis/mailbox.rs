//! What waits for the worker's thread: commands of this agent, announcements of others, the request to stop.
//!
//! Must not block who puts something in: it locks for a moment and never waits for room. What does not fit is dropped,
//! and a comparison of all data is remembered in its place.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::model::stamp::Edition;

use super::record::{Record, Register};
use super::text::Announcement;

/// What this agent wants done in Redis.
#[derive(Debug)]
pub enum Command {
    /// A change of this agent. It is merged into the edition, or dropped if Redis has a higher one.
    Write {
        /// The edition that it belongs to.
        edition: Edition,
        /// What has no stamp of its own, if it has changed.
        register: Option<Register>,
        /// What has changed.
        records: Vec<Record>,
        /// A data file that was loaded.
        digest: Option<String>,
    },
    /// Everything that this agent has: the answer to `NeedFullState`, or a new edition. What Redis lacks is written.
    FullState {
        /// The edition of it.
        edition: Edition,
        /// What has no stamp of its own.
        register: Register,
        /// All items and removals.
        records: Vec<Record>,
        /// All data files that were loaded.
        digests: Vec<String>,
    },
    /// The other answer to `NeedFullState`: this agent has no data yet.
    Nothing,
    /// Read what is new, then answer with [`Event::Checked`](super::Event::Checked) and this number. Dropped without a
    /// connection.
    Check(u64),
    /// Deletes old removals that nobody needs any more, given as field and stamp, if they are still the same. May be lost:
    /// to be repeated from time to time.
    Forget {
        /// The edition that they belong to.
        edition: Edition,
        /// Their fields and stamps in milliseconds.
        tombstones: Vec<(Box<str>, i64)>,
    },
    /// Removes the records of an environment that the register in Redis does not list. May be lost: to be repeated from
    /// time to time.
    RemoveEnvironment {
        /// The edition that it belongs to.
        edition: Edition,
        /// Its id.
        environment: String,
    },
}

impl Command {
    fn bytes(&self) -> usize {
        let records = |records: &[Record]| records.iter().map(Record::bytes).sum::<usize>();
        size_of::<Self>()
            + match self {
                Self::Write { register, records: changed, .. } => {
                    records(changed) + register.as_ref().map_or(0, |register| register.body.len())
                }
                // There is at most one.
                Self::FullState { .. } | Self::Nothing | Self::Check(_) => 0,
                Self::Forget { tombstones, .. } => tombstones.iter().map(|(field, _)| 32 + field.len()).sum(),
                Self::RemoveEnvironment { environment, .. } => environment.len(),
            }
    }

    fn is_data(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::FullState { .. } | Self::Nothing | Self::Check(_))
    }
}

/// What the worker shall do next.
#[derive(Debug)]
pub(super) enum Next {
    Command(Command),
    /// Others have written: what this says, or `None` if it is not known what.
    Announced(Option<Announcement>),
    /// Commands were dropped: all data is to be compared.
    Compare,
    /// Nothing came in time.
    Poll,
    Stop,
}

#[derive(Debug, Default)]
struct Content {
    commands: VecDeque<Command>,
    bytes: usize,
    /// The outer option: whether anything was announced.
    announced: Option<Option<Announcement>>,
    compare: bool,
    /// While `false`, own changes are dropped: a comparison of all data follows each connection.
    connected: bool,
    /// What is left may be done until then.
    stop_at: Option<Instant>,
}

/// The mailbox of the worker.
#[derive(Debug)]
pub(super) struct Mailbox {
    content: Mutex<Content>,
    changed: Condvar,
    commands_max: usize,
    bytes_max: usize,
}

impl Mailbox {
    pub fn new(commands_max: usize, bytes_max: usize) -> Self {
        Self { content: Mutex::default(), changed: Condvar::new(), commands_max, bytes_max }
    }

    /// Puts a command in. Returns whether something had to be dropped for it.
    pub fn send(&self, command: Command) -> bool {
        let mut content = self.content.lock();
        if content.stop_at.is_some() || !content.connected && command.is_data() {
            return false;
        }
        let bytes = command.bytes();
        if matches!(command, Command::FullState { .. }) {
            content.drop_those(|waiting| matches!(waiting, Command::FullState { .. }));
        }
        let is_full = |content: &Content| {
            content.commands.len() >= self.commands_max
                || content.bytes.saturating_add(bytes) > self.bytes_max
        };
        let overflows = is_full(&content);
        if overflows {
            content.drop_those(|waiting| matches!(waiting, Command::Write { .. }));
            content.compare = true;
        }
        if !is_full(&content) {
            content.bytes += bytes;
            content.commands.push_back(command);
        }
        self.changed.notify_all();
        overflows
    }

    /// Others have written. `None` if it is not known what.
    pub fn announce(&self, announcement: Option<Announcement>) {
        let mut content = self.content.lock();
        content.announced = Some(match (content.announced.take(), announcement) {
            (None, new) => new,
            (Some(Some(before)), Some(new))
                if (&before.epoch, &before.edition) == (&new.epoch, &new.edition) =>
            {
                Some(if new.last > before.last { new } else { before })
            }
            _ => None,
        });
        self.changed.notify_all();
    }

    /// A connection was opened, or lost. Own changes that wait are dropped: all data is compared after each connect.
    pub fn set_connected(&self, connected: bool) {
        let mut content = self.content.lock();
        content.connected = connected;
        content.drop_those(Command::is_data);
        content.compare = false;
        self.changed.notify_all();
    }

    /// What to do next; waits for it until `deadline`. `may_compare`: whether a comparison can begin now.
    pub fn next(&self, deadline: Instant, may_compare: bool) -> Next {
        let mut content = self.content.lock();
        loop {
            let stop_at = content.stop_at;
            if stop_at.is_some_and(|stop_at| content.commands.is_empty() || Instant::now() >= stop_at) {
                return Next::Stop;
            }
            if stop_at.is_none() {
                if let Some(announced) = content.announced.take() {
                    return Next::Announced(announced);
                }
                if may_compare && std::mem::take(&mut content.compare) {
                    return Next::Compare;
                }
            }
            if let Some(command) = content.commands.pop_front() {
                content.bytes = content.bytes.saturating_sub(command.bytes());
                return Next::Command(command);
            }
            if Instant::now() >= deadline {
                return Next::Poll;
            }
            self.changed.wait_until(&mut content, deadline);
        }
    }

    /// Waits for the end of a pause. Returns whether the worker is to stop.
    pub fn pause(&self, until: Instant) -> bool {
        let mut content = self.content.lock();
        while content.stop_at.is_none() && Instant::now() < until {
            self.changed.wait_until(&mut content, until);
        }
        content.stop_at.is_some()
    }

    /// Waits until there is a connection. Returns whether the worker is to stop.
    pub fn wait_connected(&self) -> bool {
        let mut content = self.content.lock();
        while content.stop_at.is_none() && !content.connected {
            self.changed.wait(&mut content);
        }
        content.stop_at.is_some()
    }

    /// Lets the worker do what waits until `stop_at`, then stop.
    pub fn stop(&self, stop_at: Instant) {
        let mut content = self.content.lock();
        content.stop_at.get_or_insert(stop_at);
        self.changed.notify_all();
    }

    /// Whether the worker is to stop.
    pub fn is_stopping(&self) -> bool {
        self.content.lock().stop_at.is_some()
    }
}

impl Content {
    fn drop_those(&mut self, which: impl Fn(&Command) -> bool) {
        self.commands.retain(|command| !which(command));
        self.bytes = self.commands.iter().map(Command::bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Command, Mailbox, Next};
    use crate::model::stamp::Edition;
    use crate::persist::redis::record::Register;
    use crate::persist::redis::text::Announcement;

    fn write() -> Command {
        Command::Write { edition: Edition::default(), register: None, records: Vec::new(), digest: None }
    }

    fn whole(opened_at_ms: i64) -> Command {
        let edition = Edition { opened_at_ms, instance: String::new() };
        Command::FullState {
            edition,
            register: Register::default(),
            records: Vec::new(),
            digests: Vec::new(),
        }
    }

    fn forget() -> Command {
        Command::Forget { edition: Edition::default(), tombstones: Vec::new() }
    }

    fn connected(commands_max: usize) -> Mailbox {
        let mailbox = Mailbox::new(commands_max, 1 << 20);
        mailbox.set_connected(true);
        mailbox
    }

    fn next(mailbox: &Mailbox) -> Next {
        mailbox.next(Instant::now(), true)
    }

    #[test]
    fn changes_that_do_not_fit_become_one_comparison() {
        let mailbox = connected(3);
        assert!(!mailbox.send(forget()));
        assert!(!mailbox.send(write()));
        assert!(!mailbox.send(write()));
        assert!(mailbox.send(write()));
        assert!(matches!(next(&mailbox), Next::Compare));
        assert!(matches!(next(&mailbox), Next::Command(Command::Forget { .. })));
        assert!(matches!(next(&mailbox), Next::Command(Command::Write { .. })));
        assert!(matches!(next(&mailbox), Next::Poll));
    }

    #[test]
    fn a_comparison_waits_until_it_may_begin() {
        let mailbox = connected(1);
        mailbox.send(write());
        mailbox.send(write());
        assert!(matches!(mailbox.next(Instant::now(), false), Next::Command(_)));
        assert!(matches!(mailbox.next(Instant::now(), false), Next::Poll));
        assert!(matches!(next(&mailbox), Next::Compare));
    }

    #[test]
    fn changes_are_dropped_without_a_connection() {
        let mailbox = Mailbox::new(10, 1 << 20);
        mailbox.send(write());
        mailbox.send(forget());
        mailbox.set_connected(true);
        assert!(matches!(next(&mailbox), Next::Command(Command::Forget { .. })));
        assert!(matches!(next(&mailbox), Next::Poll));
    }

    #[test]
    fn only_the_last_whole_waits() {
        let mailbox = connected(10);
        mailbox.send(whole(1));
        mailbox.send(whole(2));
        let Next::Command(Command::FullState { edition, .. }) = next(&mailbox) else { panic!("a whole") };
        assert_eq!(edition.opened_at_ms, 2);
        assert!(matches!(next(&mailbox), Next::Poll));
    }

    #[test]
    fn announcements_become_one() {
        let mailbox = connected(10);
        let announcement = |epoch: &str, last| {
            let (epoch, instance) = (epoch.to_owned(), String::new());
            Some(Announcement { epoch, edition: Edition::default(), last, instance })
        };
        mailbox.announce(announcement("a", 7));
        mailbox.announce(announcement("a", 9));
        mailbox.announce(announcement("a", 8));
        assert!(matches!(next(&mailbox), Next::Announced(Some(Announcement { last: 9, .. }))));
        mailbox.announce(announcement("a", 7));
        mailbox.announce(announcement("b", 7));
        mailbox.announce(announcement("b", 8));
        assert!(matches!(next(&mailbox), Next::Announced(None)));
        assert!(matches!(next(&mailbox), Next::Poll));
    }

    #[test]
    fn a_stop_waits_for_commands_only_until_its_time() {
        let mailbox = connected(10);
        mailbox.send(write());
        mailbox.stop(Instant::now() + std::time::Duration::from_secs(60));
        mailbox.send(write());
        assert!(matches!(next(&mailbox), Next::Command(_)));
        assert!(matches!(next(&mailbox), Next::Stop));
        let mailbox = connected(10);
        mailbox.send(write());
        mailbox.stop(Instant::now());
        assert!(matches!(next(&mailbox), Next::Stop));
        assert!(mailbox.pause(Instant::now()));
    }
}
