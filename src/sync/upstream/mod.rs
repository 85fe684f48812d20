//! Follows a FeatBit server, or another agent: its connections, and what comes in on them.
//!
//! Must not block: whatever may wait (a name to be looked up, a handshake) happens on a thread of its own. What to do
//! is decided in [`follow`]; the rest does it.
//!
//! | Where | What |
//! |---|---|
//! | `follow` | what to do when, full syncs included: pure |
//! | `driver` | does it: connections, turns, what is due |
//! | `opener`, `register`, `endpoint`, `reply` | how a connection is opened, and what it means if it is not |
//! | `dial_threads` | the threads on which that happens |
//! | `connection`, `limited_stream` | an open connection |
//! | `data_request` | since when everything newer is asked for |
//! | `messages`, `plausible`, `remembered_pushes`, `unreadable` | what becomes of what the server says |
//! | `pull` | everything once, for a dump |
//! | `status` | publishes the status of the synchronization |
//! | `log` | what is logged of it, and how often |

mod connection;
mod data_request;
mod dial_threads;
mod driver;
mod endpoint;
mod follow;
mod limited_stream;
mod log;
mod messages;
mod opener;
mod plausible;
mod pull;
mod register;
mod remembered_pushes;
mod reply;
mod status;
mod unreadable;

pub use driver::Upstream;
pub use opener::Opener;
pub use pull::{PullError, pull};
