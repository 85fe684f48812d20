//! Redis as the memory of a cluster of agents: every agent writes what it has that is newer, and reads what others wrote.
//!
//! Must not know flags, only records; must not make its users wait: all work is on threads of its own. docs/redis.md
//! describes the keys and their values.
//!
//! [`worker`] owns the threads; [`mailbox`] is what waits for them, [`event`] what they tell. `session`, `reading` and
//! `writing` are one connection and what is done with it; `calls` runs the scripts in `lua/`. [`connect`]
//! opens connections by the settings.

mod backoff;
mod calls;
mod commands;
pub mod connect;
pub mod dial;
pub mod event;
mod listening;
pub mod mailbox;
mod mirror;
mod reading;
pub mod record;
mod reply;
pub mod scripts;
mod session;
mod shared;
pub mod status;
pub mod text;
pub mod worker;
mod writing;

pub use dial::{Dial, Failure, Listen};
pub use event::{Data, Event};
pub use mailbox::Command;
pub use record::{Record, Register};
pub use shared::Options;
pub use status::{Counters, RedisStatus, State};
pub use worker::Worker;
