//! Logs on a real disk, in processes of their own: limits of the system.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use featbit_agent::persist::log::{Identity, LogKind, LogLimits, Opened, RealDisk, open};
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
