//! Logs on a real disk, in processes of their own: limits of the system, and `kill -9` at any time; and a folder
//! that goes and comes back.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use featbit_agent::persist::journal::{Done, Journal, Options, Records};

use featbit_agent::persist::log::{End, Identity, LogKind, LogLimits, Opened, RealDisk, Recovered, open};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The variable that tells a process of this program that it is the one under test, with the path of its log.
const LOG: &str = "FEATBIT_TEST_LOG";

fn open_log(path: &Path) -> Opened {
    let identity = Identity { kind: LogKind::Journal, fingerprint: [3; 32] };
    open(Arc::new(RealDisk::new()), path, identity, LogLimits::default()).expect("the log is opened")
}

/// The path of the log, if this is the process under test.
fn own_log() -> Option<PathBuf> {
    std::env::var_os(LOG).map(PathBuf::from)
}

/// Another process that runs only the test of this name.
fn process(test: &str, log: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("its own path"));
    command.args(["--exact", test, "--nocapture"]).env(LOG, log).stdin(Stdio::null());
    command
}

fn run(test: &str, log: &Path) -> Output {
    process(test, log).output().expect("the process runs")
}

/// What could go wrong: the kernel ends a process whose file grows past `ulimit -f`.
#[test]
fn a_limit_of_file_sizes_ended_the_process() {
    let Some(path) = own_log() else {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        let output = run("a_limit_of_file_sizes_ended_the_process", &path);
        assert!(output.status.success(), "{output:?}");
        let found = open_log(&path).recovered;
        assert_eq!((found.groups, found.records), (2, 2));
        return;
    };
    let mut log = open_log(&path).log;
    let before = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(300_000), ..before }).unwrap();
    let body = vec![7; 50_000];
    let error = (0..100)
        .find_map(|_| log.append(&mut |out| out(1, &body)).and_then(|_| log.sync()).err())
        .expect("the limit is hit");
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert!(!log.is_trusted());
    setrlimit(Resource::Fsize, before).unwrap();
    log.replace(&mut |out| out(1, &body)).unwrap();
    log.append(&mut |out| out(2, &body)).unwrap();
    log.sync().unwrap();
}

/// The kind of a record that replaces all before it.
const WHOLE: u8 = 1;

/// A group: one entry, or all entries below a number, a record each.
struct Entries {
    kind: u8,
    numbers: std::ops::Range<u32>,
}

impl Records for Entries {
    fn write(&self, out: &mut dyn FnMut(u8, &[u8])) {
        for (at, number) in self.numbers.clone().enumerate() {
            out(if at == 0 { self.kind } else { 0 }, &[number.to_le_bytes(); 20].concat());
        }
    }
}

fn entries_of(recovered: &Recovered) -> Vec<u32> {
    let mut entries = Vec::new();
    for record in recovered.groups().flatten() {
        if record.kind == WHOLE {
            entries.clear();
        }
        entries.push(u32::from_le_bytes(*record.body.first_chunk().expect("a number")));
    }
    entries
}

fn entries(kind: u8, numbers: std::ops::Range<u32>) -> Box<dyn Records> {
    Box::new(Entries { kind, numbers })
}

#[test]
fn a_folder_that_was_removed_and_comes_back_gets_all_the_data() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("state");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("backup");
    let (ask, asked) = channel();
    let needs_full_state = Box::new(move || {
        let _ = ask.send(());
    });
    let options = Options {
        retry_min: Duration::from_millis(1),
        retry_max: Duration::from_millis(20),
        done_within: Duration::from_secs(600),
        ..Options::default()
    };
    let journal = Journal::start(open_log(&path).log, options, needs_full_state).unwrap();
    let (tell, told) = channel();
    let done = || -> Option<Done> {
        let tell = tell.clone();
        Some(Box::new(move |result| {
            let _ = tell.send(result);
        }))
    };
    let patience = Duration::from_secs(20);
    journal.append(entries(0, 0..1), done());
    assert_eq!(told.recv_timeout(patience), Ok(Ok(())));
    fs::remove_dir_all(&folder).unwrap();
    journal.append(entries(0, 1..2), done());
    asked.recv_timeout(patience).expect("a question");
    journal.replace(entries(WHOLE, 0..2), None);
    asked.recv_timeout(patience).expect("another question, since there is no folder");
    assert!(journal.status().stale_since_ms.is_some() && told.try_recv().is_err());
    fs::create_dir(&folder).unwrap();
    journal.replace(entries(WHOLE, 0..2), None);
    assert_eq!(told.recv_timeout(patience), Ok(Ok(())));
    assert_eq!(journal.status().stale_since_ms, None);
    journal.append(entries(0, 2..3), None);
    journal.stop(patience);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(entries_of(&open_log(&path).recovered), [0, 1, 2]);
}

/// Appends entries until it is killed, and tells on standard error which are durable.
fn append_for_ever(path: &Path) {
    let Opened { log, recovered, .. } = open_log(path);
    let mut next = entries_of(&recovered).len() as u32;
    let is_asked = Arc::new(AtomicBool::new(false));
    let asked = is_asked.clone();
    let options = Options { compact_factor: 2, compact_bytes_min: 20_000, ..Options::default() };
    let journal = Journal::start(log, options, Box::new(move || asked.store(true, SeqCst))).unwrap();
    loop {
        let number = next;
        let done = Box::new(move |result: Result<(), String>| {
            assert_eq!(result, Ok(()));
            eprintln!("{number}");
        });
        journal.append(entries(0, next..next + 1), Some(done));
        next += 1;
        if is_asked.swap(false, SeqCst) {
            journal.replace(entries(WHOLE, 0..next), None);
        }
        while journal.status().queued > 100 {
            thread::yield_now();
        }
    }
}

/// What could go wrong: a process that is killed loses what it has said to be durable, or leaves a file that cannot be
/// used.
#[test]
fn a_killed_process_lost_what_it_had_acknowledged() {
    if let Some(path) = own_log() {
        return append_for_ever(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    for round in 0..8u32 {
        let mut process = process("a_killed_process_lost_what_it_had_acknowledged", &path);
        let mut child = process.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a process");
        let mut lines =
            BufReader::new(child.stderr.take().expect("its standard error")).lines().map_while(Result::ok);
        // Anything but the number of an entry is what a failing test prints.
        let number = |line: String| line.parse::<u32>().unwrap_or_else(|_| panic!("{line}"));
        let mut last = number(lines.next().expect("an entry"));
        let until = last + 1 + round * round * 97 % 701;
        while last < until {
            last = number(lines.next().expect("an entry"));
        }
        thread::sleep(Duration::from_micros(u64::from(round) * 331));
        child.kill().expect("it still runs");
        child.wait().expect("it ends");
        last = lines.map(number).last().unwrap_or(last);
        let Opened { recovered, set_aside, .. } = open_log(&path);
        assert!(
            matches!(recovered.end, End::Clean | End::Torn { .. }) && set_aside.is_none(),
            "{:?}",
            recovered.end
        );
        let found = entries_of(&recovered);
        assert_eq!(found, (0..found.len() as u32).collect::<Vec<_>>(), "round {round}");
        assert!(
            found.len() > last as usize,
            "round {round}: {} entries, {last} was acknowledged",
            found.len()
        );
    }
}
