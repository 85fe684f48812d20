//! Chunked tables against plain vectors.

use std::sync::Arc;

use proptest::prelude::*;

use crate::store::item::{Item, Served, Text};
use crate::store::table::{CHUNK_ITEMS, Entry, Newest, Positions, Table, mask_of};

struct Plain {
    text: Text,
    slots: Vec<u32>,
}

impl Item for Plain {
    fn text(&self) -> &Text {
        &self.text
    }

    fn slots(&self) -> &[u32] {
        &self.slots
    }
}

fn entry(id: u16, sequence: u64) -> Entry<Plain> {
    let raw = format!(r#"{{"id":{id},"at":{sequence}}}"#);
    let text = Text { id: Arc::from(id.to_string()), raw: raw.into(), updated_at_ms: i64::from(id) };
    // Some items are not served, and some with a modified text.
    let served = match id % 11 {
        1 | 2 => Served::Nothing,
        3 => Served::Modified(format!(r#"{{"served":{id},"at":{sequence}}}"#).into()),
        _ => Served::Unmodified,
    };
    let slots = vec![u32::from(id % 70)];
    let data = Arc::new(Plain { text, slots });
    let (version_ms, client_version_ms) = (i64::from(id) + 2, i64::from(id) + 1);
    Entry { data, sequence, client_sequence: sequence / 2, version_ms, client_version_ms, served }
}

/// A table with the positions that a writer would keep.
struct PublishedChange {
    table: Table<Plain>,
    positions: Positions,
}

impl PublishedChange {
    fn take(&mut self, next: Table<Plain>) {
        if let Some(positions) = next.positions(&self.table) {
            self.positions = positions;
        }
        self.table = next;
    }

    fn check(&self, expected: &[Entry<Plain>]) {
        assert_eq!(self.table.len(), expected.len());
        assert!(self.table.entries().zip(expected).all(|(one, other)| one.is(other)));
        assert_eq!(self.positions.len(), expected.len());
        for entry in expected {
            let at = self.positions[&entry.data.text.id];
            assert!(self.table.get(at).unwrap().is(entry));
        }
        let raws: Vec<_> = expected.iter().filter_map(Entry::served_text).collect();
        let mut appended = Vec::new();
        self.table.append(&mut appended);
        assert_eq!(String::from_utf8(appended).unwrap(), raws.join(","));
        let mut runs = Vec::new();
        self.table.append_runs(&mut runs);
        assert_eq!(String::from_utf8(runs.concat()).unwrap(), raws.join(","));
        assert_eq!(self.table.encoded_bytes(), runs.concat().len());
        assert_eq!(self.table.served(), raws.len());
        let own: Vec<_> = expected.iter().map(|entry| &*entry.source().raw).collect();
        let mut runs = Vec::new();
        self.table.append_source_json(&mut runs);
        assert_eq!(String::from_utf8(runs.concat()).unwrap(), own.join(","));
        let newest = expected.iter().fold(Newest::NONE, |newest, entry| {
            newest.max(Newest {
                updated_at_ms: entry.source().updated_at_ms,
                sequence: entry.sequence,
                client_sequence: entry.client_sequence,
                version_ms: if entry.is_served() { entry.version_ms } else { i64::MIN },
                client_version_ms: if entry.is_served() { entry.client_version_ms } else { i64::MIN },
            })
        });
        assert_eq!(self.table.newest, newest);
        for chunk in self.table.chunks() {
            assert!((1..=CHUNK_ITEMS).contains(&chunk.entries().len()));
            let slots = chunk.entries().iter().flat_map(|entry| entry.data.slots());
            assert!(slots.into_iter().all(|slot| chunk.may_refer(mask_of(*slot))));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert { at: usize, items: usize },
    Remove { at: usize, items: usize },
    Change { at: Vec<usize> },
    Rotate { by: usize },
    Upsert { at: Vec<usize>, added: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..1_000usize;
    prop_oneof![
        (at.clone(), 1..200usize).prop_map(|(at, items)| Step::Insert { at, items }),
        (at.clone(), 1..200usize).prop_map(|(at, items)| Step::Remove { at, items }),
        prop::collection::vec(at.clone(), 1..4).prop_map(|at| Step::Change { at }),
        at.clone().prop_map(|by| Step::Rotate { by }),
        (prop::collection::vec(at, 0..4), 0..200usize).prop_map(|(at, added)| Step::Upsert { at, added }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_table_is_the_vector_that_it_was_made_of(steps in prop::collection::vec(step(), 1..20)) {
        let mut kept = PublishedChange { table: Table::empty(), positions: Positions::default() };
        let mut all: Vec<Entry<Plain>> = Vec::new();
        let mut next_id = 0;
        for (step, sequence) in steps.into_iter().zip(1..) {
            let mut fresh = |items: usize| {
                next_id += items as u16;
                (next_id - items as u16..next_id).map(|id| entry(id, sequence)).collect::<Vec<_>>()
            };
            let changed = |old: &Entry<Plain>| entry(old.data.text.updated_at_ms as u16, sequence);
            match step {
                Step::Insert { at, items } => {
                    let at = at % (all.len() + 1);
                    all.splice(at..at, fresh(items));
                }
                Step::Remove { at, items } => {
                    let at = at % (all.len() + 1);
                    all.drain(at..(at + items).min(all.len()));
                }
                Step::Change { at } if !all.is_empty() => {
                    for at in at {
                        let at = at % all.len();
                        all[at] = changed(&all[at]);
                    }
                }
                Step::Rotate { by } if !all.is_empty() => {
                    let by = by % all.len();
                    all.rotate_left(by);
                }
                Step::Upsert { at, added } if !all.is_empty() => {
                    let mut replaced = Vec::new();
                    for at in at {
                        let at = at % all.len();
                        all[at] = changed(&all[at]);
                        replaced.push((kept.positions[&all[at].data.text.id], all[at].clone()));
                    }
                    let added = fresh(added);
                    all.extend(added.iter().cloned());
                    let next = kept.table.with(replaced, added);
                    kept.take(next);
                    kept.check(&all);
                    continue;
                }
                _ => {}
            }
            let next = kept.table.arrange(&kept.positions, &all);
            kept.take(next);
            kept.check(&all);
        }
    }
}

fn many(items: u16) -> (PublishedChange, Vec<Entry<Plain>>) {
    let all: Vec<_> = (0..items).map(|id| entry(id, 1)).collect();
    let mut kept = PublishedChange { table: Table::empty(), positions: Positions::default() };
    let table = kept.table.arrange(&kept.positions, &all);
    kept.take(table);
    (kept, all)
}

fn shared(old: &Table<Plain>, new: &Table<Plain>) -> usize {
    let is_in = |chunk: &Arc<_>| old.chunks().iter().any(|old| Arc::ptr_eq(old, chunk));
    new.chunks().iter().filter(|chunk| is_in(chunk)).count()
}

#[test]
fn an_added_or_removed_item_rebuilds_only_its_own_chunk() {
    let (kept, all) = many(1_280);
    let mut without = all.clone();
    without.remove(300);
    assert_eq!(shared(&kept.table, &kept.table.arrange(&kept.positions, &without)), 9);
    let mut with = all.clone();
    with.insert(300, entry(5_000, 2));
    assert_eq!(shared(&kept.table, &kept.table.arrange(&kept.positions, &with)), 9);
    assert!(kept.table.arrange(&kept.positions, &all).positions(&kept.table).is_none());
}

#[test]
fn repeated_insertions_leave_no_trail_of_small_chunks() {
    let (mut kept, mut all) = many(1_280);
    for id in 2_000..2_500 {
        all.insert(640, entry(id, 2));
        let next = kept.table.arrange(&kept.positions, &all);
        kept.take(next);
    }
    assert!(kept.table.chunks().len() <= 2 * all.len() / CHUNK_ITEMS + 1, "{}", kept.table.chunks().len());
}

#[test]
fn new_stamps_alone_keep_a_chunks_encoding() {
    let (kept, all) = many(10);
    let mut before = Vec::new();
    kept.table.append_runs(&mut before);
    let stamped = Entry { client_sequence: 9, ..all[3].clone() };
    let next = kept.table.with(vec![(kept.positions[&all[3].data.text.id], stamped)], vec![]);
    let mut after = Vec::new();
    next.append_runs(&mut after);
    assert!(Arc::ptr_eq(&before[0], &after[0]));
}
