//! The thread of usage events from its start to its end: calls, replies, and that it sleeps when there is nothing to do.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::client::ProxyEnvironment;
use crate::config::Settings;
use crate::fanout::mailbox::{Mail, Mailbox, Reply, Wake};
use crate::insights::counts::EventResult;
use crate::insights::handle::{Busy, Call};
use crate::insights::known_flags::tests::snapshot;
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::net::slab::Key;
use crate::protocol::secret::Secret;

const SOON: Duration = Duration::from_secs(30);

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) -> io::Result<()> {
        Ok(())
    }
}

fn id() -> EnvironmentId {
    EnvironmentId::parse("00000000-0000-0000-0000-000000000001").unwrap()
}

/// Looks until `condition` gives something.
fn wait<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        match condition() {
            Some(found) => return found,
            None => assert!(Instant::now() < end, "waited in vain"),
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn started(pairs: &[(&str, &str)], data: Arc<Snapshot>, wall_ms: fn() -> i64) -> Running {
    let settings = Settings::from_pairs(&[&[("Mode", "offline"), ("ApiKey", "k")], pairs].concat()).unwrap();
    let dialer = Dialer::new(settings.dial.clone(), &ProxyEnvironment::from_variables([])).unwrap();
    start(Needs {
        events: &settings.events,
        dialer: settings.events.sends().then_some(dialer),
        snapshot: Arc::new(ArcSwap::new(data)),
        instance: "agent7".into(),
        wall_ms,
    })
    .unwrap()
}

/// A call with this body, and where its reply comes.
fn submit(running: &Running, body: &str) -> Result<Mailbox, Busy> {
    let mailbox = Mailbox::new(Nobody);
    let call = Call {
        environment: id(),
        secret: Secret::build([1; 16], id()),
        kind: SecretKind::Server,
        received_ms: 0,
        body: body.into(),
        gzip: false,
        bytes_max: 1 << 20,
        mailbox: mailbox.clone(),
        key: Key::from_u64(1),
    };
    running.handle.submit(call).map(|()| mailbox)
}

fn reply(mailbox: &Mailbox) -> Reply {
    match wait(|| mailbox.take()) {
        Mail::Reply { reply, .. } => reply,
        other => panic!("{other:?}"),
    }
}

fn numbers(running: &Running, result: EventResult) -> u64 {
    let numbers = running.handle.numbers(0, |id| id.to_string());
    let all = numbers.environments.iter().flat_map(|one| one.results.clone());
    all.filter(|(name, _)| *name == result.as_str()).map(|(_, count)| count).sum()
}

const EVENT: &str = r#"[{"user":{"keyId":"ann"}}]"#;

#[test]
fn without_threads_that_send_the_thread_sleeps_between_calls() {
    // It looked at its channel again and again, because the other end of that was gone, and took a whole core.
    static THREAD: AtomicU64 = AtomicU64::new(0);
    let folder = tempfile::tempdir().unwrap();
    let pairs = [("Events__Mode", "local"), ("Events__Directory", folder.path().to_str().unwrap())];
    let running = started(&pairs, snapshot(&[]), || noting(&THREAD));
    assert!(matches!(reply(&submit(&running, EVENT).unwrap()), Reply::Accepted));
    assert_eq!(numbers(&running, EventResult::Kept), 1);
    sleeps(&THREAD);
    running.join();
}

/// Notes the thread that asks for the time, and tells one.
fn noting(thread: &AtomicU64) -> i64 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    let number = link.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    thread.store(number.unwrap(), Ordering::SeqCst);
    1_000
}

/// Waits until this thread sleeps whenever it is looked at. One that only waits for a processor does not sleep.
fn sleeps(number: &AtomicU64) {
    let path = format!("/proc/self/task/{}/stat", number.load(Ordering::SeqCst));
    wait(|| {
        let sleeps = |_| {
            thread::sleep(Duration::from_millis(1));
            std::fs::read_to_string(&path).unwrap().contains(") S ")
        };
        (0..20).all(sleeps).then_some(())
    });
}

#[test]
fn after_the_deadline_it_waits_for_the_last_call_without_looking_again_and_again() {
    static THREAD: AtomicU64 = AtomicU64::new(0);
    // Nothing listens there.
    let pairs = [("EventUri", "http://127.0.0.1:1"), ("Events__FlushSeconds", "600")];
    let mut running = started(&pairs, snapshot(&[]), || noting(&THREAD));
    running.begin_to_stop(Instant::now());
    assert!(matches!(reply(&submit(&running, EVENT).unwrap()), Reply::Accepted), "calls may still come");
    sleeps(&THREAD);
    let handle = running.handle.clone();
    running.join();
    let numbers = handle.numbers(0, |id| id.to_string());
    let results = &numbers.environments[0].results;
    assert!(results.contains(&("accepted", 1)) && results.contains(&("lost", 1)), "{results:?}");
}

#[test]
fn a_call_is_refused_while_the_mode_of_its_environment_is_not_known() {
    let pairs = [("EventUri", "http://127.0.0.1:1"), ("Events__Overrides", "p:e=drop")];
    let running = started(&pairs, Snapshot::empty(), || 1_000);
    assert!(matches!(reply(&submit(&running, EVENT).unwrap()), Reply::Busy(_)));
    assert_eq!(numbers(&running, EventResult::Accepted), 0);
    assert!(matches!(reply(&submit(&running, "[").unwrap()), Reply::Invalid(_)));
    running.join();
}

#[test]
fn events_that_waited_on_the_disk_are_dropped_when_the_mode_is_drop() {
    let folder = tempfile::tempdir().unwrap();
    let directory = ("Events__Directory", folder.path().to_str().unwrap());
    let uri = ("EventUri", "http://127.0.0.1:1");
    let running = started(&[uri, directory], snapshot(&[]), || 1_000);
    assert!(matches!(reply(&submit(&running, EVENT).unwrap()), Reply::Accepted));
    running.join();
    let running = started(&[("Events__Mode", "drop"), directory], snapshot(&[]), || 1_000_000);
    wait(|| (numbers(&running, EventResult::Dropped) == 1).then_some(()));
    running.join();
    let running = started(&[uri, directory], snapshot(&[]), || 1_000_000);
    assert_eq!(running.handle.board().noted().queue.events, 0);
    running.join();
}
