//! The mailbox of a reactor: the only way by which other threads reach it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::queue::SegQueue;
use mio::Waker;

use crate::net::slab::Key;
use crate::payload::Payload;
use crate::store::Change;

/// The result of a request that another thread handled, for the connection that waits for it.
#[derive(Debug)]
pub enum Reply {
    /// Success, with the JSON text of the answer.
    Done(Payload),
    /// The content was taken.
    Accepted,
    /// The content was not taken, but may be later. With the reason, for the client.
    Busy(&'static str),
    /// The content is not valid. With the reason, for the client.
    Invalid(String),
    /// The content is larger than allowed. With the reason, for the client.
    TooLarge(String),
    /// The content is in service, but a restart may lose it. With the reason, for the client.
    NotSaved(String),
}

/// A full sync for a downstream agent, built by another thread.
#[derive(Debug)]
pub struct RelayFull {
    /// A whole WebSocket frame.
    pub payload: Payload,
    /// The publish sequence of its data.
    pub sequence: u64,
}

/// A message to a reactor.
#[derive(Debug)]
pub enum Mail {
    /// New data. The reactor drops `in_service` once it serves the new snapshot.
    Change {
        /// The change, with the snapshot to serve from now on.
        change: Arc<Change>,
        /// When the change reached the agent.
        arrived: Instant,
        /// Dropped when this reactor serves the data.
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
    /// The upstream status has changed. The reactor reads it itself, so that it gets the newest.
    UpstreamStatus,
    /// The keys of operators and downstream agents were replaced. The reactor reads them itself, so that it gets the
    /// newest.
    Keys,
    /// Stop accepting, finish requests under way, and close the WebSockets spread over this time.
    Drain(Duration),
    /// End at once.
    Stop,
}

/// A call to be made once every reactor serves a snapshot: each has a reference, and dropping the last one makes the
/// call.
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
    /// Makes the reactor check its mailbox soon.
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

    /// Posts a mail and wakes the reactor.
    pub fn post(&self, mail: Mail) {
        self.0.queue.push(mail);
        self.wake();
    }

    /// Posts many mails, each to its mailbox, and wakes each reactor once.
    pub fn post_all(mails: impl IntoIterator<Item = (Mailbox, Mail)>) {
        let mut posted: Vec<Mailbox> = Vec::new();
        for (mailbox, mail) in mails {
            mailbox.0.queue.push(mail);
            if !posted.iter().any(|other| Arc::ptr_eq(&other.0, &mailbox.0)) {
                posted.push(mailbox);
            }
        }
        posted.iter().for_each(Mailbox::wake);
    }

    fn wake(&self) {
        // Waking fails only if the reactor has ended; then the mail is not needed.
        let _ = self.0.wake.wake();
    }

    /// Removes and returns the oldest mail. For the reactor.
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
    fn mail_is_received_in_order_and_each_one_wakes() {
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
    fn mails_that_are_posted_together_wake_each_reactor_once() {
        let woken: [Arc<AtomicUsize>; 2] = Default::default();
        let mailboxes = woken.clone().map(|woken| Mailbox::new(Counting(woken)));
        let number = |seconds| Mail::Drain(Duration::from_secs(seconds));
        Mailbox::post_all((0..6).map(|at| (mailboxes[at as usize % 2].clone(), number(at))));
        for (at, mailbox) in mailboxes.iter().enumerate() {
            assert_eq!(woken[at].load(Ordering::Relaxed), 1);
            let received = std::iter::from_fn(|| mailbox.take());
            let seconds = received.map(|mail| if let Mail::Drain(time) = mail { time.as_secs() } else { 99 });
            assert_eq!(seconds.collect::<Vec<_>>(), [0, 2, 4].map(|number| number + at as u64));
        }
    }

    #[test]
    fn in_service_runs_once_when_the_last_reference_is_dropped() {
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
