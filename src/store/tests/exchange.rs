//! Several writers that exchange their data as agents of a cluster do, and every kind of SDK that goes from one to another.
//!
//! Changes and removals reach one writer or more, in any order. Whenever all have exchanged what they have, they hold the
//! same, which is what a map of the greatest stamps has; and every SDK, connected, late or new at another writer, gets every
//! change that it lacks. Writers that were apart have sent versions that the others do not know: an SDK that goes to another
//! one must then have heard of the exchange first.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::rounds::Model;
use super::support::*;
use crate::model::parse::DatasetText;
use crate::model::stamp::Stamp;
use crate::protocol::to_relay::ToRelay;
use crate::store::item::Item;
use crate::store::table::Entry;
use crate::store::{ClusterData, ItemKind, Moment, Removal, Writer, WriterOptions};

const WRITERS: usize = 3;

/// One state of an item, or its removal, with the versions that SDKs were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    updated_at_ms: i64,
    json: Option<String>,
    sent_ms: i64,
    client_sent_ms: i64,
}

type Records = BTreeMap<(ItemKind, String), Record>;

impl Record {
    fn stamp(&self) -> Stamp<'_> {
        match &self.json {
            Some(json) => Stamp::of(self.updated_at_ms, json),
            None => Stamp::removal(self.updated_at_ms),
        }
    }
}

/// For messages: ids, dates, whether it was removed, versions.
fn brief(records: &Records) -> Vec<(String, i64, bool, i64, i64)> {
    let brief = records.iter().map(|((_, id), one)| {
        (id.clone(), one.updated_at_ms, one.json.is_none(), one.sent_ms, one.client_sent_ms)
    });
    brief.collect()
}

/// Keeps the greater stamp; of the same, the greater versions.
fn store(records: &mut Records, key: (ItemKind, String), record: Record) {
    let Some(kept) = records.get_mut(&key) else {
        records.insert(key, record);
        return;
    };
    if kept.stamp() == record.stamp() {
        kept.sent_ms = kept.sent_ms.max(record.sent_ms);
        kept.client_sent_ms = kept.client_sent_ms.max(record.client_sent_ms);
    } else if kept.stamp() < record.stamp() {
        *kept = record;
    }
}

fn record<T: Item>(entry: &Entry<T>) -> (String, Record) {
    let own = entry.source();
    let record = Record {
        updated_at_ms: own.updated_at_ms,
        json: Some(own.raw.to_string()),
        sent_ms: entry.version_ms,
        client_sent_ms: entry.client_version_ms,
    };
    (own.id.to_string(), record)
}

/// All that a writer has.
fn records_of(writer: &Writer) -> Records {
    let environment = environment(writer.current(), 1);
    let flags = environment.flags.entries().map(record).map(|(id, one)| ((ItemKind::Flag, id), one));
    let segments = environment.segments.entries().map(record).map(|(id, one)| ((ItemKind::Segment, id), one));
    let mut records: Records = flags.chain(segments).collect();
    let state = writer.state(at(0));
    let tombstones = state.environments.iter().filter_map(|one| one.contents.as_ref());
    for one in tombstones.flat_map(|contents| &contents.tombstones) {
        let removal = Record {
            updated_at_ms: one.updated_at_ms,
            json: None,
            sent_ms: i64::MIN,
            client_sent_ms: i64::MIN,
        };
        records.insert((one.kind, one.id.to_string()), removal);
    }
    records
}

/// Merges records as they come from another agent.
fn merge(writer: &mut Writer, records: &Records, wall_ms: i64) {
    let bodies = |kind| {
        let bodies = records.iter().filter(|((have, _), _)| *have == kind);
        bodies.filter_map(|(_, record)| record.json.clone()).collect::<Vec<_>>().join(",")
    };
    let id = world(1, vec![], vec![]).id();
    let text = format!(
        r#"{{"messageType":"data-sync","data":{{"eventType":"rp_patch","items":[{{"envId":"{id}","secrets":[],"featureFlags":[{}],"segments":[{}]}}]}}}}"#,
        bodies(ItemKind::Flag),
        bodies(ItemKind::Segment)
    );
    let mut text = DatasetText::new(text.into_bytes());
    let Ok(ToRelay::Patch(mut dataset)) = ToRelay::parse(&mut text) else { panic!("not a patch") };
    let def = &mut dataset.environments[0];
    for flag in &mut def.flags {
        let record = &records[&(ItemKind::Flag, flag.id.to_owned())];
        (flag.sent_ms, flag.client_sent_ms) = (record.sent_ms, record.client_sent_ms);
    }
    for segment in &mut def.segments {
        segment.sent_ms = records[&(ItemKind::Segment, segment.id.to_owned())].sent_ms;
    }
    let removals = records.iter().filter(|(_, record)| record.json.is_none());
    let removals: Vec<_> = removals
        .map(|((kind, name), record)| Removal {
            env_id: id,
            kind: *kind,
            id: name,
            updated_at_ms: record.updated_at_ms,
        })
        .collect();
    let data = ClusterData { list: None, flags: &def.flags, segments: &def.segments, removals: &removals };
    writer.merge_cluster(&data, Moment { steady_ms: 0, wall_ms });
}

fn new_writer() -> Writer {
    let mut writer = Writer::new(WriterOptions { revocation_grace_ms: 0, ..WriterOptions::default() });
    load(&mut writer, &[world(1, vec![], vec![])]);
    writer
}

/// A cluster with its store, and SDKs of every kind at each writer.
struct Cluster {
    writers: Vec<Writer>,
    stored: Records,
    /// What the source has sent so far, by the greatest stamps.
    twin: Records,
    sdks: Vec<(usize, Model)>,
    /// How far the clock of each writer is from that of the others.
    skews_ms: Vec<i64>,
    wall_ms: i64,
}

impl Cluster {
    fn new(skews_ms: &[i64]) -> Self {
        let mut writers: Vec<_> = (0..WRITERS).map(|_| new_writer()).collect();
        // One item that stays, so that there always is a full to send.
        let anchor = thing("anchor", 1, "A");
        writers.iter_mut().for_each(|writer| drop(load(writer, &[world(1, vec![anchor.clone()], vec![])])));
        let sdks = writers
            .iter()
            .enumerate()
            .flat_map(|(at, writer)| Model::all(writer.current()).into_iter().map(move |model| (at, model)));
        let sdks = sdks.collect();
        let twin = records_of(&writers[0]);
        Self { writers, stored: Records::new(), twin, sdks, skews_ms: skews_ms.to_vec(), wall_ms: 30 }
    }

    /// A writer starts anew, with nothing but what the others have stored.
    fn restart(&mut self, at: usize) {
        self.exchange_all();
        self.writers[at] = new_writer();
        self.exchange(at);
        self.exchange_all();
        let Self { sdks, writers, .. } = self;
        let of_it = sdks.iter_mut().filter(|(have, _)| *have == at);
        of_it.for_each(|(_, sdk)| sdk.ask(writers[at].current()));
    }

    fn wall_ms(&self, at: usize) -> i64 {
        self.wall_ms + self.skews_ms[at]
    }

    /// A writer gets this from its source.
    fn source(&mut self, at: usize, key: &(ItemKind, String), record: &Record) {
        store(&mut self.twin, key.clone(), Record { sent_ms: 0, client_sent_ms: 0, ..record.clone() });
        let one = Records::from([(key.clone(), record.clone())]);
        let wall_ms = self.wall_ms(at);
        merge(&mut self.writers[at], &one, wall_ms);
    }

    /// A writer writes what it has, then reads what there is.
    fn exchange(&mut self, at: usize) {
        for (key, record) in records_of(&self.writers[at]) {
            store(&mut self.stored, key, record);
        }
        let wall_ms = self.wall_ms(at);
        merge(&mut self.writers[at], &self.stored, wall_ms);
    }

    fn exchange_all(&mut self) {
        for round in 0.. {
            (0..WRITERS).for_each(|at| self.exchange(at));
            if self.writers.iter().all(|writer| records_of(writer) == self.stored) {
                break;
            }
            let all: Vec<_> = self.writers.iter().map(|writer| brief(&records_of(writer))).collect();
            assert!(round < 10, "they never have the same: {:?} {all:?}", brief(&self.stored));
        }
    }

    /// All have the same, and what the twin has.
    fn check(&self) {
        for writer in &self.writers {
            let (have, twin) = (records_of(writer), &self.twin);
            let same = have.len() == twin.len()
                && have.iter().zip(twin).all(|(one, other)| {
                    (one.0, one.1.updated_at_ms, &one.1.json)
                        == (other.0, other.1.updated_at_ms, &other.1.json)
                });
            assert!(same, "{:?}, not {:?}", brief(&have), brief(twin));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// These writers get a state of an item, or its removal, from their source.
    Source(Vec<usize>, bool, u8, i64, Option<u8>),
    Exchange(usize),
    /// Some SDKs get an update: those whose number is a multiple of this.
    Follow(usize),
    /// All writers exchange what they have, and some SDKs go to the next writer.
    Move(usize),
    Restart(usize),
    Later(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..WRITERS;
    let source = (
        prop::collection::vec(at(), 1..4),
        any::<bool>(),
        0..3u8,
        2..60i64,
        prop::option::weighted(0.75, 0..3u8),
    );
    prop_oneof![
        6 => source.prop_map(|(to, is_flag, id, ms, content)| Step::Source(to, is_flag, id, ms, content)),
        3 => at().prop_map(Step::Exchange),
        2 => (1..4usize).prop_map(Step::Follow),
        2 => (1..4usize).prop_map(Step::Move),
        1 => at().prop_map(Step::Restart),
        2 => (0..20i64).prop_map(Step::Later),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn agents_end_with_the_same_and_sdks_that_change_the_agent_miss_nothing(
        steps in prop::collection::vec(step(), 1..30),
        skews_ms in prop::collection::vec(-20..20i64, WRITERS),
        apart: bool,
    ) {
        let mut cluster = Cluster::new(&skews_ms);
        let id = world(1, vec![], vec![]).id();
        for step in &steps {
            match step {
                Step::Source(to, is_flag, number, updated_at_ms, content) => {
                    let kind = if *is_flag { ItemKind::Flag } else { ItemKind::Segment };
                    let one = thing(&format!("{kind:?}{number}"), *updated_at_ms, "");
                    let json = content.map(|content| {
                        let one = Thing { content: format!("u{content}"), ..one.clone() };
                        let one = if *number == 1 { one.using(&["Segment1"]) } else { one };
                        if *is_flag { flag_json(id, &one) } else { segment_json(id, &one) }
                    });
                    let record =
                        Record { updated_at_ms: *updated_at_ms, json, sent_ms: i64::MIN, client_sent_ms: i64::MIN };
                    for at in to {
                        cluster.source(*at, &(kind, one.id.clone()), &record);
                        if !apart {
                            cluster.exchange_all();
                        }
                    }
                }
                Step::Restart(at) if !apart => cluster.restart(*at),
                Step::Restart(_) => {}
                Step::Exchange(at) => cluster.exchange(*at),
                Step::Follow(of) => {
                    let Cluster { sdks, writers, .. } = &mut cluster;
                    sdks.iter_mut().step_by(*of).for_each(|(at, sdk)| sdk.follow(writers[*at].current()));
                }
                Step::Move(of) => {
                    cluster.exchange_all();
                    cluster.check();
                    let Cluster { sdks, writers, .. } = &mut cluster;
                    for (at, sdk) in sdks.iter_mut().step_by(*of) {
                        if apart {
                            sdk.follow(writers[*at].current());
                        }
                        *at = (*at + 1) % WRITERS;
                        sdk.ask(writers[*at].current());
                        sdk.check_against(writers[*at].current());
                    }
                }
                Step::Later(ms) => cluster.wall_ms += ms,
            }
        }
        cluster.exchange_all();
        cluster.check();
        let Cluster { mut sdks, writers, .. } = cluster;
        for (number, (at, sdk)) in sdks.iter_mut().enumerate() {
            if number % 2 == 0 && !apart {
                *at = (*at + 1) % WRITERS;
                sdk.ask(writers[*at].current());
            } else {
                sdk.follow(writers[*at].current());
            }
            sdk.check_against(writers[*at].current());
            // What another agent has sent with a higher version may come once more, and not again after that.
            sdk.ask(writers[*at].current());
            sdk.check_against(writers[*at].current());
            sdk.check_sent_nothing(writers[*at].current());
        }
    }
}
