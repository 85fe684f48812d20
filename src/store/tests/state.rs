//! A writer restored from the state of another: it serves the same, and publishes the same for the next data.

use proptest::prelude::*;

use super::support::*;
use super::twin::{Edit, Tombstones, apply, edit, record_removals, upsert_one};
use crate::model::environment_id::EnvironmentId;
use crate::model::stamp::Edition;
use crate::payload::Payload;
use crate::protocol::from_relay::RelayRequest;
use crate::store::PatchForm::{Batch, OnePerItem};
use crate::store::{ItemJson, Moment, Published, Replay, Scope, Snapshot, State, Writer, WriterOptions};

const GRACE_MS: i64 = 100;

fn options() -> WriterOptions {
    WriterOptions { revocation_grace_ms: GRACE_MS, ..WriterOptions::default() }
}

/// The same state as a reader would have it: nothing is shared with the writer that it came from.
fn reread(state: &State) -> State {
    let mut state = state.clone();
    let contents = state.environments.iter_mut().filter_map(|one| one.contents.as_mut());
    for item in contents.flat_map(|contents| contents.flags.iter_mut().chain(&mut contents.segments)) {
        item.json = ItemJson::Read(String::from(&*item.json).into());
    }
    state
}

fn bytes(payloads: &[Payload]) -> Vec<u8> {
    payloads.iter().flat_map(Payload::to_vec).collect()
}

/// All that SDKs and agents can get, whatever they ask with.
fn service(snapshot: &Snapshot) -> Vec<(String, Vec<u8>)> {
    let mut service = vec![
        ("backup".to_owned(), snapshot.backup().to_vec()),
        ("relay".to_owned(), snapshot.relay_full(&Scope::All, true).to_vec()),
        ("status".to_owned(), format!("{} {}", snapshot.serves(), snapshot.data_version()).into_bytes()),
        ("answered".to_owned(), format!("{} {}", snapshot.loaded(), snapshot.answered()).into_bytes()),
    ];
    let mut secrets: Vec<_> =
        snapshot.secrets.iter().map(|(secret, entry)| format!("{} {entry:?}", secret.as_str())).collect();
    secrets.sort_unstable();
    service.push(("secrets".to_owned(), secrets.concat().into_bytes()));
    let ids: Vec<EnvironmentId> = snapshot.environments().map(|environment| environment.id()).collect();
    for timestamp_ms in (-1..40).chain([1_000, 2_000]) {
        let environments = ids.iter().map(|id| (*id, timestamp_ms)).collect();
        let holds = RelayRequest { timestamp_ms, environments, digest: None, verify: None };
        let patch =
            snapshot.relay_patch(&Scope::All, &holds, "own").map_or(Vec::new(), |patch| patch.to_vec());
        service.push((format!("relay {timestamp_ms}"), patch));
        for environment in snapshot.environments.iter().flatten() {
            let name = format!("{} {timestamp_ms}", environment.id());
            for form in [Batch, OnePerItem] {
                let mut out = Vec::new();
                environment.server_sync(timestamp_ms, form, &mut out);
                service.push((format!("server {form:?} {name}"), bytes(&out)));
            }
            let poll = poll(environment, timestamp_ms).map_or(String::new(), |poll| poll.to_string());
            service.push((format!("poll {name}"), poll.into_bytes()));
            let mut out = Vec::new();
            environment.client_sync(snapshot.segments(), &user("u1"), timestamp_ms, &mut out);
            service.push((format!("client {name}"), out));
        }
    }
    service
}

/// What a publish sends to SDKs and agents that were up to date before.
fn pushed(from: u64, writer: &Writer, published: Option<&Published>) -> Vec<(String, Vec<u8>)> {
    let snapshot = writer.current();
    let mut pushed = Vec::new();
    let mut out = Vec::new();
    let relay = snapshot.relay_since(&Scope::All, from, &mut out);
    pushed.push((format!("relay {relay:?}"), bytes(&out)));
    for environment in snapshot.environments.iter().flatten() {
        for form in [Batch, OnePerItem] {
            let mut out = Vec::new();
            environment.server_since(from, form, &mut out);
            pushed.push((format!("server {form:?} {}", environment.id()), bytes(&out)));
        }
        let mut out = Vec::new();
        environment.client_since(snapshot.segments(), &user("u1"), from, &mut out);
        pushed.push((format!("client {}", environment.id()), out));
    }
    if let Some(published) = published {
        let report = &published.report;
        let change = published.change.as_ref().map(|change| {
            let items: Vec<_> = change.items.iter().map(|item| format!("{item:?}")).collect();
            (change.environments.clone(), change.secrets_changed, items)
        });
        pushed.push((format!("{change:?} {report:?}"), Vec::new()));
    }
    pushed
}

#[derive(Clone, Debug)]
enum Step {
    Load(Vec<Edit>),
    Upsert(Vec<Edit>),
    /// An SDK asks the first environment for what is newer than this.
    Ask(i64),
    /// Time passes, and what is over ends.
    Expire(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let edits = || prop::collection::vec(edit(), 1..5);
    prop_oneof![
        4 => edits().prop_map(Step::Load),
        3 => edits().prop_map(Step::Upsert),
        1 => (1..40i64).prop_map(Step::Ask),
        2 => (0..GRACE_MS + 20).prop_map(Step::Expire),
    ]
}

/// A history, as far as its source knows it.
struct Source {
    worlds: Vec<World>,
    tombstones: Tombstones,
    now: Moment,
}

impl Source {
    /// Does the step to all of these writers. Returns what was published by the last one.
    fn step(&mut self, step: &Step, writers: &mut [&mut Writer]) -> Vec<Option<Published>> {
        self.now.wall_ms += 1;
        match step {
            Step::Load(edits) => {
                let before = self.worlds.clone();
                edits.iter().for_each(|edit| apply(&mut self.worlds, edit));
                record_removals(&before, &self.worlds, &mut self.tombstones);
                let dump = dump_json(&self.worlds);
                writers.iter_mut().map(|writer| Some(load_text(writer, &dump, self.now))).collect()
            }
            Step::Upsert(edits) => {
                let mut worlds = self.worlds.clone();
                let published = writers
                    .iter_mut()
                    .map(|writer| {
                        worlds.clone_from(&self.worlds);
                        upsert_one(writer, &mut worlds, &mut self.tombstones.clone(), edits, self.now.wall_ms)
                    })
                    .collect();
                self.worlds = worlds;
                published
            }
            Step::Ask(timestamp_ms) => {
                for writer in writers.iter_mut() {
                    if let Some(environment) = writer.current().environments().next() {
                        environment.record_requested_version(*timestamp_ms, || i64::MAX);
                    }
                }
                writers.iter().map(|_| None).collect()
            }
            Step::Expire(later_ms) => {
                self.now.steady_ms += later_ms;
                writers.iter_mut().for_each(|writer| drop(writer.expire(self.now)));
                writers.iter().map(|_| None).collect()
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// The twin of a journal: the state of the writer itself.
    #[test]
    fn the_changes_of_all_publishes_replayed_give_the_state(
        steps in prop::collection::vec(step(), 0..20),
        full_state_at in prop::option::of(0..20usize),
    ) {
        let mut writer = Writer::new(options());
        let mut replay = Replay::default();
        let worlds = vec![world(1, vec![], vec![]), world(2, vec![], vec![])];
        let mut source = Source { worlds, tombstones: Tombstones::new(), now: Moment::default() };
        for (at, step) in std::iter::once(&Step::Load(Vec::new())).chain(&steps).enumerate() {
            let before = writer.current().clone();
            let expired = if let Step::Expire(later_ms) = step {
                source.now.wall_ms += 1;
                source.now.steady_ms += later_ms;
                writer.expire(source.now)
            } else {
                let published = source.step(step, &mut [&mut writer]);
                published.into_iter().flatten().find_map(|published| published.change)
            };
            if let Some(change) = expired {
                replay.apply(writer.delta(&before, &change, source.now));
            }
            if full_state_at == Some(at) {
                replay.apply(writer.full_state(source.now));
            }
        }
        // What an SDK asked with, and the time that passed, are in the state of the next publish only.
        let written = |state: State| {
            let mut state = state;
            state.environments.iter_mut().for_each(|one| one.versions.requested_ms = 0);
            state.access.leaving.iter_mut().for_each(|(_, left_ms)| *left_ms = 0);
            for secret in &mut state.access.secrets {
                secret.grace_ms = secret.grace_ms.map(|_| 0);
                secret.former.iter_mut().for_each(|former| former.grace_ms = 0);
            }
            state
        };
        prop_assert_eq!(written(replay.finish()), written(writer.state(source.now)));
    }

    #[test]
    fn out_and_in_again_gives_the_same_service_and_the_same_next_changes(
        before in prop::collection::vec(step(), 0..10),
        after in prop::collection::vec(step(), 1..5),
    ) {
        let mut writer = Writer::new(options());
        let worlds = vec![world(1, vec![], vec![]), world(2, vec![], vec![])];
        let mut source = Source { worlds, tombstones: Tombstones::new(), now: Moment::default() };
        source.step(&Step::Load(Vec::new()), &mut [&mut writer]);
        for step in &before {
            source.step(step, &mut [&mut writer]);
        }
        writer.history_mut().edition = Edition { opened_at_ms: 7, instance: "one".to_owned() };
        let state = writer.state(source.now);
        // Another process: its monotonic clock starts at another value.
        let mut restored = Writer::restore(options(), reread(&state), source.now).unwrap();
        prop_assert_eq!(&restored.state(source.now), &state);
        prop_assert_eq!(restored.edition(), writer.edition());
        prop_assert_eq!(service(restored.current()), service(writer.current()));
        for step in &after {
            let from = [&writer, &restored].map(|writer| writer.current().sequence());
            let published = source.step(step, &mut [&mut writer, &mut restored]);
            let [one, other] = &published[..] else { panic!("two writers") };
            prop_assert_eq!(pushed(from[1], &restored, other.as_ref()), pushed(from[0], &writer, one.as_ref()));
            prop_assert_eq!(service(restored.current()), service(writer.current()));
            prop_assert_eq!(restored.next_expiry_ms().is_some(), writer.next_expiry_ms().is_some());
        }
        prop_assert_eq!(restored.state(source.now), writer.state(source.now));
    }
}

#[test]
fn an_empty_state_restores_an_empty_writer() {
    let state = Writer::new(options()).state(at(5));
    assert_eq!(state, State::default());
    let writer = Writer::restore(options(), state.clone(), at(5)).unwrap();
    assert_eq!((writer.current().sequence(), writer.current().loaded()), (0, false));
}

#[test]
fn graces_go_on_with_what_is_left_of_them_on_another_clock() {
    let mut writer = writer();
    let whole = world(1, vec![thing("a", 10, "A")], vec![]);
    load_at(&mut writer, &[whole.clone(), world(2, vec![thing("b", 1, "B")], vec![])], 0);
    let without = World { secrets: whole.secrets[1..].to_vec(), ..whole };
    load_at(&mut writer, &[without], 1_000);
    let state = writer.state(at(1_060));
    let mut restored = Writer::restore(options(), reread(&state), at(-7)).unwrap();
    assert_eq!(restored.next_expiry_ms(), Some(33));
    assert!(restored.expire(at(32)).is_none());
    assert!(restored.current().secret(&secret(1, 1)).is_some());
    restored.expire(at(33)).unwrap();
    assert!(restored.current().secret(&secret(1, 1)).is_none());
    assert!(restored.current().secret(&secret(101, 1)).is_some());
    assert_eq!(restored.current().environments.iter().flatten().count(), 1);
}

#[test]
fn where_a_server_is_followed_nothing_is_certain_after_a_restart_until_it_was_asked() {
    let follows = WriterOptions { follows: true, ..options() };
    let mut writer = Writer::new(follows);
    writer.set_answered(3);
    load(&mut writer, &[world(1, vec![thing("a", 10, "A")], vec![])]);
    assert_eq!(writer.current().answered(), 3);
    let mut restored = Writer::restore(follows, writer.state(at(0)), at(0)).unwrap();
    assert!(restored.current().loaded());
    assert_eq!(restored.current().answered(), 0);
    assert!(restored.confirm(1).is_some());
}

#[test]
fn an_item_that_cannot_be_read_is_refused() {
    let mut writer = writer();
    load(&mut writer, &[world(1, vec![thing("a", 10, "A")], vec![])]);
    let mut state = writer.state(at(0));
    let contents = state.environments[0].contents.as_mut().unwrap();
    contents.flags[0].json = ItemJson::Read("{}".into());
    assert!(Writer::restore(options(), state.clone(), at(0)).is_err());
}

/// What went wrong: a state that lists an environment without contents ended the agent.
#[test]
fn a_listed_environment_without_contents_is_left_out() {
    let mut writer = writer();
    load(&mut writer, &[world(1, vec![thing("a", 10, "A")], vec![]), world(2, vec![], vec![])]);
    let mut state = writer.state(at(0));
    state.environments[1].contents = None;
    let restored = Writer::restore(options(), state, at(0)).unwrap();
    assert_eq!(restored.current().environments().count(), 1);
}
