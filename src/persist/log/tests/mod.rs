//! Logs as a whole: what is read back after cuts, damage, errors and failures of the machine.

mod crash;
mod damage;
mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::simulated::SimulatedDisk;
use super::*;

/// The kinds and bodies of one group's records.
pub(super) type Bodies = Vec<(u8, Vec<u8>)>;

pub(super) const IDENTITY: Identity = Identity { kind: LogKind::Journal, fingerprint: [7; 32] };

/// Small steps, so that tests allocate often.
pub(super) const LIMITS: LogLimits =
    LogLimits { record_bytes_max: 1 << 16, step_bytes_min: 100, step_bytes_max: 5000 };

pub(super) fn path() -> PathBuf {
    PathBuf::from("/simulated/backup")
}

pub(super) fn open_at(disk: Arc<dyn Disk>, path: &Path) -> Result<Opened, OpenError> {
    open(disk, path, IDENTITY, LIMITS)
}

pub(super) fn opened(disk: &SimulatedDisk) -> Opened {
    let opened = open_at(disk.shared(), &path()).unwrap();
    assert!(opened.log.trouble().is_none(), "{:?}", opened.log.trouble());
    opened
}

type Out<'a> = &'a mut dyn FnMut(u8, &[u8]);

pub(super) fn write(bodies: &Bodies) -> impl FnMut(Out<'_>) {
    move |out| bodies.iter().for_each(|(kind, body)| out(*kind, body))
}

pub(super) fn bodies_of(groups: Groups<'_>) -> Vec<Bodies> {
    groups.map(|group| group.map(|record| (record.kind, record.body.to_vec())).collect()).collect()
}

/// A group of `records` records whose content depends on `seed`.
pub(super) fn group(seed: u8, records: usize) -> Bodies {
    (0..records).map(|at| (seed, vec![seed ^ at as u8; (usize::from(seed) * 7 + at * 3) % 41])).collect()
}

/// The bytes of a log with these groups, synced after each, and the offset behind each.
pub(super) fn log_of(groups: &[Bodies], sync_every: usize) -> (Vec<u8>, Vec<usize>) {
    let disk = SimulatedDisk::default();
    let mut log = opened(&disk).log;
    let mut ends = Vec::new();
    for (at, bodies) in groups.iter().enumerate() {
        log.append(&mut write(bodies)).unwrap();
        if (at + 1) % sync_every == 0 {
            log.sync().unwrap();
        }
        ends.push(log.bytes() as usize);
    }
    (disk.content(&path()).unwrap(), ends)
}

#[test]
fn what_was_appended_is_read_again_in_order() {
    let groups: Vec<Bodies> = vec![group(1, 1), group(2, 5), vec![(9, Vec::new())], group(3, 2)];
    let (file, ends) = log_of(&groups, 2);
    let reader = Reader::new(&file, Some(&IDENTITY));
    assert_eq!(reader.end, End::Clean);
    assert_eq!(bodies_of(reader.groups()), groups);
    assert_eq!((reader.groups, reader.records), (4, 9));
    assert_eq!(reader.valid_bytes() as usize, *ends.last().unwrap());
    assert_eq!(reader.first_group_end as usize, ends[0]);
    let sequences: Vec<u64> = reader.groups().flatten().map(|record| record.sequence).collect();
    assert_eq!(sequences, (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_log_goes_on_where_it_ended() {
    let disk = SimulatedDisk::default();
    let mut expected = Vec::new();
    for round in 0..5 {
        let mut opened = opened(&disk);
        assert_eq!(bodies_of(opened.recovered.groups()), expected);
        expected.push(group(round, 3));
        opened.log.append(&mut write(&group(round, 3))).unwrap();
        opened.log.sync().unwrap();
    }
    assert_eq!(disk.names(), ["/simulated/backup", "/simulated/backup.lock"]);
}

#[test]
fn a_group_without_records_is_nothing() {
    let disk = SimulatedDisk::default();
    let mut log = opened(&disk).log;
    assert_eq!(log.append(&mut |_| {}).unwrap(), Written::default());
    let written = log.append(&mut write(&group(1, 2))).unwrap();
    assert_eq!(written.records, 2);
    log.sync().unwrap();
    drop(log);
    assert_eq!(bodies_of(opened(&disk).recovered.groups()), [group(1, 2)]);
}

#[test]
fn a_new_file_replaces_the_old_one_and_is_appended_to() {
    let disk = SimulatedDisk::default();
    let mut log = opened(&disk).log;
    for seed in 0..20 {
        log.append(&mut write(&group(seed, 10))).unwrap();
    }
    log.sync().unwrap();
    let before = log.bytes();
    log.replace(&mut write(&group(50, 2))).unwrap();
    assert!(log.bytes() < before);
    assert_eq!(log.first_group_bytes(), log.bytes());
    log.append(&mut write(&group(51, 1))).unwrap();
    log.sync().unwrap();
    drop(log);
    assert_eq!(bodies_of(opened(&disk).recovered.groups()), [group(50, 2), group(51, 1)]);
}

#[test]
fn large_groups_are_written_in_pieces_and_come_back_whole() {
    let disk = SimulatedDisk::default();
    let mut log = open(disk.shared(), &path(), IDENTITY, LogLimits::default()).unwrap().log;
    let large: Bodies = (0..5).map(|at| (at, vec![at; 11 << 20])).collect();
    log.append(&mut write(&large)).unwrap();
    log.sync().unwrap();
    drop(log);
    let opened = open(disk.shared(), &path(), IDENTITY, LogLimits::default()).unwrap();
    assert_eq!(opened.recovered.end, End::Clean);
    assert!(bodies_of(opened.recovered.groups()) == [large]);
}
