//! What the end-to-end tests share. Must not use the library: it sees the agent as SDKs and operators do, through its
//! binary, its sockets and its files.
//!
//! [`agent`] runs the binary, [`backup`] looks into its backup file and spoils its disk, [`waiting`] waits for what it does
//! in its own time, [`http`] and [`ws`] speak to it byte by byte, [`dataset`] writes dumps, [`certificates`] makes
//! certificates, [`sdk`] drives real SDKs, [`browser`] the tabs of a real browser, [`server`] stands in for FeatBit's
//! evaluation server and [`event_server`] for the receiver of usage events, [`frontend`] runs a real proxy in front of an
//! agent, [`redis`] real Redis servers, [`sharing`] agents that share one. Nothing waits by sleeping: [`wait_until`] looks at a condition until a deadline.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::expect_used, reason = "a test that cannot go on shall fail")]

pub mod agent;
pub mod backup;
pub mod browser;
pub mod certificates;
pub mod dataset;
pub mod event_server;
pub mod following;
pub mod frames;
pub mod frontend;
pub mod http;
pub mod memory;
pub mod network;
pub mod people;
pub mod proxy;
pub mod raw;
pub mod reaper;
pub mod redis;
pub mod rng;
pub mod sdk;
pub mod server;
pub mod sharing;
pub mod strict;
pub mod tls;
pub mod waiting;
pub mod watcher;
pub mod ws;

use std::io::Write;
use std::time::{Duration, Instant};

/// How long anything may take that should happen at once; generous, since test machines are slow and shared.
pub const SOON: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `condition` gives something, and returns it; `None` when `within` is over.
pub fn poll_until<T>(within: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(seen) = condition() {
            return Some(seen);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Looks until `condition` gives something, and returns it.
///
/// # Panics
/// When `within` is over; the message says what was waited for.
pub fn wait_until<T>(what: &str, within: Duration, condition: impl FnMut() -> Option<T>) -> T {
    poll_until(within, condition).unwrap_or_else(|| panic!("waited {within:?} in vain: {what}"))
}

/// Says loudly that something was not tested. Goes around the test runner's capture, so that it is always seen.
pub fn left_out(test: &str, why: &str) {
    let _ = std::io::stderr().write_all(format!("LEFT OUT: {test}: {why}\n").as_bytes());
}

/// The wall clock in Unix milliseconds.
pub fn now_ms() -> i64 {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is after 1970");
    i64::try_from(since.as_millis()).expect("the clock is before the year 292 million")
}
