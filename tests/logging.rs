//! Standard output that nobody reads: the agent keeps working, and ends at a signal.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use common::agent::{API_KEY, command};
use common::dataset::{Dataset, Environment, START_MS, boolean_flag, iso};
use common::raw::BOOTSTRAP;
use common::{SOON, http, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

struct Unread {
    child: Child,
    /// Of the lines up to the first one that says that it runs, nothing more is read. With no buffer of a test's own
    /// in between, the pipe fills.
    out: Option<BufReader<std::process::ChildStdout>>,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An agent whose output is not read any more once it runs.
fn start() -> Unread {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--mode", "offline", "--urls", "http://127.0.0.1:0"].map(str::to_owned);
    let env =
        [("ApiKey", API_KEY), ("Logging__Format", "json")].map(|(name, value)| (name.into(), value.into()));
    let mut child = command(&args, &env, dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    let mut out = BufReader::with_capacity(1, out);
    let mut line = String::new();
    while !line.contains("featbit-agent is running") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended");
    }
    let told: Value = serde_json::from_str(&line).unwrap();
    let port = told["addresses"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    Unread { child, out: Some(out), port, _dir: dir }
}

/// Has it log more than the pipe takes; every call is answered.
fn log_much(agent: &Unread) {
    for number in 0..1_000 {
        let mut flag = boolean_flag("flag");
        flag["updatedAt"] = json!(iso(START_MS + number));
        let data = Dataset::of([Environment::new(1).flag(flag)]).to_text();
        let key = [("Authorization", API_KEY), ("Content-Type", "application/json")];
        let answer = http::request(agent.port, "POST", BOOTSTRAP, &key, Some(data.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(http::get(agent.port, "/health/liveness", &[]).unwrap().status, 200);
    assert_eq!(http::get(agent.port, "/health/readiness", &[]).unwrap().status, 200);
}

fn signal(agent: &Unread, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(agent.child.id()).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn an_unread_output_blocks_neither_data_nor_answers_nor_the_end() {
    let mut agent = start();
    log_much(&agent);
    signal(&agent, Signal::TERM);
    let status = wait_until("it ends", SOON, || agent.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{status}");
}

/// What went wrong: lines for a pipe without a reader were lost and not counted.
#[test]
fn lines_for_a_closed_pipe_are_counted() {
    let mut agent = start();
    let port = agent.port;
    let lost = || {
        let answer = http::get(port, "/metrics", &[]).unwrap();
        let page = answer.text();
        let line = page.lines().find(|line| line.starts_with("featbit_agent_log_lines_dropped_total "));
        line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(lost(), 0.0);
    drop(agent.out.take());
    let key = [("Authorization", API_KEY), ("Content-Type", "application/json")];
    let answer = http::request(port, "POST", BOOTSTRAP, &key, Some(b"{}")).unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
    wait_until("a line is counted", SOON, || (lost() >= 1.0).then_some(()));
    // Logging the loss must not lose another line each time.
    let counted = lost();
    for _ in 0..20 {
        assert!(lost() < counted + 5.0);
    }
    signal(&agent, Signal::TERM);
    let status = wait_until("it ends", SOON, || agent.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{status}");
}
