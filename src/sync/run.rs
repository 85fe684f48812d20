//! The loop of the sync thread: handles submitted datasets and the data of all sources, one after the other.

use std::io;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, TryRecvError};

use crate::ingest::{Ingest, Job, ResyncReason};
use crate::telemetry::memory::GiveBack;

use super::poller::Poller;
use super::source::Source;

/// How long the end of the agent waits for each sink of changes.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// How often unused memory is given back.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Runs until a stop job comes, or no sender of jobs is left. Calls `first_turn_done` once after every source had its first
/// turn; an upstream server may answer later than that.
///
/// # Errors
/// If the poller fails.
pub fn run(
    mut ingest: Ingest,
    mut sources: Vec<Box<dyn Source>>,
    mut poller: Poller,
    jobs: &Receiver<Job>,
    first_turn_done: impl FnOnce(),
) -> io::Result<()> {
    let mut first_turn_done = Some(first_turn_done);
    let mut memory = GiveBack::default();
    let mut next_sweep = Instant::now() + SWEEP_EVERY;
    sources.iter_mut().for_each(|source| source.start(&mut ingest));
    ingest.sources_started();
    loop {
        if !handle_jobs(jobs, &mut ingest, &mut sources) {
            sources.iter_mut().for_each(|source| source.stop());
            ingest.stop_sinks(STOP_WITHIN);
            return Ok(());
        }
        for why in [ResyncReason::Operator, ResyncReason::UnknownSecret] {
            if ingest.following().take_resync_reason(why) {
                sources.iter_mut().for_each(|source| source.refresh(&ingest, why));
            }
        }
        sources.iter_mut().for_each(|source| source.receive(&mut ingest));
        if ingest.take_wants_full_sync() {
            sources.iter_mut().for_each(|source| source.submitted());
        }
        let grace_due = ingest.expire();
        sources.iter_mut().for_each(|source| source.act(&mut ingest, grace_due));
        ingest.tend_sinks();
        if let Some(first_turn_done) = first_turn_done.take() {
            first_turn_done();
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

/// Handles all waiting jobs. Returns false if the thread has to end.
fn handle_jobs(jobs: &Receiver<Job>, ingest: &mut Ingest, sources: &mut [Box<dyn Source>]) -> bool {
    loop {
        match jobs.try_recv() {
            Ok(Job::Submission(submission)) => {
                ingest.load_submission(submission);
                sources.iter_mut().for_each(|source| source.submitted());
            }
            // Only wakes the thread: the request itself is in `Following`.
            Ok(Job::Resync) => {}
            Ok(Job::Key(key)) => {
                ingest.set_key(&key);
                sources.iter_mut().for_each(|source| source.set_key(&key));
            }
            Ok(Job::Stop) | Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => return true,
        }
    }
}

/// The time until something is due.
fn time_left(ingest: &Ingest, sources: &[Box<dyn Source>], next_sweep: Instant) -> Duration {
    let sweep = next_sweep.saturating_duration_since(Instant::now());
    let expiry = ingest.next_expiry_ms().map(|expiry_ms| {
        let left_ms = u64::try_from(expiry_ms - ingest.now_ms()).unwrap_or(0);
        Duration::from_millis(left_ms + 1)
    });
    let answers = ingest.next_sink_timeout().map(|until| until.saturating_duration_since(Instant::now()));
    let others = expiry.into_iter().chain(answers);
    sources.iter().map(|source| source.wait()).chain(others).min().map_or(sweep, |wait| wait.min(sweep))
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

    /// What went wrong: a dataset submitted as soon as the ports were open was replaced by the older file.
    #[test]
    fn the_first_read_of_the_file_does_not_replace_a_dataset_submitted_meanwhile() {
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
        let (until_done, done) = crossbeam::channel::bounded::<()>(1);
        let thread = std::thread::spawn(move || run(ingest, vec![file], poller, &queue, || drop(until_done)));
        // Now the file was read for the first time, and the submission was handled.
        assert!(done.recv().is_err());
        assert!(jobs.send(Job::Stop));
        thread.join().unwrap().unwrap();
        assert!(mailbox.take().is_some(), "the call was answered");
        assert_eq!(current.load().serves(), "call:prod");
    }
}
