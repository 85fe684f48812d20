//! The source that follows an upstream server: a FeatBit server or another agent.
//!
//! Must not block: name look-ups, handshakes and registrations run on other threads. [`follow`] decides what to do; the
//! other files do it.
//!
//! | Where | What |
//! |---|---|
//! | `follow` | pure state machines: when to connect, when to request a full sync, what to do with a message |
//! | `driver` | executes that: connections, turns, deadlines |
//! | `opener`, `register`, `endpoint`, `reply` | opens connections and registers; explains other answers than expected |
//! | `dial_threads` | the threads for that |
//! | `connection`, `limited_stream` | an open connection |
//! | `data_request` | the request for everything newer than the data in service |
//! | `messages`, `plausible`, `remembered_pushes`, `unreadable` | handles the messages of the server |
//! | `pull` | one full sync, as a dump |
//! | `status` | publishes the upstream status |
//! | `log` | the log lines about the server, with their rate limits |

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
