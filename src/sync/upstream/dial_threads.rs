//! The threads on which connections are opened: what blocks there keeps nobody else waiting.
//!
//! There must not be more than a few, however long the system lets them wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use mio::Waker;

use crate::telemetry::metrics::DialFault;

use super::connection::Connection;
use super::follow::FailureKind;
use super::opener::{ConnectError, Opener};

/// Dials that may be under way, with those that were given up and still wait for the system.
const DIALS_MAX: usize = 2;

/// The threads that dial.
pub(super) struct DialThreads {
    alive: Arc<AtomicUsize>,
    results: Receiver<Outcome>,
    sender: Sender<Outcome>,
    waker: Arc<Waker>,
}

/// What became of something that might block.
pub(super) enum Outcome {
    /// A dial of this number.
    Dialled(u64, Box<Result<Connection, ConnectError>>),
    /// A registration. `reported`: a dial that waited for it fails for the same reason, and reports it.
    Registered { registered: Result<String, ConnectError>, reported: bool },
}

impl DialThreads {
    /// None yet; `waker` wakes the thread that asks for outcomes.
    pub fn new(waker: Arc<Waker>) -> Self {
        let (sender, results) = unbounded();
        Self { alive: Arc::default(), results, sender, waker }
    }

    /// What has come to an end since it was last asked.
    pub fn outcome(&self) -> Option<Outcome> {
        self.results.try_recv().ok()
    }

    /// Opens a connection, and registers if `register`. A server that refuses the registration at once is not dialled. One
    /// that takes its time, or cannot register agents, is: SDKs wait for data, and data comes without a registration.
    pub fn dial(&self, opener: &Arc<Opener>, number: u64, register: bool) {
        let registering = register.then(|| self.register(opener));
        let dial = move |opener: &Opener| {
            let refused = registering.and_then(|answer| answer.recv_timeout(opener.head_start()).ok()?.err());
            let stream = refused.map_or_else(|| opener.stream(), Err);
            Outcome::Dialled(number, Box::new(stream))
        };
        self.on_a_thread(opener, dial, move |failure| Outcome::Dialled(number, Box::new(Err(failure))));
    }

    /// Registers. The answer need not be waited for: it comes as an outcome too. Not to be called again before that.
    pub fn register(&self, opener: &Arc<Opener>) -> Receiver<Result<(), ConnectError>> {
        // Without room: an answer that was taken was taken by a dial that waits for it.
        let (answer, waiting) = bounded(0);
        let (of_thread, sender, waker) = (Arc::clone(opener), self.sender.clone(), Arc::clone(&self.waker));
        let thread = thread::Builder::new().name("register".into()).spawn(move || {
            let registered = of_thread.register();
            let refused =
                registered.as_ref().err().filter(|failure| failure.kind == FailureKind::Refused).cloned();
            let reported = refused.is_some_and(|failure| answer.send(Err(failure)).is_ok());
            // Nobody waits for it when the agent ends.
            let _ = sender.send(Outcome::Registered { registered, reported });
            let _ = waker.wake();
            // After the outcome: the agent knows its name when the connection is open.
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

    /// Does something that may block on a thread of its own.
    fn on_a_thread(
        &self,
        opener: &Arc<Opener>,
        work: impl FnOnce(&Opener) -> Outcome + Send + 'static,
        failed: impl FnOnce(ConnectError) -> Outcome,
    ) {
        let guard = Alive(Arc::clone(&self.alive));
        let alive = self.alive.fetch_add(1, Ordering::AcqRel);
        let (of_thread, sender, waker) = (Arc::clone(opener), self.sender.clone(), Arc::clone(&self.waker));
        let text = if alive >= DIALS_MAX {
            "earlier attempts still wait for the system".to_owned()
        } else {
            let thread = thread::Builder::new().name("dial".into()).spawn(move || {
                let outcome = work(&of_thread);
                drop(guard);
                // Nobody waits for it when the agent ends.
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

/// One dial under way.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
