//! A start from a backup file: from the file, which the system has in memory, to the first full payload.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use featbit_agent::ingest::journal::{self, Recovery};
use featbit_agent::persist::log::{self, Identity, LogKind, LogLimits, RealDisk};
use featbit_agent::store::{Delta, EnvironmentSlot, Moment, PatchForm, Writer, WriterOptions};
use tempfile::TempDir;

use super::Work;
use crate::fixtures::dump;

/// What the agent does at its start, without its threads.
pub struct Restart {
    _folder: TempDir,
    file: PathBuf,
    made: Option<Writer>,
}

impl Restart {
    pub fn new() -> Self {
        let (_, writer) = dump::load(dump::dump().into_bytes());
        let delta = Delta::from(writer.state(Moment::default()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup");
        let identity = Identity { kind: LogKind::Journal, fingerprint: [0; 32] };
        let disk = Arc::new(RealDisk::new());
        let mut opened = log::open(disk, &file, identity, LogLimits::default()).unwrap();
        opened.log.replace(&mut |out| journal::write(&delta, 0, out)).unwrap();
        Self { _folder: folder, file, made: None }
    }
}

impl Work for Restart {
    fn operations(&self) -> u32 {
        1
    }
    fn prepare(&mut self) {
        self.made = None;
    }
    fn run(&mut self) {
        let recovered = log::inspect(&RealDisk::new(), &self.file, LogKind::Journal).unwrap();
        let mut recovery = Recovery::default();
        for group in recovered.groups() {
            recovery.apply(group.map(|record| (record.kind, recovered.share(record.body)))).unwrap();
        }
        let state = recovery.finish(0);
        let writer = Writer::restore(WriterOptions::default(), state, Moment::default()).unwrap();
        let environment = writer.current().environment(EnvironmentSlot(0)).unwrap();
        let mut full = Vec::new();
        environment.server_sync(0, PatchForm::Batch, &mut full);
        assert!(!black_box(full).is_empty());
        self.made = Some(writer);
    }
}
