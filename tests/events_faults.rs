//! Usage events while something fails: the server, the disk, the spool's files, the agent itself. With a folder, every event
//! whose call got 200 arrives at least once, or is counted as dropped.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "events_faults/calls.rs"]
mod calls;
mod common;
#[path = "events_faults/disks.rs"]
mod disks;
#[path = "events_faults/kills.rs"]
mod kills;
#[path = "events_faults/servers.rs"]
mod servers;
#[path = "events_faults/spoiled.rs"]
mod spoiled;
#[path = "events_faults/stops.rs"]
mod stops;
#[path = "events_faults/support.rs"]
mod support;
