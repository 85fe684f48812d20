//! Agents with a backup file: where it is, what the offline tools say of it, the data in a form that can be compared, and
//! faults of its disk.
//!
//! Must not use the library: what an agent has saved is seen through its tools and its answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::agent::{API_KEY, Agent, Builder, command};
use super::dataset::{Dataset, Environment};
use super::{SOON, wait_until};

/// The folder of the backup file, below the agent's own.
const FOLDER: &str = "state";

impl Builder {
    /// With a backup file, in a folder of its own.
    pub fn backup(self) -> Self {
        self.folder(FOLDER).env("BackupFile", "state/backup")
    }

    /// An agent in offline mode with a backup file and the management calls.
    pub fn saving() -> Self {
        Self::offline().api_key().backup()
    }
}

impl Agent {
    /// The backup file of [`Builder::backup`].
    pub fn backup_file(&self) -> PathBuf {
        self.backup_folder().join("backup")
    }

    /// Its folder.
    pub fn backup_folder(&self) -> PathBuf {
        self.dir().join(FOLDER)
    }

    /// The other files in that folder whose names contain `part`.
    pub fn files_beside(&self, part: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.backup_folder()).expect("the folder of the backup file");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.retain(|file| file.to_string_lossy().contains(part));
        files
    }

    /// Ends it without warning, and starts it again.
    pub fn kill_and_start_again(&mut self) {
        self.kill();
        self.start_again();
    }

    /// The data in the canonical form.
    pub fn canonical(&self) -> String {
        let answer = self.get("/api/public/proxy/backup?canonical=true", &[("Authorization", API_KEY)]);
        answer.expect(200).text().to_owned()
    }

    /// A bootstrap call, and its answer whatever it is.
    pub fn try_bootstrap(&self, data: &Dataset) -> super::http::Response {
        self.post(super::raw::BOOTSTRAP, &[("Authorization", API_KEY)], &data.to_json())
    }

    /// What the status says of the backup file.
    pub fn backup_status(&self) -> Value {
        self.status()["agent"]["backup"].take()
    }

    /// Waits until the backup file holds what is in service.
    pub fn wait_written(&self) {
        let file = self.backup_file();
        let file = file.to_string_lossy();
        wait_until("the file holds what is in service", SOON, || {
            // Each reactor takes in a change on its own.
            let saved = tool(&["export", &file, "--canonical"]).stdout;
            (saved == self.canonical().as_bytes()).then_some(())
        });
    }

    /// Waits until the backup file is not stale.
    pub fn wait_saved(&self) {
        let holds = |status: &Value| status["agent"]["backup"]["isStale"] == json!(false);
        self.wait_status("the backup file is not stale", holds);
        self.wait_metric("featbit_agent_backup_stale", "", 0.0);
    }

    /// Waits until the backup file lacks something.
    pub fn wait_stale(&self) {
        let holds = |status: &Value| status["agent"]["backup"]["isStale"] == json!(true);
        let status = self.wait_status("the backup file is stale", holds);
        assert!(status["agent"]["backup"]["staleSince"].is_string(), "{status}");
        self.wait_metric("featbit_agent_backup_stale", "", 1.0);
    }

    /// Lets no file of the agent grow past this many bytes; `None` ends that.
    pub fn limit_file_bytes(&self, bytes: Option<u64>) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("the id of a process");
        let before = prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None });
        before.expect("the agent runs as the user of this process");
    }
}

/// Runs `featbit-agent backup` with these arguments.
pub fn tool(arguments: &[&str]) -> Output {
    let mut args = vec!["backup".to_owned()];
    args.extend(arguments.iter().map(|&argument| argument.to_owned()));
    command(&args, &[], Path::new("/")).output().expect("the binary runs")
}

/// The exit code of `featbit-agent backup`, and all that it printed.
pub fn tool_says(arguments: &[&str]) -> (Option<i32>, String) {
    let output = tool(arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("the output is UTF-8"))
}

/// Makes sure that a file can be used to its end.
pub fn expect_valid(file: &Path) {
    let (code, text) = tool_says(&["verify", &file.to_string_lossy()]);
    assert_eq!(code, Some(0), "{text}");
}

/// The dump of a backup file.
pub fn export(file: &Path, more: &[&str]) -> String {
    let file = file.to_string_lossy();
    let output = tool(&[&["export", &file], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a dump is UTF-8")
}

/// The same data in the same words, whatever the order of its parts: the plain twin of the canonical form.
pub fn plain(environments: &[Environment]) -> Value {
    let sorted = |items: &[Value], name: &str| {
        let mut items = items.to_vec();
        items.sort_by_key(|item| item[name].as_str().map(str::to_owned));
        items
    };
    let mut all: Vec<Value> = environments
        .iter()
        .map(|environment| {
            json!({
                "envId": environment.id,
                "secrets": sorted(&environment.secrets, "value"),
                "featureFlags": sorted(&environment.flags, "id"),
                "segments": sorted(&environment.segments, "id"),
            })
        })
        .collect();
    all.sort_by_key(|environment| environment["envId"].as_str().map(str::to_owned));
    json!({ "eventType": "rp_full", "items": all })
}

/// The data of a dump in the form of [`plain`].
pub fn plain_of(dump: &str) -> Value {
    let dump: Value = serde_json::from_str(dump).unwrap_or_else(|error| panic!("{error} in {dump:?}"));
    plain(&Dataset::from_json(&dump).environments)
}

/// A disk whose faults a test switches on and off: a library before the agent's own that looks for files in a folder.
///
/// It concerns only files whose path contains `/state/`, and needs a C compiler.
#[derive(Debug)]
pub struct FaultyDisk {
    folder: TempDir,
}

/// What a disk does.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Syncs do not end.
    Hang,
    /// Writes fail, since there is no space.
    Full,
    /// Syncs fail.
    Broken,
}

impl Fault {
    fn file(self) -> &'static str {
        match self {
            Fault::Hang => "hang",
            Fault::Full => "full",
            Fault::Broken => "broken",
        }
    }
}

impl FaultyDisk {
    /// A disk without a fault.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let source = folder.path().join("disk.c");
        fs::write(&source, include_str!("disk.c")).expect("the directory can be written to");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("disk.so"))
            .arg(&source)
            .output()
            .expect("there is a C compiler, since Rust links with it");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        Self { folder }
    }

    /// Puts an agent on this disk.
    pub fn under(&self, agent: Builder) -> Builder {
        let path = |name: &str| self.folder.path().join(name).to_string_lossy().into_owned();
        agent.env("LD_PRELOAD", &path("disk.so")).env("TEST_DISK_FAULTS", &path(""))
    }

    /// The disk has this fault from now on.
    pub fn begin(&self, fault: Fault) {
        fs::write(self.folder.path().join(fault.file()), "").expect("the directory can be written to");
    }

    /// The fault is over.
    pub fn end(&self, fault: Fault) {
        fs::remove_file(self.folder.path().join(fault.file())).expect("the fault was there");
    }

    /// How many writes or syncs have met a fault so far.
    pub fn met(&self) -> u64 {
        fs::metadata(self.folder.path().join("met")).map_or(0, |metadata| metadata.len())
    }
}

impl Default for FaultyDisk {
    fn default() -> Self {
        Self::new()
    }
}
