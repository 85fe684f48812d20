//! The course of one simulation: what happens is drawn from the seed, and at rest everything is compared.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use featbit_agent::config::{self, Settings, Streaming};
use featbit_agent::fanout::mailbox::{InService, Mail};
use featbit_agent::ingest::{Handle, Offload};
use featbit_agent::model::parse::DatasetText;
use featbit_agent::model::secret::SecretKind;
use featbit_agent::net::io::Limits;
use featbit_agent::net::reactor::Driver;
use featbit_agent::serve::{Keys, Options, Shared};
use featbit_agent::store::{
    self, Change, EnvironmentSlot, Moment, PatchForm, Snapshot, Writer, WriterOptions,
};
use featbit_agent::telemetry::metrics::Metrics;

use crate::connection::{Connection, Entrance, Sdk};
use crate::reactor::{News, Reactor};
use crate::rng::Rng;
use crate::sdk::{DataSync, Frame, Received, Store, user};
use crate::wire::Fake;
use crate::world::{Content, Environment, Item, USERS, World, dump, id_of, secret};
use crate::{CLOSE_MS, HEAD_MS, IDLE_MS, STALL_MS, TOKEN_HOLD_MS, VERDICT_MS, WALL_MS};

/// Memory that nothing here can use up.
const MEMORY_ENOUGH: usize = 1 << 30;

/// Turns within which everything has to come to rest.
const REST_TURNS: usize = 20_000;

struct Simulation {
    rng: Rng,
    clock_ms: Rc<Cell<u64>>,
    world: World,
    /// What was last published of each environment, in the order of the dump.
    published: Vec<Environment>,
    /// `updatedAt` of what was removed of these, by environment, kind (a segment or not) and id.
    removed: BTreeMap<(u8, bool, String), i64>,
    writer: Writer,
    grace_ms: i64,
    /// Posted, and put in service by every reactor.
    announced: usize,
    in_service: Arc<AtomicUsize>,
    reactors: Vec<Reactor>,
    connections: Vec<Connection>,
    /// SDKs without a connection, that will come back.
    away: Vec<Sdk>,
    connections_max: usize,
    limits: Limits,
    /// Environments whose items changed since the last rest, and whether any segment did.
    touched: BTreeSet<u8>,
    segments_touched: bool,
}

pub fn run(seed: u64) {
    let mut simulation = Simulation::new(seed);
    let steps = 40 + simulation.rng.below(220);
    if simulation.rng.percent(85) {
        simulation.publish();
    }
    for _ in 0..steps {
        simulation.step();
    }
    simulation.rest();
    simulation.end_graces();
    simulation.end();
}

fn offload() -> &'static Offload {
    static ONE: OnceLock<Offload> = OnceLock::new();
    ONE.get_or_init(|| Offload::start().expect("a thread can be started"))
}

fn shared() -> Arc<Shared> {
    let settings = Settings::from_pairs(&[("Mode", "offline"), ("ApiKey", "k")]).expect("valid settings");
    let mut options = Options::new(&settings, Keys::default(), "test".into());
    options.streaming =
        Streaming { token_expiry: Duration::from_secs(30), token_hold: Duration::from_millis(TOKEN_HOLD_MS) };
    options.cors.max_age = Duration::ZERO;
    options.limits = config::Limits {
        verdict_wait: Duration::from_millis(VERDICT_MS),
        head: Duration::from_millis(HEAD_MS),
        body: Duration::from_millis(HEAD_MS),
        keep_alive: Duration::from_millis(HEAD_MS),
        close: Duration::from_millis(CLOSE_MS),
        stream_idle: Some(Duration::from_millis(IDLE_MS)),
        header_bytes: 32 * 1024,
        headers: 100,
        body_bytes: 1 << 20,
        user_bytes: 1 << 20,
        user_properties: 1000,
        message_bytes: 64 * 1024,
        bootstrap_bytes: 1 << 20,
        bootstraps: 1,
        pending_bytes: 1 << 30,
        ..options.limits
    };
    let (jobs, _) = crossbeam::channel::bounded(1);
    let current = Arc::new(ArcSwap::new(Snapshot::empty()));
    let handle = Handle::new(jobs, offload().clone(), current, Arc::default());
    Shared::new(options, handle, featbit_agent::insights::Handle::off(), Metrics::new(), || WALL_MS)
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let shared = shared();
        let limits = Limits {
            write_stall: Duration::from_millis(STALL_MS),
            write_min_bytes_per_second: *rng.pick(&[0, 100]),
            close: Duration::from_millis(CLOSE_MS),
            private_bytes_max: *rng.pick(&[2000, 20_000, 100_000, MEMORY_ENOUGH]),
        };
        let count = 1 + rng.below(2);
        let reactors = (0..count).map(|_| Reactor::new(&mut rng, &shared, limits, 0)).collect();
        let grace_ms = *rng.pick(&[0, 2000, 1_000_000]);
        let world = World::new(&mut rng);
        Self {
            clock_ms: Rc::default(),
            world,
            published: Vec::new(),
            removed: BTreeMap::new(),
            writer: Writer::new(WriterOptions { revocation_grace_ms: grace_ms, ..WriterOptions::default() }),
            grace_ms,
            announced: 0,
            in_service: Arc::default(),
            reactors,
            connections: Vec::new(),
            away: Vec::new(),
            connections_max: 1 + rng.below(20 * count),
            limits,
            touched: BTreeSet::new(),
            segments_touched: false,
            rng,
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock_ms.get()
    }

    /// The time at which data is loaded.
    fn moment(&self) -> Moment {
        Moment { steady_ms: self.now_ms() as i64, wall_ms: WALL_MS }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..10 => {
                for _ in 0..1 + self.rng.below(3) {
                    self.world.edit(&mut self.rng);
                }
                self.publish();
            }
            10 => self.burst(),
            11..14 => self.upsert(),
            14..24 => self.connect(),
            24..42 => self.act(),
            42..55 => {
                let count = 1 + self.rng.below(2000);
                if let Some(connection) = self.any_connection() {
                    connection.arrive(count);
                }
            }
            55..68 => {
                let (mut rng, now_ms) = (self.rng.clone(), self.now_ms());
                if let Some(connection) = self.any_connection()
                    && (!connection.sdk.slow || rng.percent(10))
                {
                    let most = if rng.percent(50) { 40 } else { 30_000 };
                    let count = 1 + rng.below(most);
                    connection.read(&mut rng, count, now_ms);
                }
                self.rng.next();
            }
            68..93 => {
                let at = self.rng.below(self.reactors.len());
                self.turn(at, News::Some);
            }
            93..97 => {
                let later_ms =
                    if self.rng.percent(95) { self.rng.below(1500) } else { self.rng.below(30_000) };
                self.clock_ms.set(self.now_ms() + later_ms as u64);
            }
            97 => self.expire(),
            _ => self.rest(),
        }
    }

    fn any_connection(&mut self) -> Option<&mut Connection> {
        match self.connections.len() {
            0 => None,
            count => Some(&mut self.connections[self.rng.below(count)]),
        }
    }

    fn turn(&mut self, at: usize, news: News) {
        self.reactors[at].turn(&mut self.rng, news, self.clock_ms.get());
        self.note_refusals();
    }

    /// Remembers of each connection whether a view of its server would refuse it.
    fn note_refusals(&mut self) {
        for connection in &mut self.connections {
            let view = self.reactors[connection.server].server.view();
            let Sdk { kind, environment, secret: number, entrance, .. } = connection.sdk;
            let opens =
                view.secret(&secret(number, environment)).is_some_and(|entry| entry.opens_to(kind).is_some());
            connection.seen_undecided |= !view.loaded();
            connection.may_be_refused |=
                entrance == Entrance::Bad || view.loaded() && !opens && entrance == Entrance::Good;
        }
    }

    fn publish(&mut self) {
        let mut text = DatasetText::new(dump(&self.world.environments));
        let now = self.moment();
        let dataset = text.parse().expect("a good dump");
        let published = self.writer.replace(&dataset, now);
        let mut next = self.world.environments.clone();
        for old in &self.published {
            let new = next.iter().find(|new| new.number == old.number);
            match new {
                Some(new) if new.content() == old.content() => {}
                _ => drop(self.touched.insert(old.number)),
            }
            // In service until its grace is over.
            if new.is_none() {
                next.push(old.clone());
            }
        }
        let fresh = next.iter().filter(|new| self.published.iter().all(|old| old.number != new.number));
        self.touched.extend(fresh.map(|environment| environment.number));
        let segments = |environments: &[Environment]| -> Vec<_> {
            environments.iter().map(|one| (one.number, one.segments.clone())).collect()
        };
        self.segments_touched |= segments(&next) != segments(&self.published);
        self.bury(&next);
        self.published = next;
        if let Some(change) = published.change {
            self.announce(&change);
        }
    }

    fn burst(&mut self) {
        if self.rng.percent(8) {
            for _ in 0..70 {
                self.world.edit(&mut self.rng);
                self.publish();
            }
        }
    }

    /// A single item, as a patch from upstream has it.
    fn upsert(&mut self) {
        if self.world.environments.is_empty() || self.writer.current().sequence() == 0 {
            return;
        }
        let at = self.rng.below(self.world.environments.len());
        let before = self.world.environments[at].clone();
        let Some(listed) = self.published.iter().position(|environment| environment.number == before.number)
        else {
            return;
        };
        let (is_segment, item) = self.world.put(&mut self.rng, at);
        let old = if is_segment { &before.segments } else { &before.flags };
        let is_newer = |old: &Item| (old.version_ms, &old.raw) > (item.version_ms, &item.raw);
        let was_removed = self.removed.get(&(before.number, is_segment, item.id.clone()));
        if was_removed.is_some_and(|removed_ms| *removed_ms >= item.version_ms)
            || old.iter().any(|old| old.id == item.id && is_newer(old))
        {
            self.world.environments[at] = before;
            return;
        }
        let stored = &mut self.published[listed];
        let patch = Environment {
            number: stored.number,
            secrets: Vec::new(),
            flags: if is_segment { Vec::new() } else { vec![item.clone()] },
            segments: if is_segment { vec![item.clone()] } else { Vec::new() },
        };
        let patch_id = item.id.clone();
        let items = if is_segment { &mut stored.segments } else { &mut stored.flags };
        match items.iter_mut().find(|old| old.id == item.id) {
            // What was published last is newer than what this dump was made of.
            Some(old) if (old.version_ms, &old.raw) > (item.version_ms, &item.raw) => {}
            Some(old) => *old = item,
            None => items.push(item),
        }
        self.removed.remove(&(stored.number, is_segment, patch_id));
        self.touched.insert(stored.number);
        self.segments_touched |= is_segment;
        let mut text = DatasetText::new(dump(&[patch]));
        let dataset = text.parse().expect("a good patch");
        let [environment] = &dataset.environments[..] else { panic!("one environment") };
        let now = Moment { steady_ms: self.clock_ms.get() as i64, wall_ms: WALL_MS };
        let published = self.writer.upsert(&environment.flags, &environment.segments, now);
        if let Some(change) = published.change {
            self.announce(&change);
        }
    }

    /// Notes what of the environments that are published goes with these.
    fn bury(&mut self, next: &[Environment]) {
        for new in next {
            let old = self.published.iter().find(|old| old.number == new.number);
            for is_segment in [false, true] {
                let items =
                    |of: &Environment| if is_segment { of.segments.clone() } else { of.flags.clone() };
                let has = items(new);
                for gone in old.map(items).into_iter().flatten() {
                    if has.iter().all(|one| one.id != gone.id) {
                        self.removed.insert((new.number, is_segment, gone.id), gone.version_ms);
                    }
                }
                for one in has {
                    self.removed.remove(&(new.number, is_segment, one.id));
                }
            }
        }
    }

    fn expire(&mut self) {
        if let Some(change) = self.writer.expire(self.moment()) {
            self.announce(&change);
        }
        self.writer.sweep();
    }

    fn announce(&mut self, change: &Arc<Change>) {
        self.announced += 1;
        let count = self.in_service.clone();
        let in_service = InService::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        for reactor in &self.reactors {
            let (change, in_service) = (change.clone(), Some(in_service.clone()));
            reactor.mailbox.post(Mail::Change { change, arrived: Instant::now(), in_service });
        }
        // An environment that went out of service takes its segments along.
        self.published.retain(|environment| {
            let stays = is_served(&change.snapshot, environment.number);
            if !stays {
                self.removed.retain(|(number, ..), _| *number != environment.number);
                self.touched.insert(environment.number);
                self.segments_touched = true;
            }
            stays
        });
    }

    fn connect(&mut self) {
        if self.connections.len() >= self.connections_max {
            return;
        }
        let sdk = if !self.away.is_empty() && self.rng.percent(70) {
            let at = self.rng.below(self.away.len());
            self.away.swap_remove(at)
        } else {
            self.new_sdk()
        };
        let at = self.rng.below(self.reactors.len());
        let (reactor, now_ms) = (&mut self.reactors[at], self.clock_ms.get());
        let mut connection =
            Connection::open(&mut self.rng, sdk, at, &self.clock_ms, |wire| reactor.accept(wire, now_ms));
        connection.may_be_shed = self.limits.private_bytes_max < MEMORY_ENOUGH;
        connection.may_be_slow = self.limits.write_min_bytes_per_second > 0;
        self.connections.push(connection);
        self.note_refusals();
    }

    fn new_sdk(&mut self) -> Sdk {
        let rng = &mut self.rng;
        let kind = *rng.pick(&[SecretKind::Server, SecretKind::Client]);
        Sdk {
            kind,
            environment: 1 + rng.below(3) as u8,
            secret: if rng.percent(85) { if kind == SecretKind::Server { 1 } else { 2 } } else { 3 },
            user: rng.below(USERS.len()),
            store: Store::default(),
            entrance: match rng.below(100) {
                0..5 => Entrance::Bad,
                5..8 => Entrance::OutOfTime,
                _ => Entrance::Good,
            },
            slow: rng.percent(25),
        }
    }

    fn act(&mut self) {
        let mut rng = Rng::new(self.rng.next());
        let Some(connection) = self.any_connection() else { return };
        if !connection.is_open() {
            return;
        }
        match rng.below(100) {
            0..45 => connection.ask(&mut rng),
            45..75 => connection.ping(&mut rng),
            75..84 if connection.is_client() => {
                let user = rng.below(USERS.len());
                connection.identify(&mut rng, user);
            }
            84..88 => {
                let texts = [
                    r#"{"messageType":"data-sync","data":null}"#,
                    "not JSON",
                    r#"{"messageType":"rp-agent-status","data":{}}"#,
                ];
                let text = texts[rng.below(texts.len())];
                connection.send(&mut rng, text);
            }
            88 => connection.garbage(),
            89..97 => {
                let how = rng.below(4);
                connection.close(&mut rng, how);
            }
            _ => {}
        }
    }

    /// Lets everything that is under way happen, and compares.
    fn rest(&mut self) {
        let mut turns = 0;
        if self.rng.percent(50) {
            // A change overtakes the news that blocked sockets take output again.
            self.world.edit(&mut self.rng);
            self.publish();
            let now_ms = self.now_ms();
            for connection in &mut self.connections {
                connection.read(&mut self.rng, usize::MAX, now_ms);
            }
            (0..self.reactors.len()).for_each(|at| self.turn(at, News::None));
        }
        loop {
            let now_ms = self.now_ms();
            let mut moved = false;
            for connection in &mut self.connections {
                moved |= connection.arrive(usize::MAX);
                moved |= connection.read(&mut self.rng, usize::MAX, now_ms);
            }
            for at in 0..self.reactors.len() {
                if self.reactors[at].is_busy() {
                    moved = true;
                    self.turn(at, News::All);
                }
            }
            // A last turn without any news: work may have become possible by what the others did.
            if !moved {
                (0..self.reactors.len()).for_each(|at| self.turn(at, News::All));
                if !self.reactors.iter().any(Reactor::is_busy) {
                    break;
                }
            }
            turns += 1;
            assert!(turns < REST_TURNS, "it does not come to rest");
        }
        self.check();
        for at in (0..self.connections.len()).rev() {
            if self.connections[at].wire.borrow().dropped {
                let gone = self.connections.swap_remove(at);
                if gone.closed != Some(Some(4003)) && gone.sdk.entrance == Entrance::Good {
                    self.away.push(gone.sdk);
                }
            }
        }
        self.touched.clear();
        self.segments_touched = false;
    }

    fn check(&mut self) {
        assert_eq!(self.in_service.load(Ordering::Relaxed), self.announced, "every change is in service");
        assert_eq!(self.writer.sweep(), 0, "old snapshots are still held");
        let snapshot = self.writer.current().clone();
        for (at, reactor) in self.reactors.iter().enumerate() {
            assert_eq!(reactor.server.view().sequence(), snapshot.sequence());
            let here = self.connections.iter().filter(|connection| connection.server == at);
            // Requests of connections with a token out of time are kept.
            let held = |connection: &Connection| connection.sdk.entrance == Entrance::OutOfTime;
            if snapshot.loaded() && !here.clone().any(held) {
                assert_eq!(reactor.io.pending_private_bytes(), 0, "memory for what is done");
            }
            let alive = here.filter(|connection| !connection.wire.borrow().dropped).count();
            assert_eq!(reactor.io.len(), alive);
        }
        let Self { connections, published, touched, segments_touched, .. } = self;
        for connection in connections.iter_mut().filter(|connection| connection.is_open()) {
            assert!(!connection.wire.borrow().dropped, "dropped without a word");
            let Sdk { kind, environment: number, secret: own, entrance, user, .. } = connection.sdk;
            assert!(entrance != Entrance::Bad || !snapshot.loaded(), "not refused: {:?}", connection.sdk);
            let decided = entrance == Entrance::Good && snapshot.loaded();
            if decided {
                let slot = snapshot.secret(&secret(own, number)).and_then(|entry| entry.opens_to(kind));
                let slot = slot.unwrap_or_else(|| panic!("not closed though revoked: {:?}", connection.sdk));
                let environment = snapshot.environment(slot).expect("the environment of a secret");
                if connection.asked {
                    let expected = if connection.is_client() {
                        evaluated(&snapshot, environment, user)
                    } else {
                        let served = full_content(environment);
                        let mut published = published.iter();
                        let source =
                            published.find(|one| one.number == number).expect("it was published").content();
                        assert_eq!(said(&served), said(&source), "word for word, but for the version");
                        served
                    };
                    assert_same(&connection.sdk, &expected);
                }
                let touched = touched.contains(&number) || connection.is_client() && *segments_touched;
                assert!(
                    touched || connection.asked_since_rest || connection.messages == 0,
                    "told though nothing changed: {:?}",
                    connection.sdk
                );
            }
            connection.check_rest(decided);
        }
    }

    /// The graces of all secrets that are no longer listed end; what is left is what the dump says.
    fn end_graces(&mut self) {
        let now = Moment { steady_ms: self.now_ms() as i64 + self.grace_ms, wall_ms: WALL_MS };
        if let Some(change) = self.writer.expire(now) {
            self.announce(&change);
        }
        let snapshot = self.writer.current();
        if !snapshot.loaded() {
            return;
        }
        for environment in 1..=3 {
            let listed = self.world.environments.iter().find(|one| one.number == environment);
            for number in 1..=4 {
                let mut secrets = listed.iter().flat_map(|one| &one.secrets);
                let kind = secrets.find(|one| one.1 == number).map(|one| one.0);
                assert_eq!(snapshot.secret(&secret(number, environment)).map(|entry| entry.kind), kind);
            }
        }
    }

    /// All connections end: sent away, for want of a sign of life, or by their SDKs.
    fn end(&mut self) {
        let how = self.rng.below(3);
        match how {
            0 => {
                for reactor in &self.reactors {
                    reactor.mailbox.post(Mail::Drain(Duration::ZERO));
                }
                self.connections.iter_mut().for_each(|connection| connection.draining = true);
            }
            1 => self.clock_ms.set(self.now_ms() + IDLE_MS + 1000),
            _ => {
                for connection in &mut self.connections {
                    let how = self.rng.below(4);
                    connection.close(&mut self.rng, how);
                }
            }
        }
        self.rest();
        // Connections with a token out of time are not read until that time is over.
        self.clock_ms.set(self.now_ms() + VERDICT_MS.max(TOKEN_HOLD_MS) + 1000);
        self.rest();
        for reactor in &mut self.reactors {
            assert!(reactor.io.is_empty(), "connections are left: {:?}", self.connections);
            assert_eq!(reactor.io.pending_private_bytes(), 0);
            assert_eq!(Driver::<Fake>::is_done(&reactor.server), how == 0);
            let counters = &reactor.io.counters;
            assert_eq!(counters.accepted, counters.ended.iter().sum::<u64>());
        }
    }
}

fn is_served(snapshot: &Snapshot, number: u8) -> bool {
    let slots = (0..8).filter_map(|slot| snapshot.environment(EnvironmentSlot(slot)));
    slots.into_iter().any(|environment| environment.id() == id_of(number))
}

/// What one plain call of the store gives for a user.
fn evaluated(snapshot: &Snapshot, environment: &store::Environment, number: usize) -> Content {
    let mut text = Vec::new();
    environment.client_sync(snapshot.segments(), &user(number), 0, &mut text);
    content(&String::from_utf8(text).expect("a message is UTF-8"))
}

fn full_content(environment: &store::Environment) -> Content {
    let mut out = Vec::new();
    environment.server_sync(0, PatchForm::Batch, &mut out);
    let bytes: Vec<u8> = out.iter().flat_map(|payload| payload.to_vec()).collect();
    let mut received = Received::default();
    received.upgraded = true;
    received.extend(&bytes);
    match received.next() {
        Some(Frame::Text(text)) => content(&text),
        _ => panic!("no full payload"),
    }
}

fn content(text: &str) -> Content {
    let message = DataSync::parse(text);
    message.items.into_iter().map(|(kind, id, version_ms, raw)| ((kind, id), (version_ms, raw))).collect()
}

/// Items without their versions.
fn said(content: &Content) -> Content {
    const NAME: &str = r#""updatedAt":""#;
    let without = |raw: &str| {
        let (before, after) = raw.split_once(NAME).expect("a version");
        let (_, after) = after.split_once('"').expect("the end of the version");
        format!("{before}{after}")
    };
    content.iter().map(|(key, (_, raw))| (key.clone(), (0, without(raw)))).collect()
}

fn assert_same(sdk: &Sdk, expected: &Content) {
    let held = &sdk.store.0;
    if held == expected {
        return;
    }
    let brief = |content: &Content, other: &Content| -> Vec<_> {
        let differ = content.iter().filter(|(key, item)| other.get(*key) != Some(item));
        differ.map(|(key, (version_ms, raw))| format!("{key:?} {version_ms} {raw:.300}")).collect()
    };
    panic!(
        "a {:?} SDK of environment {} holds {:#?} instead of {:#?}",
        sdk.kind,
        sdk.environment,
        brief(held, expected),
        brief(expected, held)
    );
}
