//! The threads that keep this agent and Redis alike: one for commands, one for announcements.
//!
//! Must not make anybody wait: commands are put into a mailbox, events come by a channel, and a stop abandons a thread
//! that Redis keeps busy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::commands::Commands;
use super::dial::Dial;
use super::event::Event;
use super::listening::Listening;
use super::mailbox::{Command, Mailbox};
use super::scripts::{Keys, Scripts};
use super::shared::{Options, Shared};
use super::status::{RedisStatus, SharedStatus};

/// The share of the time for a stop in which waiting changes are still written.
const FLUSH_SHARE: u32 = 2;

/// The threads, as seen by the agent.
pub struct Worker {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    /// Is closed when both threads have ended.
    ended: Receiver<()>,
}

impl Worker {
    /// Starts the threads. `wake` is called after each event that was put into the channel.
    ///
    /// # Errors
    /// If the system has no threads left.
    pub fn start(
        dial: Arc<dyn Dial>,
        options: Options,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let (sender, events) = bounded(options.events_max.max(1));
        let shared = Arc::new(Shared {
            keys: Keys::new(&options.key_prefix),
            scripts: Scripts::new(),
            mailbox: Mailbox::new(options.commands_max, options.bytes_max),
            status: SharedStatus::new(dial.address()),
            events: sender,
            wake,
            options,
        });
        let (alive, ended) = bounded(0);
        let worker = Self { shared, events, ended };
        worker
            .start_thread("redis", &alive, &dial, |shared, dial| Commands::new(shared, dial).run(random))?;
        worker.start_thread("redis-listen", &alive, &dial, |shared, dial| {
            Listening::new(shared, dial).run(random);
        })?;
        Ok(worker)
    }

    /// A thread that ends with `alive`.
    fn start_thread(
        &self,
        name: &str,
        alive: &Sender<()>,
        dial: &Arc<dyn Dial>,
        run: fn(&Shared, &dyn Dial),
    ) -> io::Result<()> {
        let (shared, alive, dial) = (Arc::clone(&self.shared), alive.clone(), Arc::clone(dial));
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            run(&shared, &*dial);
            drop(alive);
        })?;
        Ok(())
    }

    /// Puts a command into the mailbox. Never waits. Without a connection own data is dropped: after each connect the
    /// worker asks for everything.
    pub fn send(&self, command: Command) {
        if self.shared.mailbox.send(command) {
            self.shared.status.counting.overflows.fetch_add(1, Relaxed);
        }
    }

    /// What the worker tells. To be emptied soon after each wake: the worker waits for it.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// The status now.
    pub fn status(&self) -> RedisStatus {
        self.shared.status.get()
    }

    /// Counts records whose bodies are not what an agent writes.
    pub fn count_unreadable(&self, records: usize) {
        self.shared.status.counting.unreadable.fetch_add(records as u64, Relaxed);
    }

    /// Ends the threads: changes that wait are still written for half of the time. Returns `false` if a thread did not end
    /// in time, since Redis keeps it busy: it is left behind.
    pub fn stop(&self, within: Duration) -> bool {
        let now = Instant::now();
        self.shared.mailbox.stop(now + within / FLUSH_SHARE);
        matches!(self.ended.recv_timeout(within), Err(crossbeam::channel::RecvTimeoutError::Disconnected))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.mailbox.stop(Instant::now());
    }
}

/// A random number for pauses.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now())
}
