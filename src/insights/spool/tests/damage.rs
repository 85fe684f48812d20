//! Files that were changed: what can be read is sent, the rest is counted, and other segments are not affected.

use std::io;

use super::*;
use crate::persist::log::simulated::{Fault, Op};

/// A spool with this many groups of batches, closed in order or not, and its only file.
fn sample(groups: usize, in_order: bool) -> (SimulatedDisk, Ledger, Vec<u8>) {
    let disk = SimulatedDisk::default();
    let options = SpoolOptions { segment_bytes: 1 << 20, ..OPTIONS };
    let mut spool = open_with(&disk, options);
    let mut ledger = Ledger::default();
    for _ in 0..groups {
        ledger.append(&mut spool, batch(0, 0, 2));
        ledger.append(&mut spool, batch(1, 0, 1));
        ledger.sync(&mut spool).unwrap();
    }
    if in_order {
        drop(spool);
    } else {
        std::mem::forget(spool);
    }
    let path = segment_files(&disk).pop().unwrap();
    let mut file = disk.content(&path).unwrap();
    let used = file.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    file.truncate(used.next_multiple_of(8));
    (disk, ledger, file)
}

/// A disk with a file in the place of the sample's.
fn disk_with(file: Vec<u8>) -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    disk.put(&directory().join("spool/0000000000000001.events"), file);
    disk
}

fn send_all_of(file: Vec<u8>, ledger: &mut Ledger) -> QueueStatus {
    let disk = disk_with(file);
    let mut spool = open(&disk);
    for fate in ledger.fates.values_mut() {
        (fate.sent, fate.expired) = (Vec::new(), 0);
    }
    ledger.send_all(&mut spool);
    spool.status()
}

#[test]
fn a_change_of_any_byte_behind_the_header_is_counted_exactly() {
    let (_, mut ledger, file) = sample(4, true);
    for at in 64..file.len() {
        for change in [0x01, 0xff] {
            let mut changed = file.clone();
            changed[at] ^= change;
            let status = send_all_of(changed, &mut ledger);
            ledger.check(&format!("byte {at}"), 0);
            assert_eq!(ledger.missing(), ledger.expired(), "byte {at}");
            assert!(ledger.missing() <= 2, "byte {at}");
            // But for the summary, which is the last record.
            assert!(status.set_aside == 1 || ledger.missing() == 0, "byte {at}");
        }
    }
}

#[test]
fn a_change_after_a_kill_loses_nothing_but_what_looks_like_the_last_write() {
    let (_, mut ledger, file) = sample(4, false);
    for at in 64..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x10;
        send_all_of(changed, &mut ledger);
        // One of two batches of the last group.
        ledger.check(&format!("byte {at}"), 2);
        assert!(ledger.missing() <= ledger.expired().max(3), "byte {at}");
    }
}

#[test]
fn a_cut_at_any_byte_leaves_what_comes_before() {
    let (_, mut ledger, file) = sample(4, false);
    let all = ledger.fates.values().map(|fate| fate.accepted.len() as u64).sum::<u64>();
    let mut last = 0;
    for cut in 0..=file.len() {
        send_all_of(file[..cut].to_vec(), &mut ledger);
        let sent = all - ledger.missing();
        assert!(sent >= last, "{cut}");
        last = sent;
    }
    assert_eq!(last, all);
}

#[test]
fn a_file_without_its_header_is_set_aside_and_the_others_are_sent() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    let mut ledger = Ledger::default();
    for _ in 0..20 {
        ledger.append(&mut spool, batch(0, 0, 5));
        ledger.sync(&mut spool).unwrap();
    }
    drop(spool);
    let files = segment_files(&disk);
    assert!(files.len() > 3, "{files:?}");
    let mut broken = disk.content(&files[1]).unwrap();
    broken[3] ^= 1;
    disk.put(&files[1], broken.clone());
    disk.put(&directory().join("spool/0000000000000999.events"), b"something else".to_vec());
    disk.put(&directory().join("spool/notes.txt"), b"of somebody".to_vec());
    let mut spool = open(&disk);
    assert_eq!(spool.status().set_aside, 2);
    ledger.send_all(&mut spool);
    let missing = ledger.missing();
    assert!(missing > 0 && missing < 50, "{missing}");
    let names = disk.names();
    let aside: Vec<&String> = names.iter().filter(|name| name.contains(".damaged-")).collect();
    assert_eq!(disk.content(Path::new(aside[0])).unwrap(), broken);
    assert!(names.iter().any(|name| name.ends_with("notes.txt")));
    // Numbers are never used again.
    ledger.append(&mut spool, batch(0, 0, 1));
    ledger.sync(&mut spool).unwrap();
    assert!(segment_files(&disk).last().unwrap().ends_with("0000000000001000.events"));
}

#[test]
fn what_becomes_unreadable_while_it_waits_is_skipped_and_counted() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    let mut ledger = Ledger::default();
    for _ in 0..20 {
        ledger.append(&mut spool, batch(0, 0, 5));
        ledger.append(&mut spool, batch(1, 0, 1));
        ledger.sync(&mut spool).unwrap();
    }
    let files = segment_files(&disk);
    for (file, at) in [(&files[0], 200), (&files[1], 3), (files.last().unwrap(), 150)] {
        let mut changed = disk.content(file).unwrap();
        changed[at] ^= 1;
        let keep: Vec<(PathBuf, Vec<u8>)> =
            files.iter().map(|file| (file.clone(), disk.content(file).unwrap())).collect();
        for (path, content) in keep {
            disk.put(&path, if path == *file { changed.clone() } else { content });
        }
    }
    ledger.send_all(&mut spool);
    ledger.check("unreadable", 0);
    assert_eq!(ledger.missing(), ledger.expired());
    assert!(ledger.expired() > 0);
}

#[test]
fn a_segment_that_somebody_removed_is_counted() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    let mut ledger = Ledger::default();
    for _ in 0..20 {
        ledger.append(&mut spool, batch(0, 0, 5));
        ledger.sync(&mut spool).unwrap();
    }
    let files = segment_files(&disk);
    spool.files.disk.remove(&files[1]).unwrap();
    ledger.send_all(&mut spool);
    assert_eq!(ledger.missing(), ledger.expired());
    assert!(ledger.expired() > 0);
}

#[test]
fn a_bad_sector_is_counted_and_other_errors_are_tried_again() {
    let disk = SimulatedDisk::default();
    let mut spool = open(&disk);
    let mut ledger = Ledger::default();
    for _ in 0..20 {
        ledger.append(&mut spool, batch(0, 0, 5));
        ledger.sync(&mut spool).unwrap();
    }
    disk.plan(|_, op| (op == Op::Read).then_some(Fault::Error(io::ErrorKind::TimedOut)));
    assert!(spool.peek(key(0), ALL).is_err());
    assert_eq!(spool.status().events, 100);
    disk.plan(|number, op| {
        (op == Op::Read && number < 2).then_some(Fault::Error(io::ErrorKind::InvalidData))
    });
    ledger.send_all(&mut spool);
    ledger.check("bad sector", 0);
    assert_eq!(ledger.missing(), ledger.expired());
    assert!(ledger.expired() > 0 && ledger.missing() < 100);
}
