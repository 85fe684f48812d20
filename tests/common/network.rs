//! Records what an agent asks of the network: a library before its own. Needs a C compiler.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::agent::Builder;

/// Records of one or more agents.
#[derive(Debug)]
pub struct Recorder {
    folder: TempDir,
}

impl Recorder {
    /// A recorder that nothing was recorded with.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let source = folder.path().join("network.c");
        fs::write(&source, include_str!("network.c")).expect("the directory can be written to");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("network.so"))
            .arg(&source)
            .output()
            .expect("there is a C compiler, since Rust links with it");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        Self { folder }
    }

    /// Records this agent under this name.
    pub fn watch(&self, agent: Builder, name: &str) -> Builder {
        let path = |name: &str| self.folder.path().join(name).to_string_lossy().into_owned();
        agent.env("LD_PRELOAD", &path("network.so")).env("TEST_NETWORK", &path(name))
    }

    /// What was recorded under this name: a line for each look-up, connection and datagram.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}
