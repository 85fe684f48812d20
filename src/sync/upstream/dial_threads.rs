//! The threads on which connections are opened and registrations are sent, since both may block.
//!
//! Must limit the number of threads, however long the system lets them wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use mio::Waker;

use crate::telemetry::metrics::DialFault;

use super::connection::Connection;
use super::follow::FailureKind;
use super::opener::{ConnectError, Opener};

/// How many dials may be under way, including those that were given up but still wait for the system.
const DIALS_MAX: usize = 2;

/// The threads that dial.
pub(super) struct DialThreads {
    alive: Arc<AtomicUsize>,
    results: Receiver<Outcome>,
    sender: Sender<Outcome>,
    waker: Arc<Waker>,
}

/// The result of work on a thread.
pub(super) enum Outcome {
    /// Of the dial with this number.
    Dialled(u64, Box<Result<Connection, ConnectError>>),
    /// Of a registration. `reported`: the dial that waited for it failed for the same reason and reports it.
    Registered { registered: Result<String, ConnectError>, reported: bool },
}

impl DialThreads {
    /// No threads yet. `waker` wakes the sync thread when there is an outcome.
    pub fn new(waker: Arc<Waker>) -> Self {
        let (sender, results) = unbounded();
        Self { alive: Arc::default(), results, sender, waker }
    }

    /// Takes the next outcome, if there is one.
    pub fn outcome(&self) -> Option<Outcome> {
        self.results.try_recv().ok()
    }

    /// Opens a connection, and registers first if `register` is set. If the server refuses the registration at once, the dial
    /// fails. If it is slow or cannot register agents, the connection is opened all the same, since data comes without a
    /// registration and SDKs wait for it.
    pub fn dial(&self, opener: &Arc<Opener>, number: u64, register: bool) {
        let registering = register.then(|| self.register(opener));
        let dial = move |opener: &Opener| {
            let refused = registering.and_then(|answer| answer.recv_timeout(opener.head_start()).ok()?.err());
            let stream = refused.map_or_else(|| opener.stream(), Err);
            Outcome::Dialled(number, Box::new(stream))
        };
        self.spawn_dial(opener, dial, move |failure| Outcome::Dialled(number, Box::new(Err(failure))));
    }

    /// Registers. The outcome comes by [`Self::outcome`]; the receiver also tells a waiting dial. Must not be called again
    /// before the outcome has come.
    pub fn register(&self, opener: &Arc<Opener>) -> Receiver<Result<(), ConnectError>> {
        // Without capacity: a send succeeds only if a dial is waiting for the answer.
        let (answer, waiting) = bounded(0);
        let (of_thread, sender, waker) = (Arc::clone(opener), self.sender.clone(), Arc::clone(&self.waker));
        let thread = thread::Builder::new().name("register".into()).spawn(move || {
            let registered = of_thread.register();
            let refused =
                registered.as_ref().err().filter(|failure| failure.kind == FailureKind::Refused).cloned();
            let reported = refused.is_some_and(|failure| answer.send(Err(failure)).is_ok());
            // Fails only when the agent ends.
            let _ = sender.send(Outcome::Registered { registered, reported });
            let _ = waker.wake();
            // After the outcome, so that the agent knows its name before the connection is open.
            let _ = answer.send(Ok(()));
        });
        if let Err(error) = thread {
            let text = format!("{}: a thread cannot be started ({error})", opener.endpoint);
            let failure = ConnectError { kind: FailureKind::Failed, reason: DialFault::Abandoned, text };
            let _ = self.sender.send(Outcome::Registered { registered: Err(failure), reported: false });
            let _ = self.waker.wake();
        }
        waiting
    }

    /// Runs blocking work on a new thread.
    fn spawn_dial(
        &self,
        opener: &Arc<Opener>,
        work: impl FnOnce(&Opener) -> Outcome + Send + 'static,
        failed: impl FnOnce(ConnectError) -> Outcome,
    ) {
        let guard = Alive(Arc::clone(&self.alive));
        let alive = self.alive.fetch_add(1, Ordering::AcqRel);
        let (of_thread, sender, waker) = (Arc::clone(opener), self.sender.clone(), Arc::clone(&self.waker));
        let text = if alive >= DIALS_MAX {
            "earlier attempts have not ended yet: they still wait for the system".to_owned()
        } else {
            let thread = thread::Builder::new().name("dial".into()).spawn(move || {
                let outcome = work(&of_thread);
                drop(guard);
                // Fails only when the agent ends.
                let _ = sender.send(outcome);
                let _ = waker.wake();
            });
            match thread {
                Ok(_) => return,
                Err(error) => format!("a thread cannot be started ({error})"),
            }
        };
        let text = format!("{}: {text}", opener.endpoint);
        let failure = ConnectError { kind: FailureKind::Failed, reason: DialFault::Abandoned, text };
        let _ = self.sender.send(failed(failure));
        let _ = self.waker.wake();
    }
}

/// Counts one dial under way until it is dropped.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
