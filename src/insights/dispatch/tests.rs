//! What becomes of events by the mode of their environment at the time of sending, without threads or sockets.

use std::time::Duration;

use crossbeam::channel::Receiver;
use tempfile::TempDir;

use super::*;
use crate::config::Settings;
use crate::insights::events::Events;
use crate::insights::known_flags::tests::snapshot;
use crate::insights::local::LocalOptions;
use crate::insights::memory_queue::{MemoryQueue, MemoryQueueOptions};
use crate::insights::policy::Policy;
use crate::insights::pseudonym::{PseudonymKey, Pseudonymizer};
use crate::insights::sender::{Fault, Outcome};
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;

/// The environment of the events, called `p:e`.
pub(in crate::insights) const ID: &str = "00000000-0000-0000-0000-000000000001";
const LIMITS: PeekLimits = PeekLimits { events: 100, bytes: 100_000 };
const NOW: Now = Now { wall_ms: 1_000, steady_ms: 0 };

pub(in crate::insights) struct Bench {
    pub dispatch: Dispatch,
    pub intake: Intake,
    pub snapshot: Arc<Snapshot>,
    jobs: Receiver<Job>,
    folder: TempDir,
}

/// An event of this user.
pub(in crate::insights) fn event(user: &str) -> String {
    format!(r#"{{"user":{{"keyId":"{user}","name":"N-{user}"}}}}"#)
}

/// Nothing may leave of it: it has no key.
const WITHHELD: &str = r#"{"user":{"keyId":" "}}"#;

fn key() -> StreamKey {
    StreamKey { environment: EnvironmentId::parse(ID).unwrap(), kind: SecretKind::Server }
}

/// A bench with these settings, and these events, raw, in its queue.
pub(in crate::insights) fn bench(settings: &[(&str, &str)], texts: &[&str]) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let common = [
        ("Mode", "offline"),
        ("ApiKey", "k"),
        ("EventUri", "http://els"),
        ("Events__Directory", directory),
        ("Events__PseudonymKey", "0123456789abcdefghijklmnopqrstuv"),
    ];
    let events = Settings::from_pairs(&[&common[..], settings].concat()).unwrap().events;
    let mut queue = MemoryQueue::new(MemoryQueueOptions { bytes_max: 1 << 20, age_max_ms: 1_000_000 });
    for text in texts {
        let mut builder = Events::builder(0);
        builder.add(text.as_bytes());
        let secret = Secret::build([1; 16], key().environment);
        let kind = SecretKind::Server;
        let environment = key().environment;
        let events = builder.build();
        queue.append(&Batch { environment, secret, kind, form: Form::Raw, received_ms: 0, events }).unwrap();
    }
    let (sender, jobs) = Sender::pretend(1);
    let pseudonym_key = PseudonymKey::from_text("0123456789abcdefghijklmnopqrstuv").unwrap();
    let dispatch = Dispatch {
        queue: Box::new(queue),
        deliveries: Deliveries::new(LIMITS, 1_000),
        sender: Some(sender),
        log: SendLog::new("els".into()),
        local: Some(LocalFiles::open(folder.path(), LocalOptions::default(), 0).unwrap()),
        dead_letters: Some(DeadLetters::open(folder.path(), 1 << 20).unwrap()),
        counts: Arc::default(),
        board: Arc::new(Board::dropping(String::new(), events.mode)),
        flush: Duration::ZERO,
        max: LIMITS,
        under_way: HashMap::new(),
        blocked: HashMap::new(),
        disk_log: RateLimit::new(1_000),
        local_removed: 0,
    };
    let intake = Intake {
        policy: Arc::new(Policy::new(&events)),
        pseudonymizer: Some(Arc::new(Pseudonymizer::new(pseudonym_key, Vec::new()))),
    };
    Bench { dispatch, intake, snapshot: snapshot(&[]), jobs, folder }
}

impl Bench {
    fn begin(&mut self, now: Now) {
        self.dispatch.begin_requests(&self.intake, &self.snapshot, now, false);
    }

    /// The text of the next request; `None` if none began.
    fn sent(&self) -> Option<String> {
        let job = self.jobs.try_recv().ok()?;
        let texts = job.portion.batches.iter().map(|batch| batch.events.text().to_vec());
        Some(String::from_utf8(texts.collect::<Vec<_>>().join(&b","[..])).unwrap())
    }

    fn end(&mut self, outcome: Outcome, now: Now) {
        self.dispatch.sender.as_ref().unwrap().pretend_done();
        let portion = &self.dispatch.under_way[&key()];
        let done = JobDone {
            stream: key(),
            events: portion.events,
            bytes: portion.bytes,
            outcome,
            requests: 1,
            bytes_sent: 1,
            body_bytes: 1,
            gzip_refused: false,
            took: Duration::ZERO,
        };
        let snapshot = Arc::clone(&self.snapshot);
        self.dispatch.ended(&done, &snapshot, now, 0);
    }

    fn count(&self, result: EventResult) -> u64 {
        self.dispatch.counts.of(key().environment).of(result)
    }

    fn waiting(&self) -> u64 {
        self.dispatch.queue.status().events
    }

    /// What is in files of this name's end.
    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn local(&self) -> String {
        let folders = std::fs::read_dir(self.folder.path().join("local")).unwrap();
        let folders = folders.filter_map(|entry| std::fs::read_dir(entry.unwrap().path()).ok());
        folders.flatten().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    }
}

#[test]
fn raw_events_of_a_mode_before_are_sent_without_what_identifies_a_user() {
    let texts = [event("annabel"), WITHHELD.to_owned(), event("bertram")];
    let mut bench = bench(&[("Events__Mode", "pseudonymize")], &texts.each_ref().map(|text| text.as_str()));
    bench.begin(NOW);
    let sent = bench.sent().unwrap();
    assert_eq!(sent.matches("keyId").count(), 2);
    assert!(!sent.contains("annabel") && !sent.contains("bertram"), "{sent}");
    assert_eq!((bench.waiting(), bench.count(EventResult::Withheld)), (3, 0), "nothing is decided yet");
    // A repetition brings the same.
    bench.end(Outcome::Again(Fault::Status { status: 503, retry_after_ms: Some(0) }), NOW);
    let later = Now { steady_ms: 100_000, ..NOW };
    bench.begin(later);
    assert_eq!(bench.sent().unwrap(), sent);
    bench.end(Outcome::Taken, later);
    assert_eq!(
        (bench.count(EventResult::Sent), bench.count(EventResult::Withheld), bench.waiting()),
        (2, 1, 0)
    );
    assert_eq!(bench.local(), "");
}

#[test]
fn events_of_which_nothing_may_leave_are_finished_without_a_request() {
    let mut bench = bench(&[("Events__Mode", "pseudonymize")], &[WITHHELD, WITHHELD]);
    bench.begin(NOW);
    assert_eq!(bench.sent(), None);
    assert_eq!((bench.count(EventResult::Withheld), bench.waiting()), (2, 0));
}

#[test]
fn what_the_server_rejects_is_in_the_dead_letters_as_it_was_sent() {
    let mut bench = bench(&[("Events__Mode", "pseudonymize")], &[&event("annabel")]);
    bench.begin(NOW);
    bench.sent().unwrap();
    bench.end(Outcome::Rejected { status: 400 }, NOW);
    let letters = bench.file("dead-letters.ndjson");
    assert_eq!(letters.lines().count(), 1);
    assert!(letters.contains("\"status\":400") && !letters.contains("annabel"), "{letters}");
    assert_eq!((bench.count(EventResult::Rejected), bench.waiting()), (1, 0));
}

#[test]
fn events_of_a_mode_that_does_not_send_any_more_are_kept_or_dropped() {
    let texts = [event("annabel"), event("bertram")];
    let texts = texts.each_ref().map(|text| text.as_str());
    for (mode, result, lines) in [("local", EventResult::Kept, 2), ("drop", EventResult::Dropped, 0)] {
        let mut bench = bench(&[("Events__Overrides", &format!("P:E={mode}"))], &texts);
        bench.begin(NOW);
        assert_eq!((bench.sent(), bench.count(result), bench.waiting()), (None, 2, 0), "{mode}");
        assert_eq!(bench.local().lines().count(), lines, "{mode}");
    }
}

#[test]
fn without_local_files_nothing_counts_as_kept() {
    let mut bench = bench(&[("Events__Mode", "local")], &[&event("annabel")]);
    bench.dispatch.local = None;
    bench.begin(NOW);
    assert_eq!((bench.count(EventResult::Kept), bench.waiting()), (0, 1));
    assert!(bench.dispatch.next_ms(NOW, false).unwrap() > NOW.steady_ms, "not at once again");
}

#[test]
fn events_of_an_environment_without_a_name_wait_as_long_as_names_decide() {
    let mut bench = bench(&[("Events__Overrides", "p:e=local")], &[&event("annabel")]);
    let data = std::mem::replace(&mut bench.snapshot, Snapshot::empty());
    for round in 0..3 {
        let now = Now { steady_ms: round * 10_000, ..NOW };
        bench.begin(now);
        assert_eq!((bench.sent(), bench.waiting()), (None, 1));
        assert!(bench.dispatch.next_ms(now, true).unwrap() > now.steady_ms, "no busy loop");
    }
    bench.snapshot = data;
    bench.begin(Now { steady_ms: 40_000, ..NOW });
    assert_eq!((bench.sent(), bench.count(EventResult::Kept), bench.waiting()), (None, 1, 0));
}
