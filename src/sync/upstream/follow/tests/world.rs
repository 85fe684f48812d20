//! The state machine against a plain model of a server, over virtual time, with whatever can go wrong on the way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::environment_id::EnvironmentId;
use crate::protocol::status::SyncState;
use crate::protocol::to_relay::MessageKind;

use crate::protocol::from_relay::RelayRequest;

use super::super::*;
use super::TIMING;

type Items = BTreeMap<u8, u64>;
type Held = BTreeMap<u8, Items>;

fn id(environment: u8) -> EnvironmentId {
    EnvironmentId::from_bytes([environment; 16])
}

/// A message on its way to the agent.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Full {
        held: Held,
        secrets: BTreeSet<(u8, u8)>,
    },
    Patch(Held),
    Change {
        environment: u8,
        item: u8,
        version: u64,
    },
    Pong,
    /// Of a kind that the agent does not know.
    Unknown,
    Broken(Option<MessageKind>),
    Close(FailureKind),
}

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) held: Held,
    pub(super) secrets: BTreeSet<(u8, u8)>,
    pub(super) version: u64,
    pub(super) sessions: BTreeMap<u64, Served>,
    /// How the next dials end; then they succeed.
    pub(super) dials: VecDeque<Dialled>,
    /// How long the next answers take; then none.
    pub(super) delays: VecDeque<u64>,
    /// Answers that are broken.
    pub(super) broken: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Dialled {
    Opens(u64),
    Fails(u64),
    Refused(u64),
    Hangs,
}

#[derive(Debug)]
pub(super) struct Served {
    /// The environments whose changes are pushed: fixed when it was opened, one entry a server secret.
    pub(super) mapped: Vec<u8>,
    pub(super) out: VecDeque<(u64, Message)>,
}

impl Server {
    pub(super) fn send(&mut self, session: u64, at_ms: u64, message: Message) {
        if let Some(served) = self.sessions.get_mut(&session) {
            // An answer may take its time to be put together; what changes meanwhile is said before it.
            let place = served.out.iter().position(|(other_ms, _)| *other_ms > at_ms);
            served.out.insert(place.unwrap_or(served.out.len()), (at_ms, message));
        }
    }

    pub(super) fn change(&mut self, now_ms: u64, environment: u8, item: u8) {
        let Some(items) = self.held.get_mut(&environment) else { return };
        self.version += 1;
        items.insert(item, self.version);
        let message = Message::Change { environment, item, version: self.version };
        let sessions: Vec<_> =
            self.sessions.iter().map(|(session, served)| (*session, served.mapped.clone())).collect();
        for (session, mapped) in sessions {
            for _ in mapped.iter().filter(|mapped| **mapped == environment) {
                self.send(session, now_ms, message.clone());
            }
        }
    }

    fn answer(&mut self, now_ms: u64, session: u64, since: Option<BTreeMap<u8, u64>>) {
        let delay_ms = self.delays.pop_front().unwrap_or(0);
        let message = if self.broken > 0 {
            self.broken -= 1;
            let kind = if since.is_none() { MessageKind::Full } else { MessageKind::Patch };
            Message::Broken(self.broken.is_multiple_of(2).then_some(kind))
        } else {
            match since {
                None => {
                    let known = |environment: &u8| self.secrets.iter().any(|secret| secret.0 == *environment);
                    let held = self.held.iter().filter(|(environment, _)| known(environment));
                    Message::Full {
                        held: held.map(|(environment, items)| (*environment, items.clone())).collect(),
                        secrets: self.secrets.clone(),
                    }
                }
                Some(since) => {
                    let mapped =
                        self.sessions.get(&session).map(|served| served.mapped.clone()).unwrap_or_default();
                    let newer = |environment: u8| {
                        let since = since.get(&environment).copied().unwrap_or(0);
                        let items = self.held.get(&environment).cloned().unwrap_or_default();
                        items.into_iter().filter(|(_, version)| *version > since).collect()
                    };
                    Message::Patch(mapped.into_iter().map(|one| (one, newer(one))).collect())
                }
            }
        };
        self.send(session, now_ms + delay_ms, message);
    }
}

/// The agent's data: the plainest thing that does what [`Instruction`] says.
#[derive(Debug, Default)]
pub(super) struct Agent {
    pub(super) held: Option<Held>,
    pub(super) secrets: BTreeSet<(u8, u8)>,
    pub(super) remembered: Vec<(u8, u8, u64)>,
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) fits: bool,
}

impl DataInService for Agent {
    fn since(&self) -> Option<RelayRequest> {
        // The world reads the versions from the agent itself.
        (self.fits && self.held.is_some()).then(super::since)
    }

    fn begin_full(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }
}

impl Agent {
    fn versions(&self) -> BTreeMap<u8, u64> {
        let held = self.held.iter().flatten();
        held.map(|(environment, items)| (*environment, items.values().copied().max().unwrap_or(0))).collect()
    }

    fn upsert(&mut self, environment: u8, item: u8, version: u64) {
        if let Some(items) = self.held.as_mut().and_then(|held| held.get_mut(&environment)) {
            let have = items.entry(item).or_insert(version);
            *have = version.max(*have);
        }
    }

    fn knows(&self, environment: u8) -> bool {
        self.held.as_ref().is_some_and(|held| held.contains_key(&environment))
    }
}

pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) server: Server,
    pub(super) agent: Agent,
    pub(super) follow: Follower,
    pub(super) dials: Vec<(u64, u64, Result<(), FailureKind>)>,
    /// The highest version of each item that was ever in service since it was last removed at the server.
    pub(super) highest: BTreeMap<(u8, u8), u64>,
}

impl World {
    pub(super) fn new(seed: u64, fits: bool) -> Self {
        Self::with(TIMING, seed, fits)
    }

    /// Without full syncs by time.
    pub(super) fn without_resync(seed: u64, fits: bool) -> Self {
        Self::with(Timing { resync_ms: 0, ..TIMING }, seed, fits)
    }

    fn with(timing: Timing, seed: u64, fits: bool) -> Self {
        let mut server = Server::default();
        for environment in 1..3 {
            server.held.insert(environment, BTreeMap::new());
            server.secrets.insert((environment, 0));
            server.change(0, environment, 0);
        }
        Self {
            now_ms: 0,
            server,
            agent: Agent { fits, ..Agent::default() },
            follow: Follower::new(timing, seed),
            dials: Vec::new(),
            highest: BTreeMap::new(),
        }
    }

    /// Lets time pass, and everything happen that is due meanwhile.
    pub(super) fn run(&mut self, for_ms: u64) {
        let until_ms = self.now_ms + for_ms;
        let mut turns_at_once = 0;
        loop {
            self.turn();
            let next_ms = self.next_ms().min(until_ms);
            turns_at_once = if next_ms > self.now_ms { 0 } else { turns_at_once + 1 };
            assert!(turns_at_once < 1_000, "busy at {} ms: {:?}", self.now_ms, self.follow);
            if self.now_ms >= until_ms && self.next_ms() > until_ms {
                return;
            }
            self.now_ms = self.now_ms.max(next_ms);
        }
    }

    fn next_ms(&self) -> u64 {
        let out =
            self.server.sessions.values().filter_map(|served| served.out.front()).map(|(at_ms, _)| *at_ms);
        let dials = self.dials.iter().map(|(at_ms, ..)| *at_ms);
        out.chain(dials).chain([self.follow.deadline_ms()]).min().unwrap_or(u64::MAX)
    }

    fn turn(&mut self) {
        if let Some(at) = self.dials.iter().position(|(at_ms, ..)| *at_ms <= self.now_ms) {
            let (_, number, result) = self.dials.remove(at);
            if result.is_ok() {
                let mapped = self.server.secrets.iter().map(|(environment, _)| *environment).collect();
                self.server.sessions.insert(number, Served { mapped, out: VecDeque::new() });
                self.follow.registered();
            }
            self.follow.dialled(self.now_ms, number, result, &mut self.agent);
        }
        let ready = self.server.sessions.iter_mut().find_map(|(session, served)| {
            let due = served.out.front().is_some_and(|(at_ms, _)| *at_ms <= self.now_ms);
            due.then(|| served.out.pop_front()).flatten().map(|(_, message)| (*session, message))
        });
        if let Some((session, message)) = ready {
            self.follow.bytes_received(self.now_ms, session, 100, false);
            self.deliver(session, message);
        }
        let mut closed = false;
        for action in self.follow.turn(self.now_ms, false, &mut self.agent) {
            closed |= matches!(action, Action::Close { .. });
            self.act(action);
        }
        if closed {
            // What came in on the connection that was closed is dealt with in the next turn, at once.
            return self.turn();
        }
        assert!(self.follow.deadline_ms() > self.now_ms, "due and not done: {:?}", self.follow);
        assert!(self.server.sessions.len() <= 2, "more than two connections");
        self.check();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial { number, .. } => match self.server.dials.pop_front().unwrap_or(Dialled::Opens(5)) {
                Dialled::Opens(after_ms) => self.dials.push((self.now_ms + after_ms, number, Ok(()))),
                Dialled::Fails(after_ms) => {
                    self.dials.push((self.now_ms + after_ms, number, Err(FailureKind::Failed)));
                }
                Dialled::Refused(after_ms) => {
                    self.dials.push((self.now_ms + after_ms, number, Err(FailureKind::Refused)));
                }
                Dialled::Hangs => {}
            },
            Action::Request { number, request } => {
                let full = request.is_full();
                if full {
                    self.agent.remembered.clear();
                }
                let since = (!full).then(|| self.agent.versions());
                self.server.answer(self.now_ms, number, since);
            }
            Action::Ping { number } => self.server.send(number, self.now_ms, Message::Pong),
            Action::Register => self.follow.registered(),
            Action::ReportStatus { .. } => {}
            Action::Close { number } => {
                // What is on its way is read, then the server is gone.
                let out = self.server.sessions.remove(&number).map(|served| served.out).unwrap_or_default();
                for (_, message) in out {
                    self.deliver(number, message);
                }
            }
            Action::Drop { number, .. } => drop(self.server.sessions.remove(&number)),
        }
    }

    fn deliver(&mut self, session: u64, message: Message) {
        let now_ms = self.now_ms;
        match message {
            Message::Pong => drop(self.follow.message(now_ms, session, Received::Other)),
            Message::Unknown => drop(self.follow.message(now_ms, session, Received::Unknown)),
            Message::Broken(kind) => drop(self.follow.message(now_ms, session, Received::Unreadable(kind))),
            Message::Close(fault) => {
                self.server.sessions.remove(&session);
                self.follow.ended(now_ms, session, fault);
            }
            Message::Change { environment, item, version } => {
                let unknown_environment = !self.agent.knows(environment);
                let environments = [id(environment)];
                let brought = Received::Change { environments: &environments, unknown_environment };
                let take = self.follow.message(now_ms, session, brought);
                self.take_items(take, &[(environment, item, version)]);
            }
            Message::Patch(held) => {
                let unknown_environment = held.keys().any(|environment| !self.agent.knows(*environment));
                let environments: Vec<_> = held.keys().map(|environment| id(*environment)).collect();
                let brought = Received::Patch { environments: &environments, unknown_environment };
                let take = self.follow.message(now_ms, session, brought);
                let items: Vec<_> = held
                    .iter()
                    .flat_map(|(environment, items)| items.iter().map(|(item, v)| (*environment, *item, *v)))
                    .collect();
                self.take_items(take, &items);
            }
            Message::Full { held, secrets } => self.take_full(session, held, secrets),
        }
    }

    fn take_items(&mut self, take: Instruction, items: &[(u8, u8, u64)]) {
        match take {
            Instruction::Ignore => {}
            Instruction::Remember => self.agent.remembered.extend(items),
            Instruction::Merge { remember } => {
                for (environment, item, version) in items {
                    self.agent.upsert(*environment, *item, *version);
                }
                if remember {
                    self.agent.remembered.extend(items);
                }
            }
            other => panic!("{other:?} for items"),
        }
    }

    fn take_full(&mut self, session: u64, held: Held, secrets: BTreeSet<(u8, u8)>) {
        let names: Vec<String> = (0..=u8::MAX).map(|n| n.to_string()).collect();
        let mut entries: BTreeMap<u8, Vec<&str>> = held.keys().map(|one| (*one, Vec::new())).collect();
        for (environment, secret) in &secrets {
            entries.entry(*environment).or_default().push(&names[usize::from(*secret)]);
        }
        let entries: Vec<_> = entries.iter().map(|(one, secrets)| (id(*one), &secrets[..])).collect();
        let coverage = Coverage::with(&entries);
        let have_items = self.agent.held.iter().flatten().any(|(_, items)| !items.is_empty());
        let empty = have_items && held.values().all(BTreeMap::is_empty);
        let brought = Received::Full { coverage: &coverage, empty, provisional: false };
        let Instruction::ReplaceAll { answered } = self.follow.message(self.now_ms, session, brought) else {
            return;
        };
        let before = self.agent.held.replace(held);
        self.agent.secrets = secrets;
        let mut unknown_environment = false;
        for (environment, item, version) in self.agent.remembered.clone() {
            unknown_environment |= !self.agent.knows(environment);
            self.agent.upsert(environment, item, version);
        }
        self.agent.answered = answered.map_or(self.agent.answered, |number| number.max(self.agent.answered));
        let changed = self.agent.held.iter().flatten().filter(|(environment, items)| {
            before.as_ref().and_then(|before| before.get(environment)) != Some(items)
        });
        let changed: Vec<_> = changed.map(|(environment, _)| id(*environment)).collect();
        self.follow.full_in_service(
            self.now_ms,
            NewFull { number: session, coverage, changed: &changed, confirms: Confirms::Everything },
            unknown_environment,
        );
    }

    /// What must hold at any time.
    fn check(&mut self) {
        for (environment, items) in self.agent.held.iter().flatten() {
            for (item, version) in items {
                let highest = self.highest.entry((*environment, *item)).or_default();
                assert!(version >= highest, "item {item} of {environment} went back to {version}");
                *highest = *version;
            }
        }
    }

    /// All is as at the server, by what was pushed and asked for, once nothing is in the way any more.
    pub(super) fn check_settled(&self) {
        let known = |environment: &u8| self.server.secrets.iter().any(|secret| secret.0 == *environment);
        let expected: Held =
            self.server.held.clone().into_iter().filter(|(environment, _)| known(environment)).collect();
        assert_eq!(self.agent.held.as_ref(), Some(&expected), "{:?}", self.follow);
        assert_eq!(self.agent.secrets, self.server.secrets);
        assert_eq!(self.follow.state(), SyncState::Stable);
        assert_eq!(self.server.sessions.len(), 1);
    }
}
