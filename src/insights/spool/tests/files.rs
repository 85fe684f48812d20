//! Real files: the lock, permissions, names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;
use crate::persist::log::RealDisk;

fn open_at(directory: &Path) -> Result<Spool, SpoolError> {
    let options = SpoolOptions { segment_bytes: 256 << 10, ..SpoolOptions::new(0, 1_000_000) };
    Spool::open(Arc::new(RealDisk::new()), directory, options, 0)
}

#[test]
fn a_second_agent_is_refused_until_the_first_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let first = open_at(directory.path()).unwrap();
    let error = open_at(directory.path()).unwrap_err();
    assert!(matches!(error, SpoolError::Locked { .. }));
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(first);
    open_at(directory.path()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open_at(&file).unwrap_err();
    assert!(matches!(error, SpoolError::Folder { .. }));
    assert!(error.to_string().contains("file/spool cannot be used"), "{error}");
}

/// What went wrong: no number was left behind that of a foreign file, so nothing could be written.
#[test]
fn a_file_with_the_highest_number_left_none_for_new_segments() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("spool").join(format!("{}.events", u64::MAX));
    drop(open_at(directory.path()).unwrap());
    fs::write(&foreign, "foreign").unwrap();
    for _ in 0..3 {
        let mut spool = open_at(directory.path()).unwrap();
        let mut ledger = Ledger::default();
        ledger.append(&mut spool, batch(0, 0, 50));
        ledger.sync(&mut spool).unwrap();
        ledger.send_all(&mut spool);
    }
    assert_eq!(fs::read(&foreign).unwrap(), b"foreign");
}

#[test]
fn only_the_owner_may_read_the_files_and_they_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("a/b");
    let mut spool = open_at(&below).unwrap();
    let mut ledger = Ledger::default();
    for _ in 0..100 {
        ledger.append(&mut spool, batch(0, 0, 50));
        ledger.append(&mut spool, batch(1, 0, 3));
        ledger.sync(&mut spool).unwrap();
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = below.join("spool");
    assert_eq!(mode(&folder), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
        files += 1;
    }
    assert!(files > 2, "{files}");
    ledger.send(&mut spool, key(0), 1234);
    drop(spool);
    let mut spool = open_at(&below).unwrap();
    ledger.send_all(&mut spool);
    ledger.check("real files", 0);
    let sent: usize = ledger.fates.values().map(|fate| fate.sent.len()).sum();
    assert_eq!(sent, 5300);
}
