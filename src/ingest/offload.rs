//! Heavy encoding that reactors have done elsewhere: compressing full payloads, putting dumps together.

use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam::channel::{Sender, bounded};

use crate::fanout::mailbox::{Mail, Mailbox, Reply};
use crate::net::slab::Key;
use crate::store::{Environment, Snapshot};

/// Tasks that may wait.
const QUEUE: usize = 64;

#[derive(Debug)]
pub(super) enum Task {
    Compress(Arc<Environment>),
    Backup { snapshot: Arc<Snapshot>, mailbox: Mailbox, key: Key },
}

/// The way to the thread that does it.
#[derive(Clone, Debug)]
pub struct Offload(Sender<Task>);

impl Offload {
    /// Starts the thread; it ends when the last handle is gone.
    pub fn start() -> io::Result<Self> {
        let (sender, tasks) = bounded(QUEUE);
        thread::Builder::new().name("encode".into()).spawn(move || {
            for task in tasks {
                run(task);
            }
        })?;
        Ok(Self(sender))
    }

    /// Queues a task; false if too many wait.
    pub(super) fn give(&self, task: Task) -> bool {
        self.0.try_send(task).is_ok()
    }
}

fn run(task: Task) {
    match task {
        Task::Compress(environment) => environment.build_gzip(),
        Task::Backup { snapshot, mailbox, key } => {
            let reply = Reply { status: 200, body: snapshot.backup() };
            mailbox.post(Mail::Reply { key, reply });
        }
    }
}
