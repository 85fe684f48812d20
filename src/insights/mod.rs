//! Usage events: what SDKs report about evaluations, metrics and end users.
//!
//! Must not work on a reactor: reactors judge the secret of a call and hand its body over. Must not send anything where the policy says `local`
//! or `drop`, nor invent an event.
//!
//! | Where | What |
//! |---|---|
//! | `handle` | how reactors hand calls over |
//! | `worker`, `intake`, `dispatch`, `start` | the thread of usage events; what happens to a call; what is sent next; what is opened and started |
//! | `preflight` | what can be said before the start |
//! | `policy`, `counts`, `board` | what happens to the events of each environment; what became of them; what is shown of all this |
//! | `events`, `items` | the events of one call, each with its own text; takes a body apart into them |
//! | `known_flags` | what events have to know of the flags of their environment |
//! | `pseudonym/` | events without what identifies a user |
//! | `queue`, `memory_queue` | events that wait to be sent: what every queue offers; the one in memory |
//! | `spool/` | events that wait to be sent, on disk |
//! | `sender/` | sends events to the server, and knows what its answers mean for them |
//! | `local/`, `dead_letters`, `line_file` | readable files, and what they add up to; events that will never be accepted; a file of lines that loses nothing that was acknowledged |

mod board;
mod counts;
pub mod dead_letters;
mod dispatch;
pub mod events;
mod handle;
mod intake;
pub mod items;
pub mod known_flags;
pub mod line_file;
pub mod local;
pub mod memory_queue;
mod policy;
mod preflight;
pub mod pseudonym;
pub mod queue;
#[cfg(test)]
mod queue_twin;
pub mod sender;
pub mod spool;
mod start;
mod worker;

pub use board::Board;
pub use handle::{Busy, Call, Handle};
pub use preflight::{Preflight, preflight};
pub use start::{EventsError, Needs, Running, start};
