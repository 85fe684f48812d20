//! The mailbox of a reactor: the only way by which other threads reach it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::queue::SegQueue;
use mio::Waker;

use crate::net::slab::Key;
use crate::payload::Payload;
use crate::store::Change;

/// What became of a request that was dealt with off the reactor, for the connection that waits for it.
#[derive(Debug)]
pub enum Reply {
    /// It is done. The JSON text of the answer.
    Done(Payload),
    /// It was rejected, since what came with it is not valid. The reason, for the peer.
    Invalid(String),
    /// It was rejected, since what came with it is larger than allowed. The reason, for the peer.
    TooLarge(String),
}

/// A full sync for a downstream agent, put together off the reactor.
#[derive(Debug)]
pub struct RelayFull {
    /// A whole WebSocket frame.
    pub payload: Payload,
    /// The publish that it is of.
    pub sequence: u64,
}

/// A message to a reactor.
#[derive(Debug)]
pub enum Mail {
    /// New data. The reactor drops `in_service` once it serves from the new snapshot.
    Change {
        /// What changed, and the snapshot to serve from now on.
        change: Arc<Change>,
        /// When the change reached the agent.
        arrived: Instant,
        /// Dropped when the data is in service here.
        in_service: Option<Arc<InService>>,
    },
    /// An answer for a parked request.
    Reply {
        /// The connection that it is for.
        key: Key,
        /// The answer.
        reply: Reply,
    },
    /// A full sync for a downstream agent.
    RelayFull {
        /// The connection that it is for.
        key: Key,
        /// The full sync.
        full: RelayFull,
    },
    /// The names of the agents upstream of this one, the nearest first.
    Path(Arc<[String]>),
    /// The upstream status has changed. It is not in the mail but to be looked up, so that the newest counts.
    UpstreamStatus,
    /// The keys of operators and downstream agents were replaced. They are to be looked up, so that the newest count.
    Keys,
    /// Stop accepting, finish what is under way, and close the WebSockets spread over this time.
    Drain(Duration),
    /// End now.
    Stop,
}

/// Something to do once every reactor serves from a snapshot: each holds a reference, and the last one to drop its
/// own does it.
pub struct InService(Option<Box<dyn FnOnce() + Send + Sync>>);

impl InService {
    /// Calls `then` when the last reference is dropped.
    pub fn new(then: impl FnOnce() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self(Some(Box::new(then))))
    }
}

impl Drop for InService {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then();
        }
    }
}

impl std::fmt::Debug for InService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InService")
    }
}

/// Wakes a reactor that may be waiting for events.
pub trait Wake: Send + Sync {
    /// Has the reactor look into its mailbox soon.
    fn wake(&self) -> io::Result<()>;
}

impl Wake for Arc<Waker> {
    fn wake(&self) -> io::Result<()> {
        Waker::wake(self)
    }
}

struct Shared {
    queue: SegQueue<Mail>,
    wake: Box<dyn Wake>,
}

/// Both ends of one reactor's mailbox; cheap to clone.
#[derive(Clone)]
pub struct Mailbox(Arc<Shared>);

impl Mailbox {
    /// An empty mailbox of the reactor that `wake` wakes.
    pub fn new(wake: impl Wake + 'static) -> Self {
        Self(Arc::new(Shared { queue: SegQueue::new(), wake: Box::new(wake) }))
    }

    /// Leaves a mail and wakes the reactor.
    pub fn post(&self, mail: Mail) {
        self.0.queue.push(mail);
        // Waking fails only when the reactor's poller is gone, and then nobody is left to read the mail.
        let _ = self.0.wake.wake();
    }

    /// Takes out the oldest mail. For the reactor.
    pub fn take(&self) -> Option<Mail> {
        self.0.queue.pop()
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mailbox({} waiting)", self.0.queue.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counting(Arc<AtomicUsize>);

    impl Wake for Counting {
        fn wake(&self) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn mail_comes_out_in_order_and_each_one_wakes() {
        let woken = Arc::new(AtomicUsize::new(0));
        let mailbox = Mailbox::new(Counting(woken.clone()));
        mailbox.post(Mail::Drain(Duration::from_secs(1)));
        mailbox.post(Mail::Stop);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
        assert!(matches!(mailbox.take(), Some(Mail::Drain(_))));
        assert!(matches!(mailbox.take(), Some(Mail::Stop)));
        assert!(mailbox.take().is_none());
    }

    #[test]
    fn in_service_runs_once_when_the_last_reactor_has_let_go() {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        let first = InService::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let second = first.clone();
        drop(first);
        assert_eq!(runs.load(Ordering::Relaxed), 0);
        drop(second);
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }
}
