//! A plain model of an agent: what it has, merged by the rules in a few lines, and a worker that shares it by Redis.
//!
//! Must not know how the worker does it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use featbit_agent::config::Settings;
use featbit_agent::model::stamp::Edition;
use featbit_agent::persist::redis::connect::Connector;
use featbit_agent::persist::redis::{
    Command, Data, Event, Options, Record, RedisStatus, Register, State, Worker,
};
use parking_lot::Mutex;

use crate::common::{SOON, wait_until};

/// Connections as the agent opens them.
fn connector(url: &str) -> Connector {
    let pairs = [
        ("Mode", "offline"),
        ("DataFile", "data.json"),
        ("Redis__ConnectionString", url),
        ("Redis__KeyPrefix", PREFIX),
        ("Redis__TimeoutSeconds", "2"),
    ];
    let settings = Settings::from_pairs(&pairs).unwrap_or_else(|errors| panic!("{errors}"));
    Connector::new(&settings.redis.expect("there is a connection string")).expect("no files to read")
}

/// All that an agent has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub edition: Edition,
    pub register: Register,
    pub records: BTreeMap<Box<str>, Record>,
    pub digests: BTreeSet<String>,
}

impl Content {
    /// The rules: the greater stamp, then a removal, then the greater bytes; of the same, the greater numbers.
    pub fn merge(&mut self, new: Record) {
        let order = |record: &Record| (record.stamp_ms, record.removed, record.body.clone());
        let old = self.records.entry(new.field.clone()).or_insert_with(|| new.clone());
        match order(old).cmp(&order(&new)) {
            std::cmp::Ordering::Less => *old = new,
            std::cmp::Ordering::Greater => {}
            std::cmp::Ordering::Equal => {
                old.place = old.place.max(new.place);
                old.version_ms = old.version_ms.max(new.version_ms);
                old.client_version_ms = old.client_version_ms.max(new.client_version_ms);
            }
        }
    }

    pub fn merge_register(&mut self, new: Register) {
        let order = |register: &Register| (register.stamp.clone(), register.body.clone());
        if order(&new) > order(&self.register) {
            self.register = new;
        }
    }

    fn apply(&mut self, partial: &mut Option<Self>, data: Data) {
        if data.edition < self.edition {
            return;
        }
        if data.edition == self.edition {
            *partial = None;
            data.records.into_iter().for_each(|record| self.merge(record));
            data.register.into_iter().for_each(|register| self.merge_register(register));
            self.digests.extend(data.digests);
            return;
        }
        assert!(data.is_complete, "a higher edition comes as a whole: {data:?}");
        if data.first {
            let (edition, digests) = (data.edition.clone(), self.digests.clone());
            *partial = Some(Self { edition, digests, ..Self::default() });
        }
        let new = partial.as_mut().expect("the first part came first");
        assert_eq!(new.edition, data.edition);
        new.records.extend(data.records.into_iter().map(|record| (record.field.clone(), record)));
        new.digests.extend(data.digests);
        new.register = data.register.unwrap_or_default();
        if data.last {
            *self = partial.take().expect("it is there");
        }
    }
}

/// An agent with its thread for events.
pub struct Agent {
    pub worker: Arc<Worker>,
    pub content: Arc<Mutex<Content>>,
    /// How often it was asked for everything.
    pub asked: Arc<AtomicUsize>,
    /// While set, it takes no events.
    pub is_slow: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The prefix of the tests' keys.
pub const PREFIX: &str = "test:{tag}:";

/// Options of a test: without polling, so that only announcements tell.
pub fn options(instance: &str) -> Options {
    Options {
        poll: Duration::from_secs(600),
        retry_first: Duration::from_millis(20),
        retry_last: Duration::from_millis(200),
        ..Options::new(PREFIX, instance)
    }
}

impl Agent {
    pub fn start(url: &str, instance: &str, content: Content) -> Self {
        Self::start_with(url, options(instance), content)
    }

    pub fn start_with(url: &str, options: Options, content: Content) -> Self {
        let worker = Worker::start(Arc::new(connector(url)), options, Box::new(|| ())).expect("threads");
        let mut agent = Self {
            worker: Arc::new(worker),
            content: Arc::new(Mutex::new(content)),
            asked: Arc::default(),
            is_slow: Arc::default(),
            ends: Arc::default(),
            thread: None,
        };
        let (worker, content) = (Arc::clone(&agent.worker), Arc::clone(&agent.content));
        let (asked, ends, is_slow) =
            (Arc::clone(&agent.asked), Arc::clone(&agent.ends), Arc::clone(&agent.is_slow));
        agent.thread = Some(std::thread::spawn(move || {
            let mut partial = None;
            while !ends.load(Ordering::Relaxed) {
                if is_slow.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                match worker.events().recv_timeout(Duration::from_millis(20)) {
                    Ok(Event::Data(data)) => content.lock().apply(&mut partial, data),
                    Ok(Event::NeedFullState) => {
                        asked.fetch_add(1, Ordering::Relaxed);
                        send_full_state(&worker, &content.lock());
                    }
                    Ok(Event::Status(_) | Event::Checked(_)) | Err(_) => {}
                }
            }
        }));
        agent
    }

    /// An own change.
    pub fn write(&self, records: Vec<Record>) {
        let mut content = self.content.lock();
        records.iter().cloned().for_each(|record| content.merge(record));
        let edition = content.edition.clone();
        self.worker.send(Command::Write { edition, register: None, records, digest: None });
    }

    /// An own change of the register.
    pub fn write_register(&self, register: Register) {
        let mut content = self.content.lock();
        content.merge_register(register.clone());
        let edition = content.edition.clone();
        let register = Some(register);
        self.worker.send(Command::Write { edition, register, records: Vec::new(), digest: None });
    }

    /// A file that was loaded.
    pub fn write_digest(&self, digest: &str) {
        let mut content = self.content.lock();
        content.digests.insert(digest.to_owned());
        let edition = content.edition.clone();
        let digest = Some(digest.to_owned());
        self.worker.send(Command::Write { edition, register: None, records: Vec::new(), digest });
    }

    /// Begins a new edition above everything that it knows.
    pub fn open(&self, opened_at_ms: i64, instance: &str, records: &[Record]) {
        let mut content = self.content.lock();
        let edition = Edition { opened_at_ms, instance: instance.to_owned() };
        let records = records.iter().map(|record| (record.field.clone(), record.clone())).collect();
        let register = Register { stamp: (opened_at_ms, instance.to_owned()), ..Register::default() };
        *content = Content { edition, register, records, digests: content.digests.clone() };
        send_full_state(&self.worker, &content);
    }

    pub fn content(&self) -> Content {
        self.content.lock().clone()
    }

    pub fn status(&self) -> RedisStatus {
        self.worker.status()
    }

    pub fn wait_state(&self, state: State) {
        wait_until(&format!("{state:?}, not {:?}", self.status()), SOON, || {
            (self.status().state == state).then_some(())
        });
    }

    /// Waits until this condition on the status is met.
    pub fn wait_status(&self, what: &str, condition: impl Fn(&RedisStatus) -> bool) {
        wait_until(what, SOON, || condition(&self.status()).then_some(()));
    }

    /// Waits until it is connected and has been asked for everything.
    pub fn wait_ready(&self) {
        wait_until("it was asked for everything", SOON, || {
            (self.asked.load(Ordering::Relaxed) > 0).then_some(())
        });
        self.wait_state(State::Connected);
    }

    /// Waits until it has a record with this body.
    pub fn wait_body(&self, field: &str, body: &str) {
        wait_until(&format!("{field} is {body}"), SOON, || {
            let content = self.content.lock();
            (&*content.records.get(field)?.body == body.as_bytes()).then_some(())
        });
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.worker.stop(Duration::ZERO);
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the thread of the agent has failed");
        }
    }
}

fn send_full_state(worker: &Worker, content: &Content) {
    worker.send(Command::FullState {
        edition: content.edition.clone(),
        register: content.register.clone(),
        records: content.records.values().cloned().collect(),
        digests: content.digests.iter().cloned().collect(),
    });
}

/// A record of one environment.
pub fn record(field: &str, stamp_ms: i64, body: &str) -> Record {
    Record {
        field: field.into(),
        stamp_ms,
        removed: false,
        place: 0,
        version_ms: stamp_ms,
        client_version_ms: stamp_ms,
        body: body.as_bytes().into(),
    }
}

/// What is in Redis.
pub fn stored(url: &str, prefix: &str) -> BTreeMap<Box<str>, Record> {
    stored_and_indexed(url, prefix).expect("Redis answers").0
}

/// What is in Redis, and how many records have a place in the index; `None` if it does not answer.
fn stored_and_indexed(url: &str, prefix: &str) -> Option<(BTreeMap<Box<str>, Record>, usize)> {
    let mut connection = connector(url).connect().ok()?;
    let script = "return {redis.call('HGETALL', KEYS[1]), redis.call('ZCARD', KEYS[2])}";
    let mut both = redis::cmd("EVAL");
    both.arg(script).arg(2).arg(format!("{prefix}items")).arg(format!("{prefix}index"));
    let (values, indexed): (Vec<(String, Vec<u8>)>, usize) = both.query(&mut connection).ok()?;
    let parsed = values.iter().map(|(field, value)| Record::parse(field, value).expect("a record"));
    Some((parsed.map(|record| (record.field.clone(), record)).collect(), indexed))
}

/// Waits until all agents and Redis have the same, and returns it.
pub fn wait_converged(url: &str, prefix: &str, agents: &[&Agent]) -> Content {
    let mut seen = String::new();
    let same = crate::common::poll_until(SOON, || {
        let contents: Vec<_> = agents.iter().map(|agent| agent.content()).collect();
        let (stored, indexed) = stored_and_indexed(url, prefix)?;
        let first = contents.first()?;
        let same = contents.iter().all(|content| content == first) && stored == first.records;
        let same = same && indexed == stored.len();
        if !same {
            let sizes: Vec<_> = contents.iter().map(|content| content.records.len()).collect();
            let statuses: Vec<_> = agents.iter().map(|agent| agent.status()).collect();
            seen = format!("{} stored, {sizes:?} at the agents, {statuses:#?}", stored.len());
        }
        same.then(|| first.clone())
    });
    same.unwrap_or_else(|| panic!("waited {SOON:?} in vain: all are alike; {seen}"))
}
