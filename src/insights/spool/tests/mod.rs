//! Spools as a whole: crashes, errors of the disk, damage, bounds, and random steps next to a plain twin.

mod bounds;
mod crash;
mod damage;
mod files;
mod twin;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::insights::queue_twin::{batch, key, texts};
use crate::persist::log::simulated::SimulatedDisk;

/// Small segments, so that tests have many.
const OPTIONS: SpoolOptions = SpoolOptions { bytes_max: 1 << 20, age_max_ms: 100_000, segment_bytes: 2000 };

const ALL: PeekLimits = PeekLimits { events: 1000, bytes: 1 << 20 };

fn directory() -> &'static Path {
    Path::new("/simulated")
}

fn open_with(disk: &SimulatedDisk, options: SpoolOptions) -> Spool {
    Spool::open(disk.shared(), directory(), options, 0).unwrap()
}

fn open(disk: &SimulatedDisk) -> Spool {
    open_with(disk, OPTIONS)
}

/// The segment files, in order.
fn segment_files(disk: &SimulatedDisk) -> Vec<PathBuf> {
    disk.names().into_iter().filter(|name| name.ends_with(".events")).map(PathBuf::from).collect()
}

/// Random numbers below a bound, from a seed.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |bound| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % bound.max(1)
    }
}

/// What became of the events of one stream.
#[derive(Debug, Default)]
struct Fate {
    /// Whose sync succeeded, in order.
    accepted: Vec<Vec<u8>>,
    /// Which were given out and confirmed, in order.
    sent: Vec<Vec<u8>>,
    expired: u64,
}

/// What became of all events.
#[derive(Debug, Default)]
struct Ledger {
    fates: BTreeMap<StreamKey, Fate>,
    pending: Vec<Batch>,
}

impl Ledger {
    fn fate(&mut self, key: StreamKey) -> &mut Fate {
        self.fates.entry(key).or_default()
    }

    fn append(&mut self, spool: &mut Spool, batch: Batch) {
        if spool.append(&batch).is_ok() {
            self.pending.push(batch);
        }
    }

    fn sync(&mut self, spool: &mut Spool) -> Result<(), Full> {
        let result = spool.sync();
        for batch in self.pending.drain(..) {
            if result.is_ok() {
                let fate = self.fates.entry(StreamKey::of(&batch)).or_default();
                fate.accepted.extend(texts(&[batch]));
            }
        }
        result
    }

    /// Sends up to so many of a stream's events.
    fn send(&mut self, spool: &mut Spool, key: StreamKey, events: usize) {
        let limits = PeekLimits { events, ..ALL };
        if let Ok(Some(portion)) = spool.peek(key, limits) {
            self.fate(key).sent.extend(texts(&portion.batches));
            spool.confirm(key, portion.events);
        }
    }

    fn expire(&mut self, spool: &mut Spool, now_ms: i64) {
        for expired in spool.expire(now_ms) {
            self.fate(expired.stream).expired += expired.events;
        }
    }

    /// Sends all that waits.
    fn send_all(&mut self, spool: &mut Spool) {
        while let Some(status) = spool.streams().first() {
            let before = (status.key, status.events);
            self.send(spool, status.key, 7);
            let after = spool.streams().first().map(|status| (status.key, status.events));
            assert_ne!(after, Some(before), "it does not go on");
        }
        self.expire(spool, 0);
        assert_eq!(spool.status().events, 0);
    }

    /// Everything accepted was sent, and else was counted. `uncounted`: but for so many.
    fn check(&self, what: &str, uncounted: usize) {
        for (key, fate) in &self.fates {
            let missing = fate.accepted.iter().filter(|text| !fate.sent.contains(text)).count();
            assert!(
                missing as u64 <= fate.expired + uncounted as u64,
                "{what}: {missing} missing of {key:?}"
            );
            let mut first_sent: Vec<&Vec<u8>> = Vec::new();
            for text in fate.sent.iter().filter(|text| fate.accepted.contains(text)) {
                if !first_sent.contains(&text) {
                    first_sent.push(text);
                }
            }
            let in_order = fate.accepted.iter().filter(|text| fate.sent.contains(text));
            assert!(in_order.eq(first_sent), "{what}: another order in {key:?}");
        }
    }

    fn missing(&self) -> u64 {
        let missing =
            |fate: &Fate| fate.accepted.iter().filter(|text| !fate.sent.contains(text)).count() as u64;
        self.fates.values().map(missing).sum()
    }

    fn expired(&self) -> u64 {
        self.fates.values().map(|fate| fate.expired).sum()
    }
}

#[test]
fn what_was_synced_is_there_after_it_was_opened_again() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    let mut ledger = Ledger::default();
    for round in 0..30 {
        ledger.append(&mut spool, batch(round % 3, 5, 4));
        ledger.append(&mut spool, batch(round % 2, 5, 2));
        ledger.sync(&mut spool).unwrap();
    }
    ledger.send(&mut spool, key(0), 5);
    let before = spool.status();
    drop(spool);
    let mut spool = open(&disk);
    let after = spool.status();
    assert_eq!((after.events, after.bytes, after.oldest_ms), (before.events, before.bytes, Some(5)));
    ledger.send_all(&mut spool);
    ledger.check("reopened", 0);
    let sent: usize = ledger.fates.values().map(|fate| fate.sent.len()).sum();
    assert_eq!(sent, 30 * 6);
    spool.expire(10_000_000);
    assert!(segment_files(&disk).is_empty(), "{:?}", segment_files(&disk));
}

#[test]
fn nothing_is_given_out_that_is_not_synced() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    spool.append(&batch(0, 0, 1)).unwrap();
    assert_eq!(spool.peek(key(0), ALL).unwrap(), None);
    assert!(spool.streams().is_empty());
    spool.sync().unwrap();
    assert_eq!(spool.peek(key(0), ALL).unwrap().unwrap().events, 1);
}

#[test]
fn nothing_is_written_when_there_is_nothing_to_do() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    spool.append(&batch(0, 0, 0)).unwrap();
    spool.sync().unwrap();
    assert!(segment_files(&disk).is_empty(), "{:?}", segment_files(&disk));
    spool.append(&batch(0, 0, 2)).unwrap();
    spool.sync().unwrap();
    spool.peek(key(0), ALL).unwrap();
    spool.confirm(key(0), 1);
    spool.sync().unwrap();
    let before = disk.operations();
    spool.sync().unwrap();
    assert_eq!(disk.operations(), before);
}

#[test]
fn debug_output_tells_nothing_of_the_events() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    spool.append(&batch(0, 0, 1)).unwrap();
    spool.sync().unwrap();
    let shown = format!("{spool:?}");
    assert!(shown.contains("events: 1") && !shown.contains("123") && !shown.contains("\\\"n\\\""), "{shown}");
}
