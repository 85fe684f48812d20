//! Backup files as somebody may find them: cut, damaged, of another key, of another version, in use, or no file at all. The
//! agent serves what is valid and keeps what it cannot use; the offline tools tell the truth about each.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::agent::{API_KEY, Agent, Builder, run_to_end};
use common::backup::{expect_valid, export, plain, plain_of, tool, tool_says};
use common::dataset::{Dataset, Kind, boolean_flag, secret_text, touch};
use common::following::two_flags;
use common::rng::Rng;
use common::watcher::Watcher;
use common::{SOON, wait_until};
use featbit_agent::persist::log::{Identity, LogKind, LogLimits, RealDisk, inspect, open};
use serde_json::json;

/// Another key than that of the agents here.
const OTHER_KEY: &str = "rp-9876543210abcdefghijABCDEFGHIJ9876543210";

/// The `number`th dataset, from 1 on.
fn dataset(number: i64) -> Dataset {
    let mut environment = two_flags(1);
    if number % 3 == 0 {
        environment.remove_flag("b");
    }
    let mut flag = boolean_flag("number");
    flag["name"] = json!(format!("{number}"));
    touch(&mut flag, number);
    environment.add_flag(flag);
    Dataset::of([environment])
}

/// How many datasets [`written`] has.
const WRITTEN: i64 = 9;

/// An agent that was stopped, and its file: the first dataset as a whole, and all later ones behind it.
fn written() -> (Agent, Vec<u8>) {
    let mut agent = Builder::saving().start();
    (1..=WRITTEN).for_each(|number| drop(agent.bootstrap(&dataset(number))));
    agent.kill();
    let bytes = fs::read(agent.backup_file()).unwrap();
    (agent, bytes)
}

/// Which dataset it is.
fn number_of(dump: &str) -> Option<i64> {
    let have = plain_of(dump);
    (1..=WRITTEN).find(|&number| plain(&dataset(number).environments) == have)
}

/// What the agent serves; `None` if it has no data.
fn served(agent: &Agent) -> Option<i64> {
    match agent.readiness() {
        (200, _) => Some(number_of(&agent.canonical()).expect("one of the datasets")),
        (503, _) => None,
        other => panic!("{other:?}"),
    }
}

/// What the tools find in a file: the exit code of `verify`, and what can be exported.
fn found(file: &Path) -> (i32, Option<i64>) {
    let before = fs::read(file).unwrap();
    let found = found_now(file);
    assert!(fs::read(file).unwrap() == before, "a tool changed the file");
    found
}

/// The same while an agent may be writing the file.
fn found_now(file: &Path) -> (i32, Option<i64>) {
    let path = file.to_str().unwrap();
    let (code, text) = tool_says(&["verify", path]);
    let (_, shown) = tool_says(&["show", path]);
    for text in [&text, &shown] {
        assert!(!text.contains(&two_flags(1).secret(Kind::Server)), "a secret: {text}");
    }
    let output = tool(&["export", path, "--canonical"]);
    let exported = match output.status.code() {
        Some(0) => {
            Some(number_of(std::str::from_utf8(&output.stdout).unwrap()).expect("one of the datasets"))
        }
        Some(65) => None,
        other => panic!("{other:?}: {output:?}"),
    };
    (code.unwrap(), exported)
}

/// What somebody may do to a file.
fn spoil(bytes: &[u8], end: usize, rng: &mut Rng) -> Vec<u8> {
    let mut spoilt = bytes.to_vec();
    match rng.below(5) {
        0 => spoilt.truncate(rng.below(end)),
        1 => {
            let at = rng.below(end);
            spoilt[at] ^= 1 << rng.below(8);
        }
        2 => {
            let from = rng.below(end);
            let to = (from + 1 + rng.below(600)).min(end);
            spoilt[from..to].fill(0);
        }
        3 => {
            let from = rng.below(end);
            let garbage = (0..rng.below(300)).map(|_| rng.next() as u8);
            spoilt.splice(from..from, garbage);
        }
        _ => {
            let (from, to) = (rng.below(end), rng.below(end));
            let count = rng.below(end - from.max(to));
            spoilt.copy_within(from..from + count, to);
        }
    }
    spoilt
}

fn spoil_again_and_again(rounds: usize, seed: u64) {
    println!("seed {seed}");
    let (mut agent, bytes) = written();
    let mut rng = Rng::new(seed);
    let end =
        usize::try_from(inspect(&RealDisk::new(), &agent.backup_file(), LogKind::Journal).unwrap().bytes)
            .unwrap();
    for round in 0..rounds {
        let spoilt = spoil(&bytes, end, &mut rng);
        fs::write(agent.backup_file(), &spoilt).unwrap();
        let (code, exported) = found(&agent.backup_file());
        agent.start_again();
        let what = format!("round {round} of seed {seed}");
        assert_eq!(served(&agent), exported, "{what}");
        let aside = agent.files_beside(".damaged-");
        match code {
            0 => assert!(aside.is_empty(), "{what}: {aside:?}"),
            _ => {
                assert_eq!((code, aside.len()), (65, 1), "{what}");
                assert!(fs::read(&aside[0]).unwrap() == spoilt, "{what}");
                let name = aside[0].file_name().unwrap().to_str().unwrap();
                assert!(agent.wait_line("was set aside as").contains(name), "{what}");
            }
        }
        // What was found is served after the next restart, too.
        if exported.is_some() {
            wait_until(&format!("the file is written anew, {what}"), SOON, || {
                (found_now(&agent.backup_file()) == (0, exported)).then_some(())
            });
        }
        agent.kill_and_start_again();
        assert_eq!(served(&agent), exported, "{what}, after another restart");
        // And it can be written.
        if round % 8 == 0 {
            agent.bootstrap(&dataset(5));
            agent.kill();
            assert_eq!(found(&agent.backup_file()), (0, Some(5)), "{what}");
        }
        agent.kill();
        aside.iter().for_each(|file| fs::remove_file(file).unwrap());
    }
}

#[test]
fn of_a_cut_or_damaged_file_the_longest_valid_beginning_is_served() {
    spoil_again_and_again(24, 3);
}

#[test]
#[ignore = "takes minutes; scripts/test --long runs it"]
fn of_files_damaged_in_many_ways_the_longest_valid_beginning_is_served() {
    (100..110).for_each(|seed| spoil_again_and_again(100, seed));
}

/// The last whole change that a file holds stands before the damage: nothing behind that is used, although it is valid.
#[test]
fn what_lies_behind_a_damaged_record_is_not_used() {
    let (mut agent, mut bytes) = written();
    let needle = format!(r#""name":"{}""#, 4);
    let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::write(agent.backup_file(), &bytes).unwrap();
    assert_eq!(found(&agent.backup_file()), (65, Some(3)));
    agent.start_again();
    assert_eq!(served(&agent), Some(3));
    assert!(agent.wait_line("is damaged behind byte").contains("ERROR"));
}

#[test]
fn a_file_whose_beginning_is_damaged_is_set_aside() {
    let (mut agent, bytes) = written();
    for spoilt in [[b"not a backup file".as_slice(), &bytes].concat(), b"x".to_vec(), vec![0; 4096]] {
        fs::write(agent.backup_file(), &spoilt).unwrap();
        let (code, text) = tool_says(&["verify", agent.backup_file().to_str().unwrap()]);
        assert_eq!(code, Some(65), "{text}");
        assert!(text.contains("it is no backup file, or its beginning is damaged"), "{text}");
        agent.start_again();
        assert_eq!(served(&agent), None);
        assert!(agent.wait_line("does not begin as one does").contains("ERROR"));
        let aside = agent.files_beside(".damaged-");
        assert_eq!(aside.len(), 1);
        assert!(fs::read(&aside[0]).unwrap() == spoilt);
        fs::remove_file(&aside[0]).unwrap();
        agent.kill();
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_not_touched() {
    let (mut agent, mut bytes) = written();
    bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(agent.backup_file(), &bytes).unwrap();
    assert_eq!(agent.start_in_vain().code(), Some(78));
    agent.wait_line("was written by a newer version of featbit-agent (format 2); it was not changed");
    assert!(fs::read(agent.backup_file()).unwrap() == bytes);
    let path = agent.backup_file().to_str().unwrap().to_owned();
    for (command, code) in [("verify", 65), ("show", 65), ("export", 65)] {
        let (had, text) = tool_says(&[command, &path]);
        assert_eq!(had, Some(code), "{command}: {text}");
    }
    assert!(tool_says(&["verify", &path]).1.contains("a newer version of featbit-agent wrote it (format 2)"));
    assert!(fs::read(agent.backup_file()).unwrap() == bytes);
}

#[test]
fn the_file_of_another_key_is_not_served_and_kept() {
    let (mut agent, bytes) = written();
    agent.set_env("ApiKey", OTHER_KEY);
    agent.start_again();
    assert_eq!(served(&agent), None);
    assert!(agent.wait_line("belongs to another ApiKey").contains("ERROR"));
    let aside = agent.files_beside(".other-key-");
    assert_eq!(aside.len(), 1);
    agent.kill();
    // With that key and its old name it is used again.
    fs::rename(&aside[0], agent.backup_file()).unwrap();
    assert!(fs::read(agent.backup_file()).unwrap() == bytes);
    agent.set_env("ApiKey", API_KEY);
    agent.start_again();
    assert_eq!(served(&agent), Some(WRITTEN));
}

#[test]
fn a_second_agent_on_the_same_file_does_not_start() {
    let agent = Builder::saving().start();
    agent.bootstrap(&dataset(1));
    let path = agent.backup_file();
    let environment = [
        ("ASPNETCORE_URLS", "http://127.0.0.1:0"),
        ("Mode", "offline"),
        ("ApiKey", API_KEY),
        ("BackupFile", path.to_str().unwrap()),
    ];
    let (code, text) = run_to_end(&[], &environment, SOON);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("is in use by another process") && text.contains("backup.lock"), "{text}");
    // By another name, too.
    let link = agent.dir().join("link");
    symlink(&path, &link).unwrap();
    let mut other = environment;
    other[3].1 = link.to_str().unwrap();
    assert_eq!(run_to_end(&[], &other, SOON).0, Some(78));
    // The first one goes on, and the tools may look.
    agent.bootstrap(&dataset(2));
    assert_eq!(found(&path), (0, Some(2)));
}

#[test]
fn a_link_stays_a_link() {
    let (mut agent, bytes) = written();
    let target = agent.dir().join("target");
    fs::rename(agent.backup_file(), &target).unwrap();
    symlink(&target, agent.backup_file()).unwrap();
    agent.start_again();
    assert_eq!(served(&agent), Some(WRITTEN));
    agent.bootstrap(&dataset(4));
    agent.kill();
    assert_eq!(found(&target), (0, Some(4)));
    // A damaged target is set aside beside itself.
    let mut damaged = bytes;
    damaged[0] ^= 1;
    fs::write(&target, &damaged).unwrap();
    agent.start_again();
    agent.bootstrap(&dataset(7));
    agent.kill();
    assert_eq!(fs::read_link(agent.backup_file()).unwrap(), target);
    assert_eq!(found(&target), (0, Some(7)));
    let beside = fs::read_dir(agent.dir()).unwrap().map(|entry| entry.unwrap().path());
    let aside: Vec<PathBuf> =
        beside.filter(|path| path.to_string_lossy().contains("target.damaged-")).collect();
    assert_eq!(aside.len(), 1);
    assert!(fs::read(&aside[0]).unwrap() == damaged);
}

#[test]
fn a_place_where_no_file_can_be_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(place("folder")).unwrap();
    fs::write(place("file"), "").unwrap();
    symlink(place("nowhere"), place("dangling")).unwrap();
    symlink(place("folder"), place("to-folder")).unwrap();
    for (name, why) in [
        ("folder", "is a folder. Choose the path of a regular file"),
        ("dangling", "a symbolic link that leads nowhere"),
        ("to-folder", "a link to something that is not a regular file"),
        ("missing/backup", "files cannot be created in the folder"),
        ("file/backup", "files cannot be created in the folder"),
    ] {
        let path = place(name);
        let environment = [
            ("ASPNETCORE_URLS", "http://127.0.0.1:0"),
            ("Mode", "offline"),
            ("ApiKey", API_KEY),
            ("BackupFile", &path),
        ];
        let (code, text) = run_to_end(&[], &environment, SOON);
        assert_eq!(code, Some(78), "{name}: {text}");
        assert!(text.contains("BackupFile") && text.contains(why), "{name}: {text}");
        let (code, text) = run_to_end(&["check"], &environment, SOON);
        assert_eq!(code, Some(78), "check {name}: {text}");
    }
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "nothing was made: {names:?}");
}

#[test]
fn the_file_and_what_is_made_of_it_are_for_their_owner_only() {
    let (agent, _) = written();
    let dump = agent.dir().join("dump.json");
    let path = agent.backup_file();
    let (code, text) = tool_says(&["export", path.to_str().unwrap(), "--out", dump.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
    for file in [&path, &dump] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

/// What went wrong: the dump took the place of the backup file, and the agent began without data at its next start.
#[test]
fn a_backup_file_was_exported_over_itself() {
    let (agent, bytes) = written();
    let (path, link) = (agent.backup_file(), agent.dir().join("link"));
    symlink(&path, &link).unwrap();
    for out in [&path, &link, &agent.backup_folder().join("../state/backup")] {
        let (code, text) = tool_says(&["export", path.to_str().unwrap(), "--out", out.to_str().unwrap()]);
        assert_eq!(code, Some(64), "{text}");
        assert!(text.contains("is the backup file itself"), "{text}");
        assert!(fs::read(&path).unwrap() == bytes, "the file was changed");
    }
}

/// What went wrong: a file that is not damaged, but that this version cannot read to its end, got another name through a link
/// that was made of the link, and was lost when the new file took its place.
#[test]
fn a_file_that_cannot_be_read_to_its_end_was_lost_behind_a_link() {
    let (mut agent, _) = written();
    let target = agent.dir().join("target");
    fs::rename(agent.backup_file(), &target).unwrap();
    symlink(&target, agent.backup_file()).unwrap();
    let fingerprint = inspect(&RealDisk::new(), &target, LogKind::Journal).unwrap().fingerprint;
    let identity = Identity { kind: LogKind::Journal, fingerprint };
    let mut log = open(Arc::new(RealDisk::new()), &target, identity, LogLimits::default()).unwrap().log;
    log.append(&mut |out| out(200, b"of tomorrow")).unwrap();
    log.sync().unwrap();
    drop(log);
    let bytes = fs::read(&target).unwrap();
    assert_eq!(found(&target), (65, Some(WRITTEN)));
    agent.start_again();
    assert_eq!(served(&agent), Some(WRITTEN));
    let line = agent.wait_line("was not read to its end");
    assert!(line.contains("ERROR") && line.contains("200"), "{line}");
    // The new file has all of it before anything changes.
    wait_until("a new file", SOON, || (found_now(&target) == (0, Some(WRITTEN))).then_some(()));
    agent.bootstrap(&dataset(2));
    agent.kill();
    assert_eq!(found(&target), (0, Some(2)));
    let beside = fs::read_dir(agent.dir()).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<PathBuf> = beside.filter(|path| path.to_string_lossy().contains(".unreadable-")).collect();
    assert_eq!(kept.len(), 1);
    // The space that was allocated in advance may be gone.
    let kept = fs::read(&kept[0]).unwrap();
    assert!(bytes.starts_with(&kept) && bytes[kept.len()..].iter().all(|&byte| byte == 0));
}

#[test]
fn the_tools_describe_a_file_without_its_secrets() {
    let mut data = dataset(2);
    let revoked = data.environments[0].add_secret(Kind::Client, 9);
    let mut agent = Builder::saving().env("RevocationGraceSeconds", "600").start();
    agent.bootstrap(&data);
    agent.bootstrap(&dataset(3));
    let path = agent.backup_file();
    let path = path.to_str().unwrap();
    // Also while the agent writes it.
    for _ in 0..2 {
        let (code, text) = tool_says(&["show", path]);
        assert_eq!(code, Some(0), "{text}");
        for part in [
            "it is complete",
            "1 environments, 3 secrets, of which 1 in their grace period",
            "project-1:production: 2 flags, 0 segments, 1 removals remembered",
            "edition of 2",
            "newest change of 2024-02-01",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let (code, verified) = tool_says(&["verify", path]);
        assert_eq!(code, Some(0), "{verified}");
        for text in [text, verified] {
            for secret in [&revoked, &data.environments[0].secret(Kind::Server), API_KEY] {
                assert!(!text.contains(secret), "{text}");
            }
        }
        agent.kill();
    }
}

#[test]
fn the_tools_end_with_the_code_that_the_help_promises() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(place("empty"), "").unwrap();
    fs::write(place("text"), dataset(1).to_text()).unwrap();
    let spool = Identity { kind: LogKind::Spool, fingerprint: [0; 32] };
    drop(open(Arc::new(RealDisk::new()), Path::new(&place("spool")), spool, LogLimits::default()).unwrap());
    let (agent, bytes) = written();
    let end =
        usize::try_from(inspect(&RealDisk::new(), &agent.backup_file(), LogKind::Journal).unwrap().bytes)
            .unwrap();
    fs::write(place("torn"), &bytes[..end - 3]).unwrap();
    let mut damaged = bytes.clone();
    damaged[end / 2] ^= 1;
    fs::write(place("damaged"), &damaged).unwrap();
    for (name, verify, export, text) in [
        ("missing", 66, 66, "cannot be read"),
        (".", 66, 66, "is a folder"),
        ("empty", 0, 65, "it is empty"),
        ("text", 65, 65, "it is no backup file"),
        ("spool", 65, 65, "another file of featbit-agent"),
        ("torn", 0, 0, "an unfinished write at byte"),
        ("damaged", 65, 0, "it is damaged at byte"),
    ] {
        let path = place(name);
        let (code, said) = tool_says(&["verify", &path]);
        assert_eq!(code, Some(verify), "verify {name}: {said}");
        assert!(said.contains(text), "verify {name}: {said}");
        let (code, said) = tool_says(&["show", &path]);
        assert_eq!(code, Some(verify), "show {name}: {said}");
        assert!(said.contains(text), "show {name}: {said}");
        let (code, said) = tool_says(&["export", &path, "--out", &place("out")]);
        assert_eq!(code, Some(export), "export {name}: {said}");
        assert_eq!(fs::remove_file(place("out")).is_ok(), export == 0, "export {name}");
    }
    assert_eq!(number_of(&export(Path::new(&place("torn")), &[])), Some(WRITTEN - 1));
    for arguments in [&["verify"][..], &[], &["look", "x"], &["verify", "x", "y"]] {
        assert_eq!(tool(arguments).status.code(), Some(64), "{arguments:?}");
    }
}

#[test]
fn what_is_exported_can_be_loaded_in_every_way() {
    let (mut agent, _) = written();
    let file = agent.backup_file();
    let dump = export(&file, &[]);
    let canonical = export(&file, &["--canonical"]);
    agent.start_again();
    assert_eq!(agent.canonical(), canonical);
    // The order of items is that of the data.
    let plain_dump = agent.get("/api/public/proxy/backup", &[("Authorization", API_KEY)]).expect(200);
    assert_eq!(plain_dump.text(), dump);
    // By a bootstrap call on a fresh agent, and as a data file.
    for text in [&dump, &canonical] {
        let data = Dataset::from_json(&serde_json::from_str(text).unwrap());
        let fresh = Builder::offline().api_key().start();
        let answer = common::http::post_json(
            fresh.port(),
            common::raw::BOOTSTRAP,
            &[("Authorization", API_KEY)],
            text,
        );
        answer.unwrap().expect(200);
        let by_file = Builder::offline().api_key().data_file(&data).start();
        for other in [&fresh, &by_file] {
            wait_until("the data", SOON, || (other.canonical() == canonical).then_some(()));
            assert_eq!(Watcher::asking(other, &two_flags(1).secret(Kind::Server)).refusal(), None);
        }
    }
    let unknown = secret_text(&two_flags(1).id, Kind::Server, 77);
    assert!(!dump.contains(&unknown) && dump.contains(&two_flags(1).secret(Kind::Server)));
    expect_valid(&file);
}
