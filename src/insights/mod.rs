//! Usage events: what SDKs report about evaluations, metrics and end users.
//!
//! Must not work on a reactor: reactors check a body and hand it over. Must not send anything where the policy says `local`
//! or `drop`, nor invent an event.
//!
//! | Where | What |
//! |---|---|
//! | `dead_letters` | events that will never be accepted |
//! | `events` | the events of one call, each with its own text |
//! | `items` | takes a body apart into events |
//! | `known_flags` | what events have to know of the flags of their environment |
//! | `line_file` | a file of lines that loses nothing that was acknowledged |
//! | `local` | readable files, and what they add up to |
//! | `memory_queue` | events that wait to be sent, in memory |
//! | `pseudonym/` | events without what identifies a user |
//! | `queue` | events that wait to be sent: what every queue offers |
//! | `sender` | sends events to the server, and knows what its answers mean for them |

pub mod dead_letters;
pub mod events;
pub mod items;
pub mod known_flags;
pub mod line_file;
pub mod local;
pub mod memory_queue;
pub mod pseudonym;
pub mod queue;
#[cfg(test)]
mod queue_twin;
pub mod sender;
