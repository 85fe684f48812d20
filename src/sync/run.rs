//! The sync thread: takes in what management calls submit and what the sources of data bring, one after the other.

use std::io;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, TryRecvError};

use crate::ingest::{Ingest, Job, ResyncReason};
use crate::telemetry::memory::GiveBack;

use super::poller::Poller;
use super::source::Source;

/// How often memory that nobody uses is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Runs until it is told to stop, or nobody is left who could submit. Calls `looked` once every source has been looked at
/// for the first time; a server may answer later.
///
/// # Errors
/// If it cannot wait for what comes next.
pub fn run(
    mut ingest: Ingest,
    mut sources: Vec<Box<dyn Source>>,
    mut poller: Poller,
    jobs: &Receiver<Job>,
    looked: impl FnOnce(),
) -> io::Result<()> {
    let mut looked = Some(looked);
    let mut memory = GiveBack::default();
    let mut next_sweep = Instant::now() + SWEEP_EVERY;
    sources.iter_mut().for_each(|source| source.start(&mut ingest));
    loop {
        if !do_jobs(jobs, &mut ingest, &mut sources) {
            sources.iter_mut().for_each(|source| source.stop());
            return Ok(());
        }
        for why in [ResyncReason::Operator, ResyncReason::UnknownSecret] {
            if ingest.following().take_resync_reason(why) {
                sources.iter_mut().for_each(|source| source.refresh(&ingest, why));
            }
        }
        sources.iter_mut().for_each(|source| source.receive(&mut ingest));
        let grace_due = ingest.expire();
        sources.iter_mut().for_each(|source| source.act(&mut ingest, grace_due));
        if let Some(looked) = looked.take() {
            looked();
        }
        if Instant::now() >= next_sweep {
            ingest.sweep();
            memory.look();
            next_sweep = Instant::now() + SWEEP_EVERY;
        }
        for token in poller.wait(time_left(&ingest, &sources, next_sweep))? {
            sources.iter_mut().for_each(|source| source.ready(token));
        }
    }
}

/// Does the jobs that wait; false if there will be no more.
fn do_jobs(jobs: &Receiver<Job>, ingest: &mut Ingest, sources: &mut [Box<dyn Source>]) -> bool {
    loop {
        match jobs.try_recv() {
            Ok(Job::Submission(submission)) => {
                ingest.load_submission(submission);
                sources.iter_mut().for_each(|source| source.submitted());
            }
            // It only wakes the thread: what is asked for is noted in `Following`.
            Ok(Job::Resync) => {}
            Ok(Job::Key(key)) => sources.iter_mut().for_each(|source| source.set_key(&key)),
            Ok(Job::Stop) | Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => return true,
        }
    }
}

/// How long nothing is due, if nothing happens.
fn time_left(ingest: &Ingest, sources: &[Box<dyn Source>], next_sweep: Instant) -> Duration {
    let sweep = next_sweep.saturating_duration_since(Instant::now());
    let expiry = ingest.next_expiry_ms().map(|expiry_ms| {
        let left_ms = u64::try_from(expiry_ms - ingest.now_ms()).unwrap_or(0);
        Duration::from_millis(left_ms + 1)
    });
    sources.iter().map(|source| source.wait()).chain(expiry).min().map_or(sweep, |wait| wait.min(sweep))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fanout::mailbox::Mailbox;
    use crate::ingest::{Following, Jobs, Submission};
    use crate::net::slab::Key;
    use crate::store::{Snapshot, WriterOptions};
    use crate::sync::file::DataFile;
    use crate::telemetry::metrics::Metrics;
    use arc_swap::ArcSwap;

    /// A dump with one environment of the project, and nothing in it.
    fn dump(project: &str) -> Vec<u8> {
        let environment = "\"envId\": \"7c689106-35df-4d9f-b4d8-cb3d7342e4c3\"";
        format!(
            r#"{{"eventType": "rp_full", "items": [{{{environment}, "featureFlags": [], "segments": [], "secrets":
                [{{"type": "server", "projectKey": "{project}", {environment}, "envKey": "prod",
                "value": "v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"}}]}}]}}"#
        )
        .into_bytes()
    }

    /// What went wrong: a call that was answered as soon as the ports were open was replaced by the file, which is older.
    #[test]
    fn the_file_of_the_start_does_not_replace_what_a_call_brought_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        std::fs::write(&path, dump("file")).unwrap();
        let file: Box<dyn Source> = Box::new(DataFile::new(path, Duration::from_millis(10), 10_000));
        let poller = Poller::new().unwrap();
        let (sender, queue) = crossbeam::channel::bounded(2);
        let jobs = Jobs::new(sender, Some(poller.waker()));
        let mailbox = Mailbox::new(poller.waker());
        assert!(jobs.send(Job::Submission(Submission {
            bytes: dump("call"),
            gzip: false,
            bytes_max: 10_000,
            mailbox: mailbox.clone(),
            key: Key::from_u64(0),
            permit: Box::new(()),
        })));
        let current = Arc::new(ArcSwap::from(Snapshot::empty()));
        let ingest = Ingest::new(
            WriterOptions::default(),
            Vec::new(),
            current.clone(),
            Following::new(),
            &Metrics::new(),
            || 0,
        );
        let (told, looked) = crossbeam::channel::bounded::<()>(1);
        let thread = std::thread::spawn(move || run(ingest, vec![file], poller, &queue, || drop(told)));
        // Both are over: the first look at the file, and the call.
        assert!(looked.recv().is_err());
        assert!(jobs.send(Job::Stop));
        thread.join().unwrap().unwrap();
        assert!(mailbox.take().is_some(), "the call was answered");
        assert_eq!(current.load().serves(), "call:prod");
    }
}
