//! The cluster's Redis as a source of data, and as what keeps every change for the other agents.
//!
//! Must not talk to Redis: the worker of `persist` does, on threads of its own. This only turns flags into records and back,
//! on the sync thread.
//!
//! | Where | What |
//! |---|---|
//! | `source` | what the worker tells, merged into the data |
//! | `sink` | changes of this agent, for the worker |
//! | `records` | flags, segments and removals as records |
//! | `register` | the list of environments, secrets and grace periods as one text |
//! | `texts` | records as a message that the parser reads |

mod records;
mod register;
mod sink;
mod source;
mod texts;

pub use register::Register;
pub use sink::RedisSink;
pub use source::RedisSource;
pub use texts::Sorted;
