//! The threads on which streams are opened: whatever may block holds nobody up there.
//!
//! Must not be more than a few, however long the system lets them wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use mio::Waker;

use crate::telemetry::metrics::DialFault;

use super::connection::Connection;
use super::dial::{Caller, Failure};
use super::follow::Fault;

/// Dials that may be under way, those that were given up included.
const DIALS_MAX: usize = 2;

/// The threads that dial.
pub(super) struct Dials {
    alive: Arc<AtomicUsize>,
    results: Receiver<Outcome>,
    sender: Sender<Outcome>,
    waker: Arc<Waker>,
}

/// What became of something that might block.
pub(super) enum Outcome {
    /// A dial of this number.
    Dialled(u64, Box<Result<Connection, Failure>>),
    /// A registration. `told`: a dial that waited for it fails for the same reason, and tells it.
    Registered { registered: Result<String, Failure>, told: bool },
}

impl Dials {
    /// None yet; `waker` wakes the thread that asks for outcomes.
    pub fn new(waker: Arc<Waker>) -> Self {
        let (sender, results) = unbounded();
        Self { alive: Arc::default(), results, sender, waker }
    }

    /// What has come to an end since it was last asked.
    pub fn outcome(&self) -> Option<Outcome> {
        self.results.try_recv().ok()
    }

    /// Opens a stream; registers if `register`. A server that refuses that at once is not asked for a stream; one that
    /// takes its time, or cannot do it, is: SDKs wait for data, and the stream does without.
    pub fn dial(&self, caller: &Arc<Caller>, number: u64, register: bool) {
        let registering = register.then(|| self.register(caller));
        let dial = move |caller: &Caller| {
            let refused = registering.and_then(|answer| answer.recv_timeout(caller.head_start()).ok()?.err());
            let stream = refused.map_or_else(|| caller.stream(), Err);
            Outcome::Dialled(number, Box::new(stream))
        };
        self.on_a_thread(caller, dial, move |failure| Outcome::Dialled(number, Box::new(Err(failure))));
    }

    /// Registers, whoever waits for the answer or not. Not to be called again before there is an outcome.
    pub fn register(&self, caller: &Arc<Caller>) -> Receiver<Result<(), Failure>> {
        // Without room: what is taken is taken by somebody who waits.
        let (answer, waiting) = bounded(0);
        let (of_thread, sender, waker) = (Arc::clone(caller), self.sender.clone(), Arc::clone(&self.waker));
        let thread = thread::Builder::new().name("register".into()).spawn(move || {
            let registered = of_thread.register();
            let refused =
                registered.as_ref().err().filter(|failure| failure.fault == Fault::Refused).cloned();
            let told = refused.is_some_and(|failure| answer.send(Err(failure)).is_ok());
            // Nobody waits for it when the agent ends.
            let _ = sender.send(Outcome::Registered { registered, told });
            let _ = waker.wake();
            // Behind it: the agent is to know its name when the stream is open.
            let _ = answer.send(Ok(()));
        });
        if let Err(error) = thread {
            let told = format!("{}: a thread cannot be started ({error})", caller.endpoint);
            let failure = Failure { fault: Fault::Failed, reason: DialFault::Abandoned, told };
            let _ = self.sender.send(Outcome::Registered { registered: Err(failure), told: false });
            let _ = self.waker.wake();
        }
        waiting
    }

    /// Does something that may block where it holds nobody up.
    fn on_a_thread(
        &self,
        caller: &Arc<Caller>,
        work: impl FnOnce(&Caller) -> Outcome + Send + 'static,
        failed: impl FnOnce(Failure) -> Outcome,
    ) {
        let guard = Alive(Arc::clone(&self.alive));
        let alive = self.alive.fetch_add(1, Ordering::AcqRel);
        let (of_thread, sender, waker) = (Arc::clone(caller), self.sender.clone(), Arc::clone(&self.waker));
        let told = if alive >= DIALS_MAX {
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
        let told = format!("{}: {told}", caller.endpoint);
        let failure = Failure { fault: Fault::Failed, reason: DialFault::Abandoned, told };
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
