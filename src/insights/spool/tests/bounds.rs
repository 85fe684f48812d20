//! Bounds: memory, space on the disk, age; streams that do not hinder each other.

use super::index::INDEXES_MAX;
use super::*;

fn fill(spool: &mut Spool, ledger: &mut Ledger, batches: usize, now_ms: i64) {
    for number in 0..batches {
        ledger.append(spool, batch((number % 5) as u8, now_ms, 3));
        if number % 4 == 3 {
            ledger.sync(spool).unwrap();
        }
    }
    ledger.sync(spool).unwrap();
}

/// What could go wrong: the places of three million small batches are in memory.
#[test]
fn a_big_backlog_is_on_the_disk_and_not_in_memory() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    let mut ledger = Ledger::default();
    fill(&mut spool, &mut ledger, 1000, 0);
    let check = |spool: &Spool| {
        let status = spool.status();
        assert!(status.indexes <= INDEXES_MAX as u64 + 1, "{status:?}");
        assert!(spool.pending.is_empty());
        status.segments
    };
    assert!(check(&spool) > 50);
    drop(spool);
    let mut spool = open(&disk);
    assert_eq!(check(&spool), spool.status().segments);
    assert_eq!(spool.status().indexes, 0);
    // Each stream reads at a place of its own.
    for round in 0..60 {
        for stream in 0..5 {
            ledger.send(&mut spool, key(stream), usize::from(stream) * 2 + round % 3);
            check(&spool);
        }
    }
    ledger.send_all(&mut spool);
    ledger.check("backlog", 0);
    assert_eq!(ledger.expired(), 0);
}

#[test]
fn all_files_together_stay_within_the_bound_and_the_oldest_events_go_first() {
    let disk = SimulatedDisk::default();
    let options = SpoolOptions { bytes_max: 40_000, ..OPTIONS };
    let mut spool = open_with(&disk, options);
    let mut ledger = Ledger::default();
    for _ in 0..100 {
        fill(&mut spool, &mut ledger, 7, 0);
        let files: usize = segment_files(&disk).iter().map(|file| disk.content(file).unwrap().len()).sum();
        assert_eq!(spool.status().file_bytes, files as u64);
        assert!(files <= 40_000, "{files}");
    }
    assert!(spool.status().file_bytes > 20_000);
    ledger.expire(&mut spool, 0);
    let expired = ledger.expired();
    assert!(expired > 500, "{expired}");
    ledger.send_all(&mut spool);
    for fate in ledger.fates.values() {
        assert_eq!(fate.sent, fate.accepted[fate.expired as usize..]);
    }
}

#[test]
fn a_batch_that_is_larger_than_a_segment_is_taken_and_one_larger_than_all_is_not() {
    let disk = SimulatedDisk::default();
    let options = SpoolOptions { bytes_max: 40_000, ..OPTIONS };
    let mut spool = open_with(&disk, options);
    let mut ledger = Ledger::default();
    ledger.append(&mut spool, batch(0, 0, 200));
    ledger.sync(&mut spool).unwrap();
    ledger.append(&mut spool, batch(0, 0, 2000));
    assert!(matches!(ledger.sync(&mut spool), Err(Full::Disk(_))));
    ledger.append(&mut spool, batch(0, 0, 1));
    ledger.sync(&mut spool).unwrap();
    ledger.send_all(&mut spool);
    ledger.check("large", 0);
    assert_eq!(ledger.fates[&key(0)].sent.len(), 201);
}

#[test]
fn old_events_are_dropped_and_young_ones_are_not() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    let mut ledger = Ledger::default();
    for minute in 0..10 {
        fill(&mut spool, &mut ledger, 10, minute * 60_000);
    }
    let expired = spool.expire(400_000);
    assert!(expired.iter().all(|expired| expired.reason == ExpiredReason::Age));
    // Those of 0 to 240,000 ms are older than 100,000 ms, and one at 300,000 ms is not.
    assert_eq!(expired.iter().map(|expired| expired.events).sum::<u64>(), 5 * 30);
    assert_eq!(spool.status().oldest_ms, Some(300_000));
    assert_eq!(spool.expire(10_000_000).iter().map(|expired| expired.events).sum::<u64>(), 5 * 30);
    assert!(segment_files(&disk).is_empty(), "{:?}", segment_files(&disk));
    assert_eq!(spool.status(), QueueStatus::default());
}

#[test]
fn what_is_dropped_in_flight_is_not_taken_from_what_follows() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    let mut ledger = Ledger::default();
    ledger.append(&mut spool, batch(0, 0, 2));
    ledger.sync(&mut spool).unwrap();
    ledger.append(&mut spool, batch(0, 90_000, 2));
    ledger.sync(&mut spool).unwrap();
    spool.peek(key(0), PeekLimits { events: 3, ..ALL }).unwrap();
    assert_eq!(spool.expire(150_000)[0].events, 2);
    spool.confirm(key(0), 3);
    assert_eq!(spool.status().events, 1);
    spool.confirm(key(0), 3);
    assert_eq!(spool.status().events, 1);
}

/// What could go wrong: one stream that cannot send keeps the files of all others, until events are dropped for lack of room.
#[test]
fn one_stream_that_never_sends_holds_no_file_but_its_own() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    let mut ledger = Ledger::default();
    ledger.append(&mut spool, batch(4, 0, 1));
    ledger.append(&mut spool, batch(0, 0, 5));
    ledger.sync(&mut spool).unwrap();
    for _ in 0..200 {
        ledger.append(&mut spool, batch(0, 0, 5));
        ledger.append(&mut spool, batch(1, 0, 1));
        ledger.sync(&mut spool).unwrap();
        ledger.send(&mut spool, key(0), 100);
        ledger.send(&mut spool, key(1), 100);
        ledger.sync(&mut spool).unwrap();
        assert!(segment_files(&disk).len() <= 4, "{:?}", segment_files(&disk));
    }
    std::mem::forget(spool);
    let mut spool = open(&disk.after_crash(&mut |bound| bound - 1));
    let streams: Vec<(StreamKey, u64)> =
        spool.streams().iter().map(|stream| (stream.key, stream.events)).collect();
    assert_eq!(streams, [(key(4), 1)]);
    ledger.send_all(&mut spool);
    ledger.check("one stream", 0);
    let sent = &ledger.fates[&key(0)].sent;
    assert_eq!(sent, &ledger.fates[&key(0)].accepted);
}
