//! Sending usage events to the server: from "these are the next events of a stream" to what became of them.
//!
//! Must not lose an event: what the server has not taken stays in the queue, unless the server says that it will never take
//! it. Must not send anything of an SDK's request but the secret and the events.
//!
//! The owner of the queue works in this order: [`Deliveries::next`] names the stream that may send, and how much; the
//! queue's `peek` gives the portion; [`Deliveries::begun`]; [`Sender::submit`]. When the job is done,
//! [`Deliveries::ended`] says what happens to its events, and [`SendLog::ended`] logs trouble.
//!
//! | Where | What |
//! |---|---|
//! | `deliveries`, `delivery` | which stream may send, how much, and what an outcome means for its events |
//! | `breaker`, `server_gate` | waiting after a failure: of a stream, of the server |
//! | `portions` | how much to send at once; how the one bad event is found |
//! | `outcome` | what an answer means |
//! | `pool`, `peer`, `connection` | threads, connections and exchanges |
//! | `request`, `compression` | the bytes of a request |
//! | `log` | log lines |

mod breaker;
mod compression;
mod connection;
mod deliveries;
mod delivery;
mod log;
mod outcome;
mod peer;
mod pool;
mod portions;
mod request;
mod server_gate;

pub use breaker::BreakerState;
pub use deliveries::Deliveries;
pub use delivery::{DeliveryState, Reason, Verdict};
pub use log::SendLog;
pub use outcome::{Fault, NoAnswer, Outcome, Refusal};
pub use pool::{Job, JobDone, Options, Sender};

#[cfg(test)]
mod tests;
