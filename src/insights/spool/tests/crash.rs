//! The machine or an operation of the disk fails at any point: what was synced is sent, or counted.

use std::io;

use super::*;
use crate::persist::log::simulated::{Fault, Op};

/// Random work. Ends with the first error of a sync if `until_error`.
fn work(spool: &mut Spool, ledger: &mut Ledger, seed: u64, until_error: bool) {
    let mut random = random(seed);
    for round in 0..12 {
        for _ in 0..random(4) {
            let events = 1 + random(4);
            ledger.append(spool, batch(random(3) as u8, round, events));
        }
        if ledger.sync(spool).is_err() && until_error {
            return;
        }
        // The last stream never sends.
        ledger.send(spool, key(random(2) as u8), 1 + random(6));
        if random(4) == 0 {
            ledger.expire(spool, round);
        }
    }
}

/// Lets the machine fail at operation `at`, and starts again. Returns whether the operation was reached.
fn crash_at(at: u64, seed: u64) -> bool {
    let disk = SimulatedDisk::default();
    disk.plan(move |number, _| (number == at).then_some(Fault::Crash));
    let mut ledger = Ledger::default();
    if let Ok(mut spool) = Spool::open(disk.shared(), directory(), OPTIONS, 0) {
        work(&mut spool, &mut ledger, seed, true);
    }
    let reached = disk.operations() > at;
    let disk = disk.after_crash(&mut random(seed + at));
    let mut spool = open(&disk);
    ledger.append(&mut spool, batch(1, 50, 2));
    ledger.sync(&mut spool).unwrap();
    ledger.send_all(&mut spool);
    ledger.check(&format!("operation {at}, seed {seed}"), 0);
    assert_eq!(ledger.expired(), 0, "operation {at}, seed {seed}");
    assert_eq!(spool.status().set_aside, 0, "operation {at}, seed {seed}");
    reached
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_synced() {
    for seed in 0..8 {
        let mut at = 0;
        while crash_at(at, seed) {
            at += 1;
        }
        assert!(at > 30, "{at}");
    }
}

#[test]
fn an_error_at_any_operation_loses_nothing_that_was_synced() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::TimedOut, io::ErrorKind::InvalidData] {
        for length in [1, 3] {
            for at in 0.. {
                let disk = SimulatedDisk::default();
                let mut spool = open(&disk);
                disk.plan(move |number, _| (at..at + length).contains(&number).then_some(Fault::Error(kind)));
                let mut ledger = Ledger::default();
                work(&mut spool, &mut ledger, at, false);
                if disk.operations() <= at {
                    break;
                }
                disk.heal();
                let what = format!("{kind}, {length} from operation {at}");
                ledger.append(&mut spool, batch(1, 50, 2));
                ledger.sync(&mut spool).unwrap();
                // Half of the cases end the process before the rest is sent.
                if at % 2 == 0 {
                    ledger.expire(&mut spool, 0);
                    drop(spool);
                    spool = open(&disk);
                }
                ledger.send_all(&mut spool);
                ledger.check(&what, 0);
                if kind != io::ErrorKind::InvalidData {
                    assert_eq!((ledger.expired(), spool.status().set_aside), (0, 0), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_new_events_and_recovers_by_itself() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    let mut ledger = Ledger::default();
    for _ in 0..5 {
        ledger.append(&mut spool, batch(0, 0, 10));
        ledger.sync(&mut spool).unwrap();
    }
    disk.plan(|_, op| {
        let takes_space = matches!(op, Op::Allocate | Op::Create | Op::Write);
        takes_space.then_some(Fault::Error(io::ErrorKind::StorageFull))
    });
    let before = spool.status();
    for _ in 0..10 {
        ledger.append(&mut spool, batch(1, 0, 10));
        // There may be space in advance.
        let Err(error) = ledger.sync(&mut spool) else { continue };
        assert!(matches!(&error, Full::Disk(error) if error.kind() == io::ErrorKind::StorageFull));
    }
    assert_eq!(spool.status().events, before.events);
    assert!(segment_files(&disk).len() as u64 <= before.segments);
    ledger.send(&mut spool, key(0), 20);
    disk.heal();
    ledger.append(&mut spool, batch(0, 0, 10));
    ledger.sync(&mut spool).unwrap();
    ledger.send_all(&mut spool);
    ledger.check("full disk", 0);
    assert_eq!(ledger.expired(), 0);
}

/// What could go wrong: events that were refused are sent all the same, and take the places of later ones.
#[test]
fn events_of_a_failed_sync_were_confused_with_later_ones() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    let mut ledger = Ledger::default();
    ledger.append(&mut spool, batch(0, 0, 3));
    ledger.sync(&mut spool).unwrap();
    // The bytes of the next group reach the file, and it cannot be cut.
    disk.plan(|_, op| matches!(op, Op::Sync | Op::Truncate).then_some(Fault::Error(io::ErrorKind::Other)));
    ledger.append(&mut spool, batch(0, 0, 5));
    ledger.sync(&mut spool).unwrap_err();
    disk.heal();
    ledger.append(&mut spool, batch(0, 0, 4));
    ledger.sync(&mut spool).unwrap();
    assert_eq!(spool.status().events, 7);
    ledger.send(&mut spool, key(0), 5);
    ledger.sync(&mut spool).unwrap();
    std::mem::forget(spool);
    let mut spool = open(&disk.after_crash(&mut |bound| bound - 1));
    ledger.send_all(&mut spool);
    ledger.check("failed sync", 0);
    assert_eq!(ledger.missing(), 0);
}
