//! The programs of the README, as a newcomer copies them out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use common::agent::{Agent, Builder};
use common::dataset::write_atomically;
use common::sdk::installed_spec;
use common::{SOON, wait_until};

const README: &str = include_str!("../README.md");
const DEMO: &str = include_str!("../examples/demo.json");

/// The first program in this language.
fn program(language: &str) -> &'static str {
    let start = format!("```{language}\n");
    let (_, program) = README.split_once(&start).expect("the README has one");
    program.split_once("```").expect("it ends").0
}

/// A program that runs, and what it has printed on standard output and standard error.
struct Running {
    child: Child,
    printed: Arc<Mutex<[String; 2]>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let printed = Arc::<Mutex<[String; 2]>>::default();
        let output: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for (at, output) in output.into_iter().enumerate() {
            let printed = Arc::clone(&printed);
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let text = &mut printed.lock().unwrap()[at];
                    text.push_str(&line);
                    text.push('\n');
                }
            });
        }
        Self { child, printed }
    }

    fn wait_for_line(&self, line: &str) {
        wait_until(&format!("it prints {line}"), SOON, || {
            self.printed.lock().unwrap()[0].lines().any(|printed| printed == line).then_some(())
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The agent as the README starts it, on a copy of the demo.
fn agent(folder: &Path) -> (Agent, PathBuf) {
    let data = folder.join("my-flags.json");
    std::fs::write(&data, DEMO).unwrap();
    let agent =
        Builder::bare().arg("--mode").arg("offline").arg("--data-file").arg(data.to_str().unwrap()).start();
    (agent, data)
}

/// Runs a program of the README, given how, and makes the change that the README describes.
fn try_out(language: &str, name: &str, command: impl FnOnce(&Path) -> Command) {
    let folder = tempfile::tempdir().unwrap();
    let (agent, data) = agent(folder.path());
    let here = agent.url().trim_start_matches("http://").to_owned();
    let path = folder.path().join(name);
    std::fs::write(&path, program(language).replace("localhost:6100", &here)).unwrap();
    let mut running = Running::start(command(&path));
    running.wait_for_line("Grüezi!");

    write_atomically(&data, &DEMO.replace("Grüezi!", "Hoi!"));
    running.wait_for_line("Hoi!");
    assert_eq!(running.child.try_wait().unwrap(), None, "it stays running");
    let printed = running.printed.lock().unwrap()[1].clone();
    assert!(!printed.contains("Traceback"), "{printed}");
}

#[test]
fn the_node_program_did_not_print_the_new_value() {
    let Some(_) = installed_spec("readme", "node-server") else { return };
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdks/.cache/node-server");
    try_out("js", "app.mjs", |path| {
        symlink(cache.join("node_modules"), path.with_file_name("node_modules")).unwrap();
        let mut command = Command::new("node");
        command.arg(path);
        command
    });
}

#[test]
fn the_python_program_ended_at_once_and_logged_a_traceback() {
    let Some(_) = installed_spec("readme", "python-server") else { return };
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdks/.cache/python-server");
    try_out("python", "app.py", |path| {
        let mut command = Command::new(cache.join("venv/bin/python"));
        command.arg("-u").arg(path);
        command
    });
}
