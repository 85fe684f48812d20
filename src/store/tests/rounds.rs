//! Every kind of SDK, by its rule for accepting data, through random rounds of changes.
//!
//! Changes come in any order of their dates, share milliseconds, restore older states, and are removals. SDKs get them at
//! once or later, reconnect, or poll; the agent restarts. Every SDK accepts every change, is sent nothing twice, and none
//! is made to reconnect.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::support::*;
use super::twin::{Edit, Tombstones, apply, edit, record_removals, upsert_one};
use crate::protocol::sdk::Sdk as Name;
use crate::store::{Environment, Moment, PatchForm, Snapshot, Writer, WriterOptions};

/// An SDK, by the data that it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A full always; an item that is newer than the same one it has.
    Node,
    /// The same; an item of the same version and other content makes it ask for everything.
    Rust,
    /// An item as Node does, a full only if it is newer than all it has.
    Ruby,
    /// The same, and it ignores the rest of a message after the first item that it does not accept.
    Python12,
    /// Only what is newer than all it has.
    Python11,
    /// The same, and an item that it does not accept makes it close the connection.
    Java,
    /// The same, and it handles the items of a message in any order.
    Go,
    /// A full always; an item that is not older than the same one it has.
    Browser,
    /// A full always; an item that is newer than the same one it has.
    Android,
}

const KINDS: [Kind; 9] = [
    Kind::Node,
    Kind::Rust,
    Kind::Ruby,
    Kind::Python12,
    Kind::Python11,
    Kind::Java,
    Kind::Go,
    Kind::Browser,
    Kind::Android,
];

impl Kind {
    fn is_client(self) -> bool {
        matches!(self, Kind::Browser | Kind::Android)
    }

    fn form(self) -> PatchForm {
        PatchForm::of(match self {
            Kind::Java => Name::Java,
            Kind::Go => Name::Go,
            Kind::Python11 | Kind::Python12 => Name::Python,
            Kind::Ruby => Name::Ruby,
            Kind::Android => Name::Android,
            Kind::Node | Kind::Rust | Kind::Browser => Name::Other,
        })
    }

    /// Whether it accepts a full only if that is newer than all it has.
    fn is_choosy(self) -> bool {
        matches!(self, Kind::Ruby | Kind::Python12 | Kind::Python11 | Kind::Java | Kind::Go)
    }

    /// Whether it accepts an item only if that is newer than all it has.
    fn is_strict(self) -> bool {
        matches!(self, Kind::Python11 | Kind::Java | Kind::Go)
    }

    /// Whether such an SDK can poll.
    fn can_poll(self) -> bool {
        matches!(self, Kind::Node | Kind::Browser | Kind::Android)
    }
}

/// One SDK of environment 1. What it has outlives its connections.
#[derive(Clone, Debug)]
pub(super) struct Model {
    kind: Kind,
    polls: bool,
    sdk: Sdk,
    /// The publish that it was brought to.
    sequence: u64,
}

const USER: &str = "u1";

impl Model {
    pub fn all(snapshot: &Snapshot) -> Vec<Self> {
        let kinds = KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]);
        let kinds = kinds.filter(|(kind, polls)| !polls || kind.can_poll());
        let mut models: Vec<_> =
            kinds.map(|(kind, polls)| Self { kind, polls, sdk: Sdk::default(), sequence: 0 }).collect();
        models.iter_mut().for_each(|model| model.ask(snapshot));
        models
    }

    /// Connects, or polls, with the version that it has.
    pub fn ask(&mut self, snapshot: &Snapshot) {
        let environment = environment(snapshot, 1);
        let timestamp_ms = self.sdk.version_ms();
        environment.record_requested_version(timestamp_ms, || i64::MAX);
        let messages = match (self.kind.is_client(), self.polls) {
            (true, _) => vec![client_sync(snapshot, 1, USER, timestamp_ms)],
            (false, true) => poll(&environment, timestamp_ms).into_iter().collect(),
            (false, false) => {
                let mut out = Vec::new();
                environment.server_sync(timestamp_ms, self.kind.form(), &mut out);
                messages(&out)
            }
        };
        self.take(&messages);
        self.sequence = environment.sequence();
    }

    /// Gets the changes since its last update.
    pub fn follow(&mut self, snapshot: &Snapshot) {
        if self.polls {
            return self.ask(snapshot);
        }
        let environment = environment(snapshot, 1);
        let messages = if self.kind.is_client() {
            client_since(snapshot, 1, USER, self.sequence).into_iter().collect()
        } else {
            let mut out = Vec::new();
            environment.server_since(self.sequence, self.kind.form(), &mut out);
            messages(&out)
        };
        self.take(&messages);
        self.sequence = environment.sequence();
    }

    fn take(&mut self, messages: &[Value]) {
        for message in messages {
            let mut alone = Sdk::default();
            alone.apply(message, |_, _| true);
            if message["data"]["eventType"] == "full" {
                let is_newer = alone.version_ms() > self.sdk.version_ms();
                if self.kind.is_choosy() && !is_newer && !self.sdk.items.is_empty() {
                    // The last item was removed: no item is left that could be newer.
                    assert!(alone.items.is_empty(), "{:?} ignores {message}", self.kind);
                    continue;
                }
                self.sdk = alone;
                continue;
            }
            if self.kind.form() == PatchForm::OnePerItem {
                assert!(alone.items.len() <= 1, "{:?} loses items of {message}", self.kind);
            }
            let store_ms = self.sdk.version_ms();
            for (key, item) in alone.items {
                let has = self.sdk.items.get(&key);
                assert_ne!(has, Some(&item), "{:?} is sent it twice", self.kind);
                let has_ms = if self.kind.is_strict() { Some(store_ms) } else { has.map(version) };
                let is_taken = has_ms.is_none_or(|has_ms| version(&item) > has_ms);
                assert!(is_taken, "{:?}, having {has:?} of {store_ms}, does not take {item}", self.kind);
                self.sdk.items.insert(key, item);
            }
        }
    }

    /// What it has says what the source does.
    fn check(&self, worlds: &[World], snapshot: &Snapshot) {
        let Some(world) = worlds.iter().find(|world| world.number == 1) else { return };
        let emptied = world.flags.is_empty() && world.segments.is_empty();
        if self.kind.is_choosy() && emptied {
            return;
        }
        if !self.kind.is_client() {
            let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
            let flags = world
                .flags
                .iter()
                .map(|flag| (("featureFlags", flag.id.clone()), read(flag_json(world.id(), flag))));
            let segments = world
                .segments
                .iter()
                .map(|one| (("segments", one.id.clone()), read(segment_json(world.id(), one))));
            let source = Sdk { items: flags.chain(segments).collect() };
            assert_eq!(said(&self.sdk), said(&source), "{:?}", self.kind);
        }
        self.check_against(snapshot);
        self.check_sent_nothing(snapshot);
    }

    /// It has what a new SDK would get.
    pub fn check_against(&self, snapshot: &Snapshot) {
        let mut fresh = Self { sdk: Sdk::default(), ..self.clone() };
        fresh.ask(snapshot);
        assert_eq!(said(&self.sdk), said(&fresh.sdk), "{:?}", self.kind);
    }

    /// Who has everything is sent nothing.
    pub fn check_sent_nothing(&self, snapshot: &Snapshot) {
        if !self.sdk.items.is_empty() {
            let mut again = self.clone();
            let timestamp_ms = again.sdk.version_ms();
            if self.kind.is_client() {
                let answer = client_sync(snapshot, 1, USER, timestamp_ms);
                assert_eq!(brief(&answer), "patch ", "{:?}", self.kind);
            } else {
                let environment = environment(snapshot, 1);
                assert_eq!(poll(&environment, timestamp_ms), None, "{:?}", self.kind);
                assert_eq!(
                    sync(&environment, timestamp_ms, self.kind.form()),
                    ["patch /"],
                    "{:?}",
                    self.kind
                );
            }
            again.ask(snapshot);
            assert_eq!(again.sdk, self.sdk);
        }
    }
}

/// The items without their versions.
fn said(sdk: &Sdk) -> BTreeMap<(&'static str, String), Value> {
    let mut items = sdk.items.clone();
    for item in items.values_mut() {
        let item = item.as_object_mut().unwrap();
        item.remove("updatedAt");
        item.remove("timestamp");
    }
    items
}

#[derive(Clone, Debug)]
enum Step {
    /// A whole dataset with these edits.
    Load(Vec<Edit>),
    /// Single items.
    Upsert(Vec<Edit>),
    /// A whole dataset in which the environment has no items.
    Empty,
    /// Some SDKs get an update: those whose number is a multiple of this.
    Follow(usize),
    /// Some SDKs reconnect or poll.
    Ask(usize),
    /// The agent restarts when all SDKs are up to date. It has its data, but not the versions that it sent.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let edits = || prop::collection::vec(edit(), 1..4);
    prop_oneof![
        4 => edits().prop_map(Step::Load),
        4 => edits().prop_map(Step::Upsert),
        1 => Just(Step::Empty),
        3 => (1..4usize).prop_map(Step::Follow),
        3 => (1..4usize).prop_map(Step::Ask),
        1 => Just(Step::Restart),
    ]
}

fn new_writer() -> Writer {
    Writer::new(WriterOptions { revocation_grace_ms: 0, ..WriterOptions::default() })
}

/// The environment under test stays, at the same position.
fn harmless(edits: &[Edit]) -> Vec<Edit> {
    let stays = |edit: &&Edit| !matches!(edit, Edit::Environment { number: 1 } | Edit::ReverseEnvironments);
    edits.iter().filter(stays).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_kind_of_sdk_takes_every_change_once(
        steps in prop::collection::vec((step(), 0..20i64), 1..24), forgetful: bool,
    ) {
        let mut writer = new_writer();
        let mut worlds = vec![world(1, vec![], vec![]), world(2, vec![], vec![])];
        let mut tombstones = Tombstones::new();
        let mut wall_ms = 5;
        let load = |writer: &mut Writer, worlds: &[World], wall_ms| {
            load_text(writer, &dump_json(worlds), Moment { steady_ms: 0, wall_ms });
        };
        load(&mut writer, &worlds, wall_ms);
        let mut models = Model::all(writer.current());
        for (step, later_ms) in &steps {
            wall_ms += later_ms;
            let before = worlds.clone();
            match step {
                Step::Load(edits) => {
                    harmless(edits).iter().for_each(|edit| apply(&mut worlds, edit));
                    record_removals(&before, &worlds, &mut tombstones);
                    load(&mut writer, &worlds, wall_ms);
                }
                Step::Empty => {
                    for world in worlds.iter_mut().filter(|world| world.number == 1) {
                        world.flags.clear();
                        world.segments.clear();
                    }
                    record_removals(&before, &worlds, &mut tombstones);
                    load(&mut writer, &worlds, wall_ms);
                }
                Step::Upsert(edits) => {
                    upsert_one(&mut writer, &mut worlds, &mut tombstones, &harmless(edits), wall_ms);
                }
                Step::Follow(of) => models.iter_mut().step_by(*of).for_each(|model| model.follow(writer.current())),
                Step::Ask(of) => models.iter_mut().step_by(*of).for_each(|model| model.ask(writer.current())),
                Step::Restart => {
                    models.iter_mut().for_each(|model| model.follow(writer.current()));
                    writer = new_writer();
                    tombstones.clear();
                    load(&mut writer, &worlds, wall_ms);
                    models.iter_mut().for_each(|model| model.ask(writer.current()));
                    continue;
                }
            }
            if forgetful {
                // What the ring has forgotten is computed.
                models.retain(|model| model.sequence + 64 > writer.current().sequence());
            }
        }
        for mut model in models {
            model.follow(writer.current());
            model.check(&worlds, writer.current());
        }
        let environment: &Environment = &environment(writer.current(), 1);
        prop_assert!(environment.highest_version_ms <= environment.for_relays.highest_updated_at_ms.max(wall_ms) + 200);
    }
}
