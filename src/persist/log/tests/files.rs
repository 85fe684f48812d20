//! Real files: locks, permissions, names, and what is set aside.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("backup")
    }

    fn open(&self) -> Result<Opened, OpenError> {
        open_at(Arc::new(RealDisk::new()), &self.path())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// A log with these groups, closed again.
    fn with(groups: &[Bodies]) -> Self {
        let folder = Self::new();
        let mut log = folder.open().unwrap().log;
        for bodies in groups {
            log.append(&mut write(bodies)).unwrap();
            log.sync().unwrap();
        }
        drop(log);
        folder
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path()).unwrap();
        change(&mut bytes);
        fs::write(self.path(), bytes).unwrap();
    }
}

#[test]
fn only_the_owner_may_read_any_of_the_files() {
    let folder = Folder::with(&[group(1, 1)]);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let mut log = folder.open().unwrap().log;
    let modes = || -> Vec<u32> {
        let entries = fs::read_dir(folder.0.path()).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().mode() & 0o777).collect()
    };
    assert_eq!(modes(), [0o600; 2]);
    log.replace(&mut write(&group(2, 1))).unwrap();
    assert_eq!(modes(), [0o600; 2]);
}

#[test]
fn a_second_process_is_refused_until_the_first_has_ended() {
    let folder = Folder::new();
    let mut first = folder.open().unwrap();
    first.log.replace(&mut write(&group(1, 1))).unwrap();
    let error = folder.open().unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(first);
    assert_eq!(bodies_of(folder.open().unwrap().recovered.groups()), [group(1, 1)]);
}

/// What could go wrong: somebody removes the lock file, and two processes replace each other's files.
#[test]
fn a_removed_lock_file_let_two_processes_write() {
    let folder = Folder::new();
    let mut first = folder.open().unwrap();
    fs::remove_file(folder.path().with_extension("lock")).unwrap();
    let second = folder.open().unwrap();
    let error = first.log.replace(&mut write(&group(1, 1))).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    drop(second);
    first.log.replace(&mut write(&group(1, 1))).unwrap();
    assert!(matches!(folder.open(), Err(OpenError::Locked { .. })));
}

#[test]
fn a_torn_tail_is_cut_and_the_log_goes_on() {
    let folder = Folder::with(&[group(1, 2), group(2, 2)]);
    folder.change(|bytes| {
        let end = Reader::new(bytes, None).valid_bytes() as usize;
        bytes.truncate(end - 3);
    });
    let mut opened = folder.open().unwrap();
    assert!(matches!(opened.recovered.end, End::Torn { .. }));
    assert_eq!(bodies_of(opened.recovered.groups()), [group(1, 2)]);
    opened.log.append(&mut write(&group(3, 1))).unwrap();
    opened.log.sync().unwrap();
    // The map of what was recovered stays readable.
    assert_eq!(bodies_of(opened.recovered.groups()), [group(1, 2)]);
    drop(opened);
    assert_eq!(bodies_of(folder.open().unwrap().recovered.groups()), [group(1, 2), group(3, 1)]);
    assert_eq!(folder.names(), ["backup", "backup.lock"]);
}

/// What went wrong: groups were confirmed although somebody had emptied the file, so that none of them could be read again.
#[test]
fn groups_behind_an_emptied_file_were_taken_for_durable() {
    // With space in advance, and without: then the next group makes the file longer before it is written.
    for step in [1 << 20, 0] {
        for cut in [0, 100] {
            let folder = Folder::new();
            let limits = LogLimits { step_bytes_min: step, step_bytes_max: step, ..LIMITS };
            let opened = open(Arc::new(RealDisk::new()), &folder.path(), IDENTITY, limits);
            let mut log = opened.unwrap().log;
            log.append(&mut write(&group(1, 1))).unwrap();
            log.sync().unwrap();
            fs::File::options().write(true).open(folder.path()).unwrap().set_len(cut).unwrap();
            let large = vec![(1, vec![7; 10_000])];
            let error = log.append(&mut write(&large)).and_then(|_| log.sync()).unwrap_err();
            assert!(error.to_string().contains("another program"), "{error}");
            assert!(!log.is_trusted());
            log.replace(&mut write(&large)).unwrap();
            drop(log);
            assert_eq!(bodies_of(folder.open().unwrap().recovered.groups()), [large]);
        }
    }
}

/// What could go wrong: a valid record behind a torn one gets back in line when the torn one is written anew.
#[test]
fn a_record_behind_a_torn_one_came_back() {
    let folder = Folder::new();
    let mut log = folder.open().unwrap().log;
    let body = |content: u8| vec![(content, vec![content; 16])];
    for content in 1..=3 {
        log.append(&mut write(&body(content))).unwrap();
    }
    drop(log);
    folder.change(|bytes| {
        let first = Reader::new(bytes, None).first_group_end as usize;
        bytes[first + 30] ^= 1;
    });
    let mut opened = folder.open().unwrap();
    assert!(matches!(opened.recovered.end, End::Torn { .. }));
    opened.log.append(&mut write(&body(4))).unwrap();
    opened.log.sync().unwrap();
    drop(opened);
    let again = folder.open().unwrap().recovered;
    assert_eq!((bodies_of(again.groups()), again.end), (vec![body(1), body(4)], End::Clean));
}

#[test]
fn a_damaged_file_is_set_aside_and_what_is_valid_of_it_is_returned() {
    for round in 0..3 {
        let folder = Folder::with(&[group(1, 2), group(2, 2), group(3, 2)]);
        let mut damaged = Vec::new();
        folder.change(|bytes| {
            let first = Reader::new(bytes, None).first_group_end as usize;
            bytes[first + 30] ^= 1;
            damaged.clone_from(bytes);
        });
        let opened = folder.open().unwrap();
        assert!(matches!(opened.recovered.end, End::Damaged { .. }));
        assert_eq!(bodies_of(opened.recovered.groups()), [group(1, 2)], "{round}");
        assert_eq!(fs::read(&opened.set_aside.as_ref().unwrap().path).unwrap(), damaged);
        assert!(folder.names()[1].starts_with("backup.damaged-20"), "{:?}", folder.names());
        drop(opened);
        assert_eq!(folder.open().unwrap().recovered.groups, 0);
    }
}

#[test]
fn files_set_aside_within_one_second_get_names_of_their_own() {
    let folder = Folder::new();
    for content in ["one", "two", "three"] {
        fs::write(folder.path(), content).unwrap();
        let opened = folder.open().unwrap();
        assert_eq!(opened.recovered.end, End::HeaderBroken);
        assert_eq!(fs::read(&opened.set_aside.unwrap().path).unwrap(), content.as_bytes());
    }
    assert_eq!(folder.names().len(), 5);
}

#[test]
fn a_file_of_another_key_is_set_aside_and_not_read() {
    let folder = Folder::with(&[group(1, 2)]);
    let other = Identity { fingerprint: [8; 32], ..IDENTITY };
    let opened = open(Arc::new(RealDisk::new()), &folder.path(), other, LIMITS).unwrap();
    assert_eq!(opened.recovered.end, End::OtherFingerprint);
    assert_eq!(opened.recovered.groups().count(), 0);
    let aside = opened.set_aside.unwrap().path;
    assert!(aside.to_string_lossy().contains("backup.other-key-"));
    assert_eq!(inspect(&RealDisk::new(), &aside, LogKind::Journal).unwrap().groups, 1);
}

#[test]
fn files_of_later_versions_and_other_kinds_are_not_touched() {
    let folder = Folder::with(&[group(1, 2)]);
    let other = Identity { kind: LogKind::Spool, ..IDENTITY };
    let before = fs::read(folder.path()).unwrap();
    let error = open(Arc::new(RealDisk::new()), &folder.path(), other, LIMITS).unwrap_err();
    assert!(matches!(error, OpenError::OtherKind { .. }));
    assert_eq!(fs::read(folder.path()).unwrap(), before);
    for change in [8, 48] {
        folder.change(|bytes| {
            bytes.clone_from(&before);
            bytes[change] = 2;
            let checksum = crc32fast::hash(&bytes[..60]);
            bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        });
        let changed = fs::read(folder.path()).unwrap();
        let error = folder.open().unwrap_err();
        assert!(matches!(error, OpenError::FutureVersion { .. }), "{error}");
        assert_eq!(fs::read(folder.path()).unwrap(), changed);
    }
    assert_eq!(folder.names(), ["backup", "backup.lock"]);
}

#[test]
fn a_new_file_that_a_crash_left_is_removed() {
    let folder = Folder::with(&[group(1, 2)]);
    fs::write(folder.0.path().join("backup.new"), "half of it").unwrap();
    assert_eq!(bodies_of(folder.open().unwrap().recovered.groups()), [group(1, 2)]);
    assert_eq!(folder.names(), ["backup", "backup.lock"]);
}

#[test]
fn an_empty_file_is_begun_without_a_word() {
    let folder = Folder::new();
    fs::write(folder.path(), "").unwrap();
    let opened = folder.open().unwrap();
    assert_eq!((opened.recovered.end, opened.set_aside), (End::Empty, None));
    assert!(opened.log.is_trusted());
}

#[test]
fn a_link_stays_a_link_to_the_new_file() {
    let (folder, elsewhere) = (Folder::new(), Folder::with(&[group(1, 1)]));
    symlink(elsewhere.path(), folder.path()).unwrap();
    let mut opened = folder.open().unwrap();
    opened.log.replace(&mut write(&group(2, 1))).unwrap();
    assert!(matches!(elsewhere.open(), Err(OpenError::Locked { .. })));
    drop(opened);
    assert!(folder.path().is_symlink());
    assert_eq!(bodies_of(elsewhere.open().unwrap().recovered.groups()), [group(2, 1)]);
}

#[test]
fn what_is_not_a_file_in_a_folder_is_refused() {
    let folder = Folder::new();
    let disk = || Arc::new(RealDisk::new());
    let error = open_at(disk(), folder.0.path()).unwrap_err();
    assert!(error.to_string().contains("is a folder"), "{error}");
    let error = open_at(disk(), &folder.0.path().join("missing/backup")).unwrap_err();
    assert!(matches!(error, OpenError::Folder { .. }));
    let error = check_place(&folder.0.path().join("missing/backup")).unwrap_err();
    assert!(error.to_string().contains("Create it"), "{error}");
    check_place(&folder.path()).unwrap();
    symlink("nowhere", folder.path()).unwrap();
    assert!(folder.open().unwrap_err().to_string().contains("leads nowhere"));
}

/// What went wrong: of a lock file that another user had made, the error said that the folder cannot be written to.
#[test]
fn the_folder_was_blamed_for_a_lock_file_that_cannot_be_opened() {
    let folder = Folder::with(&[group(1, 1)]);
    let lock = folder.path().with_extension("lock");
    fs::remove_file(&lock).unwrap();
    // Works for the superuser too, whom no mode of a file keeps out.
    symlink("no/such/folder/lock", &lock).unwrap();
    let error = folder.open().unwrap_err().to_string();
    assert!(error.contains("backup.lock cannot be read"), "{error}");
}

/// What went wrong: one segment of 17 MB, such as a list of 450,000 users, kept all data out of the file for ever.
#[test]
fn one_long_record_kept_everything_out_of_the_file() {
    let folder = Folder::new();
    let open = || open(Arc::new(RealDisk::new()), &folder.path(), IDENTITY, LogLimits::default()).unwrap();
    let long = |content, bytes| vec![(1, vec![1; 9]), (2, vec![content; bytes]), (3, vec![3; 9])];
    let groups = [long(4, 17 << 20), long(5, 40 << 20), long(6, 10)];
    let mut log = open().log;
    log.replace(&mut write(&groups[0])).unwrap();
    for group in &groups[1..] {
        log.append(&mut write(group)).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    let recovered = open().recovered;
    assert_eq!(recovered.end, End::Clean);
    assert!(bodies_of(recovered.groups()) == groups);
}

#[test]
fn a_file_that_grows_reserves_space_in_advance() {
    let folder = Folder::new();
    let mut log =
        open(Arc::new(RealDisk::new()), &folder.path(), IDENTITY, LogLimits::default()).unwrap().log;
    log.append(&mut write(&group(1, 1))).unwrap();
    let metadata = fs::metadata(folder.path()).unwrap();
    assert!(metadata.len() > log.bytes() + 200_000, "{metadata:?}");
    assert_eq!(inspect(&RealDisk::new(), &folder.path(), LogKind::Journal).unwrap().end, End::Clean);
}

#[test]
fn both_disks_list_folders_and_read_parts_of_files() {
    let folder = tempfile::tempdir().unwrap();
    for disk in [Arc::new(RealDisk::new()) as Arc<dyn Disk>, SimulatedDisk::default().shared()] {
        let below = folder.path().join("a/b");
        assert!(disk.list(&below).unwrap().is_empty());
        disk.create_folder(&below).unwrap();
        disk.create_folder(&below).unwrap();
        let file = disk.create(&below.join("file")).unwrap();
        assert_eq!(disk.list(&below).unwrap(), ["file"]);
        assert_eq!(disk.list(folder.path()).unwrap(), ["a"]);
        file.write_at(b"0123456789", 0).unwrap();
        let mut buffer = [0; 4];
        assert_eq!((file.read_at(&mut buffer, 3).unwrap(), &buffer), (4, b"3456"));
        assert_eq!((file.read_at(&mut buffer, 9).unwrap(), buffer[0]), (1, b'9'));
        assert_eq!(file.read_at(&mut buffer, 10).unwrap(), 0);
    }
    for folder in [folder.path().join("a"), folder.path().join("a/b")] {
        assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
    }
}
