//! Evaluates flags for users, exactly as FeatBit's evaluation server (5.4.2) does.
//!
//! Must not use a clock, a socket, a thread, a global or the log, and must not repeat work per user that can be done once. A
//! [`Compiler`] turns the model's definitions into [`Flag`]s and [`Segment`]s, in which numbers are parsed, patterns
//! compiled, key sets hashed and JSON fragments written. [`Flag::evaluate`] then decides for one user without allocating,
//! and [`Flag::append_client_json`] joins the fragments. Neither compiling nor evaluating can fail: a condition that cannot
//! be used never holds, and affects only its own flag.
//!
//! | Where | What |
//! |---|---|
//! | `audience` | the user, and what only some SDKs need |
//! | `compile` | definitions → compiled; findings; the cache of patterns |
//! | `flag` | the order of decisions; the client payload |
//! | `segment` | membership; slots; the table of segments |
//! | `condition` | attributes and operators |
//! | `rollout` | percentage rollouts and experiments |
//! | `number` | numbers as .NET reads them |
//! | `pattern` | regular expressions as .NET means them |
//! | `keys`, `text` | sets of keys; texts in one allocation |
//!
//! Besides those that `pattern` lists, two differences from the original are deliberate. `StartsWith` and `EndsWith`
//! compare ordinally, as SDKs do, not by culture. And where the original fails the whole payload (an unknown
//! segment, an invalid pattern or list), the condition is false, or the user not in the segment.

mod audience;
mod compile;
mod condition;
mod flag;
mod keys;
mod number;
mod pattern;
mod rollout;
mod segment;
mod text;

pub use audience::{Audience, NoVariation};
pub use compile::Compiler;
pub use flag::{Decision, Flag};
pub use pattern::{PatternUsage, RegexLimits};
pub use segment::{Segment, SegmentSlots, Segments};
