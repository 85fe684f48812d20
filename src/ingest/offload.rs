//! A thread for encoding that would block a reactor for too long: compressing full payloads, building dumps and full
//! syncs.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam::channel::{Sender, bounded};

use crate::fanout::mailbox::{Mail, Mailbox, RelayFull, Reply};
use crate::net::slab::Key;
use crate::payload::Payload;
use crate::protocol::dump;
use crate::store::{Environment, Scope, Snapshot};

/// Most tasks that may wait.
const QUEUE: usize = 64;

#[derive(Debug)]
pub(super) enum Task {
    Compress(Arc<Environment>),
    Backup { snapshot: Arc<Snapshot>, canonical: bool, mailbox: Mailbox, key: Key },
    Relay { snapshot: Arc<Snapshot>, scope: Scope, certain: bool, mailbox: Mailbox, key: Key },
}

/// The full syncs that were built last: after a removal, every relay agent needs the same one.
#[derive(Default)]
struct Fulls(VecDeque<(u64, Scope, bool, Payload)>);

/// Most full syncs that are kept.
const FULLS_MAX: usize = 8;

impl Fulls {
    fn get(&mut self, snapshot: &Snapshot, scope: Scope, certain: bool) -> Payload {
        let sequence = snapshot.sequence();
        // Full syncs of older snapshots are not needed again.
        self.0.retain(|(of, ..)| *of == sequence);
        let same = self.0.iter().find(|(_, other, is, _)| (other, *is) == (&scope, certain));
        if let Some((.., payload)) = same {
            return payload.clone();
        }
        let payload = snapshot.relay_full(&scope, certain);
        if self.0.len() >= FULLS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((sequence, scope, certain, payload.clone()));
        payload
    }
}

/// A handle that sends tasks to the thread.
#[derive(Clone, Debug)]
pub struct Offload(Sender<Task>);

impl Offload {
    /// Starts the thread; it ends when the last handle is dropped.
    pub fn start() -> io::Result<Self> {
        let (sender, tasks) = bounded(QUEUE);
        thread::Builder::new().name("encode".into()).spawn(move || {
            let mut fulls = Fulls::default();
            for task in tasks {
                run(task, &mut fulls);
            }
        })?;
        Ok(Self(sender))
    }

    /// Queues a task; false if too many wait.
    pub(super) fn queue(&self, task: Task) -> bool {
        self.0.try_send(task).is_ok()
    }
}

fn run(task: Task, fulls: &mut Fulls) {
    match task {
        Task::Compress(environment) => environment.build_gzip(),
        Task::Backup { snapshot, canonical, mailbox, key } => {
            let dump = snapshot.backup();
            let reply = match canonical.then(|| dump::canonical(dump.to_vec())) {
                None => Reply::Done(dump),
                Some(Ok(canonical)) => Reply::Done(Payload::private(canonical)),
                Some(Err(error)) => Reply::Invalid(error.to_string()),
            };
            mailbox.post(Mail::Reply { key, reply });
        }
        Task::Relay { snapshot, scope, certain, mailbox, key } => {
            let payload = fulls.get(&snapshot, scope, certain);
            let full = RelayFull { payload, sequence: snapshot.sequence() };
            mailbox.post(Mail::RelayFull { key, full });
        }
    }
}
