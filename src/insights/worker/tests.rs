//! Groups of calls: one sync for all of them, and replies that are true.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam::channel::unbounded;

use super::*;
use crate::insights::counts::Counts;
use crate::insights::dispatch::tests::{ID, bench, event};
use crate::insights::events::Batch;
use crate::insights::handle::{Call, Handle, Shared};
use crate::insights::memory_queue::{MemoryQueue, MemoryQueueOptions};
use crate::insights::queue::{Expired, PeekLimits, Portion, Queue, QueueStatus, StreamKey, StreamStatus};
use crate::model::secret::SecretKind;
use crate::protocol::secret::Secret;

#[derive(Default)]
struct Switches {
    is_broken: AtomicBool,
    syncs: AtomicUsize,
}

/// Gives out only what was synced, and syncs only while its disk works.
struct Disk {
    synced: MemoryQueue,
    pending: Vec<Batch>,
    switches: Arc<Switches>,
}

impl Queue for Disk {
    fn append(&mut self, batch: &Batch) -> Result<(), Full> {
        self.pending.push(batch.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Full> {
        let pending = std::mem::take(&mut self.pending);
        self.switches.syncs.fetch_add(usize::from(!pending.is_empty()), Ordering::SeqCst);
        if !pending.is_empty() && self.switches.is_broken.load(Ordering::SeqCst) {
            return Err(Full::Disk(io::ErrorKind::StorageFull.into()));
        }
        pending.iter().try_for_each(|batch| self.synced.append(batch))
    }

    fn streams(&self) -> Vec<StreamStatus> {
        self.synced.streams()
    }

    fn peek(&mut self, stream: StreamKey, limits: PeekLimits) -> io::Result<Option<Portion>> {
        self.synced.peek(stream, limits)
    }

    fn confirm(&mut self, stream: StreamKey, events: usize) {
        self.synced.confirm(stream, events);
    }

    fn expire(&mut self, now_ms: i64) -> Vec<Expired> {
        self.synced.expire(now_ms)
    }

    fn status(&self) -> QueueStatus {
        self.synced.status()
    }
}

fn worker(switches: &Arc<Switches>) -> (Worker, Handle, Arc<Counts>) {
    let bench = bench(&[], &[]);
    let synced = MemoryQueue::new(MemoryQueueOptions { bytes_max: 1 << 20, age_max_ms: i64::MAX });
    let queue = Disk { synced, pending: Vec::new(), switches: Arc::clone(switches) };
    let (counts, board) = (Arc::clone(&bench.dispatch.counts), Arc::clone(&bench.dispatch.board));
    let shared = Shared { policy: Arc::clone(&bench.intake.policy), counts: Arc::clone(&counts), board };
    let (calls, messages) = unbounded();
    let worker = Worker {
        intake: bench.intake,
        dispatch: Dispatch { queue: Box::new(queue), ..bench.dispatch },
        snapshot: Arc::new(ArcSwap::new(bench.snapshot)),
        wall_ms: || 1_000,
        messages,
        done: never(),
        stop: never(),
        began: Instant::now(),
        random: random(),
        unused: Vec::new(),
        looked_at: None,
        refused_log: refused_log(),
    };
    (worker, Handle::new(shared, calls, 1 << 20), counts)
}

/// Hands a call over, whose reply comes to this mailbox under this number.
fn submit(handle: &Handle, number: u64, body: &str, mailbox: &Mailbox) {
    let environment = EnvironmentId::parse(ID).unwrap();
    let call = Call {
        environment,
        secret: Secret::build([1; 16], environment),
        kind: SecretKind::Server,
        received_ms: 0,
        body: body.into(),
        gzip: false,
        bytes_max: 1 << 20,
        mailbox: mailbox.clone(),
        key: Key::from_u64(number),
    };
    handle.submit(call).unwrap();
}

struct Nobody;

impl crate::fanout::mailbox::Wake for Nobody {
    fn wake(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes all calls that wait as the thread would, and returns the replies by number.
fn taken(worker: &mut Worker, mailbox: &Mailbox) -> Vec<(u64, String)> {
    while let Ok(Message::Call(first)) = worker.messages.try_recv() {
        assert!(!worker.take_group(first));
    }
    let replies = std::iter::from_fn(|| mailbox.take()).map(|mail| match mail {
        Mail::Reply { key, reply } => {
            (key.to_u64(), format!("{reply:?}").split(['(', ' ']).next().unwrap().to_owned())
        }
        other => panic!("{other:?}"),
    });
    let mut replies: Vec<_> = replies.collect();
    replies.sort_unstable();
    replies
}

#[test]
fn a_group_of_calls_shares_one_sync_and_its_outcome() {
    let switches = Arc::new(Switches::default());
    let (mut worker, handle, counts) = worker(&switches);
    let mailbox = Mailbox::new(Nobody);
    let bodies = [format!("[{}]", event("ann")), "[".into(), "[]".into(), format!("[{},7]", event("bob"))];
    let counts = counts.of(EnvironmentId::parse(ID).unwrap());
    let numbers = || (counts.of(EventResult::Accepted), counts.of(EventResult::Invalid));
    switches.is_broken.store(true, Ordering::SeqCst);
    for (broken, expected, counted) in [
        (true, ["Busy", "Invalid", "Accepted", "Busy"], (0, 0)),
        (false, ["Accepted", "Invalid", "Accepted", "Accepted"], (3, 1)),
    ] {
        switches.is_broken.store(broken, Ordering::SeqCst);
        let before = switches.syncs.load(Ordering::SeqCst);
        for (number, body) in (0..).zip(&bodies) {
            submit(&handle, number, body, &mailbox);
        }
        let expected: Vec<_> = (0..).zip(expected.map(str::to_owned)).collect();
        assert_eq!(taken(&mut worker, &mailbox), expected);
        assert_eq!(numbers(), counted, "only what was answered with 200 counts");
        assert_eq!(switches.syncs.load(Ordering::SeqCst), before + 1);
    }
    let waiting = worker.dispatch.queue.streams();
    assert_eq!(waiting.iter().map(|stream| stream.events).sum::<u64>(), 2, "nothing twice");
}

#[test]
fn what_was_only_in_memory_at_the_end_counts_as_lost() {
    let switches = Arc::new(Switches::default());
    let (mut worker, handle, counts) = worker(&switches);
    let mailbox = Mailbox::new(Nobody);
    submit(&handle, 1, &format!("[{},{}]", event("ann"), event("bob")), &mailbox);
    taken(&mut worker, &mailbox);
    let left = worker.finish();
    assert_eq!((left.lost, left.on_disk), (2, 0));
    assert_eq!(counts.of(EnvironmentId::parse(ID).unwrap()).of(EventResult::Lost), 2);
}
