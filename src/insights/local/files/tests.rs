//! The life of files on a simulated disk that fails at every step, and on a real one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::*;
use crate::insights::events::{Events, Form};
use crate::model::secret::SecretKind;
use crate::persist::log::simulated::{Fault, Op, SimulatedDisk};
use crate::protocol::secret::Secret;

/// 2026-11-30T12:00:00Z
const NOON_MS: i64 = 1_796_040_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const DIR: &str = "/d";

fn batch(environment: u8, numbers: std::ops::Range<u64>) -> Batch {
    let environment = EnvironmentId::from_bytes([environment; 16]);
    let mut events = Events::builder(0);
    numbers.for_each(|number| events.add(format!("{{\"number\":{number}}}").as_bytes()));
    Batch {
        environment,
        secret: Secret::build([0; 16], environment),
        kind: SecretKind::Server,
        form: Form::Raw,
        received_ms: NOON_MS,
        events: events.build(),
    }
}

fn small() -> LocalOptions {
    LocalOptions { file_bytes: 300, ..LocalOptions::default() }
}

fn open(disk: &SimulatedDisk, options: LocalOptions, now_ms: i64) -> io::Result<LocalFiles> {
    LocalFiles::open_on(disk.shared(), Path::new(DIR), options, now_ms, |disk, directory, _| {
        Ok(Helper::inline(disk, directory))
    })
}

/// The names of the files below `local/`, without the folders' ids.
fn names(disk: &SimulatedDisk) -> Vec<String> {
    let names = disk.names().into_iter().filter_map(|name| {
        let (folder, file) = name.strip_prefix("/d/local/")?.split_once('/')?;
        Some(format!("{}/{file}", &folder[..folder.len() - 37]))
    });
    names.collect()
}

/// The numbers of all events on the disk, by file in the order of time. Fails if a line is torn.
fn numbers(disk: &SimulatedDisk) -> Vec<u64> {
    let mut parts = BTreeMap::new();
    for name in disk.names() {
        let (folder, file) = name.rsplit_once('/').unwrap();
        let Some((part, form)) = Part::parse(file) else { continue };
        let mut content = disk.content(Path::new(&name)).unwrap();
        match form {
            FileForm::Plain => {}
            FileForm::Compressed => {
                let mut text = Vec::new();
                MultiGzDecoder::new(&content[..]).read_to_end(&mut text).unwrap();
                content = text;
            }
            FileForm::Temporary => continue,
        }
        // The complete one comes last.
        parts.insert((part, folder.to_owned()), content);
    }
    let lines = parts.into_values().map(|content| String::from_utf8(content).unwrap()).collect::<String>();
    assert!(lines.is_empty() || lines.ends_with('\n'));
    let number =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["event"]["number"].as_u64().unwrap();
    lines.lines().map(number).collect()
}

/// Three events at a time, with changes of part and day. Returns the numbers of those that were acknowledged.
fn write_for_days(files: &mut LocalFiles, first: u64) -> Vec<u64> {
    let mut kept = Vec::new();
    for step in 0..6 {
        let now_ms = NOON_MS + step * 8 * HOUR_MS;
        let first = first + step as u64 * 3;
        let appended = files.append(&batch(1, first..first + 3), "shop:prod", now_ms);
        if appended.is_ok() && files.sync().is_ok() {
            kept.extend(first..first + 3);
        }
        files.tick(now_ms);
    }
    kept
}

#[test]
fn a_file_for_each_environment_day_and_part() {
    let disk = SimulatedDisk::default();
    let options = LocalOptions { file_bytes: 600, ..LocalOptions::default() };
    let mut files = open(&disk, options, NOON_MS).unwrap();
    for number in 0..4 {
        files.append(&batch(1, number * 3..number * 3 + 3), "shop:prod", NOON_MS).unwrap();
        files.append(&batch(2, 0..1), "shop:test", NOON_MS).unwrap();
        files.sync().unwrap();
    }
    assert_eq!(
        names(&disk),
        ["shop_prod/2026-11-30.2.ndjson", "shop_prod/2026-11-30.ndjson", "shop_test/2026-11-30.ndjson"]
    );
    files.tick(NOON_MS);
    files.append(&batch(1, 12..13), "shop:prod", NOON_MS + DAY_MS).unwrap();
    files.sync().unwrap();
    files.tick(NOON_MS + DAY_MS);
    assert_eq!(
        names(&disk),
        [
            "shop_prod/2026-11-30.2.ndjson.gz",
            "shop_prod/2026-11-30.ndjson.gz",
            "shop_prod/2026-12-01.ndjson",
            "shop_test/2026-11-30.ndjson.gz"
        ]
    );
    files.tick(NOON_MS + DAY_MS);
    assert_eq!(files.status().files, 4);
    let bytes: usize =
        disk.names().iter().filter_map(|name| Some(disk.content(Path::new(name))?.len())).sum();
    assert_eq!(files.status().bytes, bytes as u64);
}

#[test]
fn a_restart_continues_the_file_of_today() {
    let disk = SimulatedDisk::default();
    let options = LocalOptions::default();
    for number in 0..3 {
        let mut files = open(&disk, options, NOON_MS).unwrap();
        files.append(&batch(1, number..number + 1), "shop:prod", NOON_MS).unwrap();
        files.sync().unwrap();
        files.tick(NOON_MS);
    }
    assert_eq!(names(&disk), ["shop_prod/2026-11-30.ndjson"]);
    assert_eq!(numbers(&disk), [0, 1, 2]);
}

#[test]
fn an_environment_with_another_name_gets_another_folder() {
    let disk = SimulatedDisk::default();
    let mut files = open(&disk, LocalOptions::default(), NOON_MS).unwrap();
    for label in ["shop:prod", "shop:live"] {
        files.append(&batch(1, 0..1), label, NOON_MS).unwrap();
        files.sync().unwrap();
    }
    assert_eq!(names(&disk), ["shop_live/2026-11-30.ndjson", "shop_prod/2026-11-30.ndjson"]);
}

#[test]
fn a_failure_of_any_operation_loses_nothing_acknowledged_and_keeps_nothing_else() {
    let count = SimulatedDisk::default();
    write_for_days(&mut open(&count, small(), NOON_MS).unwrap(), 0);
    for fault in [Fault::Error(io::ErrorKind::StorageFull), Fault::Short(7)] {
        for failing in 0..count.operations() {
            let disk = SimulatedDisk::default();
            disk.plan(move |number, _| (number == failing).then_some(fault));
            let Ok(mut files) = open(&disk, small(), NOON_MS) else { continue };
            let mut expected = write_for_days(&mut files, 0);
            assert!(expected.len() >= 15, "{fault:?} {failing}: one failure is one group");
            // It has recovered by itself.
            disk.heal();
            files.append(&batch(1, 90..91), "shop:prod", NOON_MS + 3 * DAY_MS).unwrap();
            files.sync().unwrap();
            expected.push(90);
            files.tick(NOON_MS + 3 * DAY_MS);
            files.tick(NOON_MS + 3 * DAY_MS + 60_000);
            assert_eq!(numbers(&disk), expected, "{fault:?} {failing}");
            let plain = names(&disk).into_iter().filter(|name| !name.ends_with(".gz")).collect::<Vec<_>>();
            assert_eq!(plain, ["shop_prod/2026-12-03.ndjson"], "{fault:?} {failing}");
        }
    }
}

#[test]
fn a_machine_that_fails_at_any_step_of_any_change_loses_nothing_acknowledged() {
    let count = SimulatedDisk::default();
    write_for_days(&mut open(&count, small(), NOON_MS).unwrap(), 0);
    let mut random = 7u64;
    for crash_at in 0..count.operations() {
        for _ in 0..8 {
            let disk = SimulatedDisk::default();
            disk.plan(move |number, _| (number == crash_at).then_some(Fault::Crash));
            let mut kept =
                open(&disk, small(), NOON_MS).map_or(Vec::new(), |mut files| write_for_days(&mut files, 0));
            let disk = disk.after_crash(&mut |bound| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) as usize % bound
            });
            let mut files = open(&disk, small(), NOON_MS + DAY_MS).unwrap();
            kept.extend(write_for_days(&mut files, 100));
            files.tick(NOON_MS + 5 * DAY_MS);
            files.tick(NOON_MS + 5 * DAY_MS);
            assert!(names(&disk).iter().all(|name| name.ends_with(".ndjson.gz")), "{:?}", names(&disk));
            let mut found = numbers(&disk);
            let count = found.len();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), count, "{crash_at}: nothing is there twice");
            found.retain(|number| kept.contains(number));
            assert_eq!(found, kept, "{crash_at}");
        }
    }
}

#[test]
fn a_full_disk_refuses_and_works_again_when_there_is_room() {
    let disk = SimulatedDisk::default();
    let mut files = open(&disk, small(), NOON_MS).unwrap();
    files.append(&batch(1, 0..1), "shop:prod", NOON_MS).unwrap();
    files.sync().unwrap();
    disk.plan(|_, op| {
        matches!(op, Op::Write | Op::Create).then_some(Fault::Error(io::ErrorKind::StorageFull))
    });
    for now_ms in [NOON_MS, NOON_MS + DAY_MS] {
        for environment in [1, 2] {
            let kept =
                files.append(&batch(environment, 5..6), "shop:prod", now_ms).and_then(|()| files.sync());
            assert_eq!(kept.unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        files.tick(now_ms);
    }
    disk.heal();
    files.append(&batch(1, 1..2), "shop:prod", NOON_MS + DAY_MS).unwrap();
    files.sync().unwrap();
    assert_eq!(numbers(&disk), [0, 1]);
}

#[test]
fn both_forms_of_a_part_mean_that_only_the_plain_one_is_left_to_remove() {
    let disk = SimulatedDisk::default();
    let mut files = open(&disk, small(), NOON_MS).unwrap();
    files.append(&batch(1, 0..3), "shop:prod", NOON_MS).unwrap();
    files.sync().unwrap();
    disk.plan(|_, op| (op == Op::Remove).then_some(Fault::Error(io::ErrorKind::PermissionDenied)));
    files.tick(NOON_MS + DAY_MS);
    drop(files);
    disk.heal();
    let folder = format!("{DIR}/local/shop_prod_{}", EnvironmentId::from_bytes([1; 16]));
    disk.put(Path::new(&format!("{folder}/2026-11-29.ndjson.gz.tmp")), b"half".to_vec());
    disk.put(Path::new(&format!("{folder}/notes.txt")), b"of somebody".to_vec());
    open(&disk, small(), NOON_MS + DAY_MS).unwrap();
    assert_eq!(names(&disk), ["shop_prod/2026-11-30.ndjson.gz", "shop_prod/notes.txt"]);
    assert_eq!(numbers(&disk), [0, 1, 2]);
}

#[test]
fn files_that_are_too_old_go_and_are_counted() {
    let disk = SimulatedDisk::default();
    let options = LocalOptions { days: 2, ..LocalOptions::default() };
    let mut files = open(&disk, options, NOON_MS).unwrap();
    let mut removed = Vec::new();
    for day in 0..5 {
        let now_ms = NOON_MS + day * DAY_MS;
        files.append(&batch(1, 0..day as u64 + 1), "shop:prod", now_ms).unwrap();
        files.sync().unwrap();
        files.tick(now_ms);
        removed.push(files.tick(now_ms).events);
    }
    assert_eq!(removed, [0, 0, 0, 1, 2]);
    assert_eq!(names(&disk).len(), 3);
}

#[test]
fn beyond_the_bytes_that_are_kept_the_oldest_of_all_environments_go() {
    let disk = SimulatedDisk::default();
    let options = LocalOptions { file_bytes: 300, total_bytes: 1000, ..LocalOptions::default() };
    let mut files = open(&disk, options, NOON_MS).unwrap();
    let (mut written, mut removed) = (0, Removed::default());
    for step in 0..40u64 {
        files.append(&batch((step % 3) as u8, step..step + 1), "shop:prod", NOON_MS).unwrap();
        files.sync().unwrap();
        written += 1;
        for _ in 0..2 {
            let more = files.tick(NOON_MS);
            removed.events += more.events;
            removed.files += more.files;
        }
        assert!(files.status().bytes <= 1000, "{:?}", files.status());
    }
    assert!(removed.files > 0);
    let mut left = numbers(&disk);
    assert_eq!(left.len() as u64 + removed.events, written);
    left.sort_unstable();
    assert_eq!(left.last(), Some(&39), "{left:?}");
}

#[test]
fn few_files_are_open_however_many_environments_there_are() {
    let disk = SimulatedDisk::default();
    let options = LocalOptions { open_files: 4, ..LocalOptions::default() };
    let mut files = open(&disk, options, NOON_MS).unwrap();
    for round in 0..2 {
        for environment in 0..20 {
            files.append(&batch(environment, round..round + 1), "a:b", NOON_MS + round as i64).unwrap();
            if environment % 3 == 0 {
                files.sync().unwrap();
                assert!(files.status().open_files <= 6);
            }
        }
    }
    files.sync().unwrap();
    files.tick(NOON_MS);
    assert_eq!(files.status().open_files, 4);
    files.tick(NOON_MS + HOUR_MS);
    assert_eq!(files.status().open_files, 0);
    assert_eq!(
        (names(&disk).len(), numbers(&disk).len()),
        (20, 40),
        "a file each, and nothing compressed today"
    );
}

#[test]
fn what_somebody_removes_is_made_again() {
    let disk = SimulatedDisk::default();
    let mut files = open(&disk, small(), NOON_MS).unwrap();
    files.append(&batch(1, 0..1), "a:b", NOON_MS).unwrap();
    files.sync().unwrap();
    let name = disk.names().into_iter().find(|name| name.ends_with(".ndjson")).unwrap();
    disk.shared().remove(Path::new(&name)).unwrap();
    files.append(&batch(1, 1..2), "a:b", NOON_MS).unwrap();
    assert!(files.sync().is_err(), "nobody is told that this is kept");
    files.append(&batch(1, 1..2), "a:b", NOON_MS).unwrap();
    files.sync().unwrap();
    assert_eq!(numbers(&disk), [1]);
}

#[test]
fn real_files_are_private_locked_and_compressed_by_a_thread() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("events");
    let mut files = LocalFiles::open(&place, LocalOptions::default(), NOON_MS).unwrap();
    let error = LocalFiles::open(&place, LocalOptions::default(), NOON_MS).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(error.to_string().contains("another agent writes to"), "{error}");
    files.append(&batch(1, 0..3), "shop:prod", NOON_MS).unwrap();
    files.sync().unwrap();
    let folder = place.join(format!("local/shop_prod_{}", EnvironmentId::from_bytes([1; 16])));
    let plain = folder.join("2026-11-30.ndjson");
    assert_eq!(fs::read_to_string(&plain).unwrap().lines().count(), 3);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&plain), mode(&folder), mode(&place)), (0o600, 0o700, 0o700));
    let compressed = folder.join("2026-11-30.ndjson.gz");
    let deadline = Instant::now() + Duration::from_secs(20);
    while plain.exists() && Instant::now() < deadline {
        files.tick(NOON_MS + DAY_MS);
        std::thread::yield_now();
    }
    let mut text = String::new();
    MultiGzDecoder::new(fs::File::open(&compressed).unwrap()).read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert_eq!(mode(&compressed), 0o600);
}
