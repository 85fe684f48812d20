//! Usage events that stay on this machine: readable files of JSON lines, one per environment and day of UTC.
//!
//! Must not send anything, and must not read an event: a line holds the event's own text.
//!
//! ```text
//! DIR/local/lock
//! DIR/local/shop_prod_ad99d259-…/2026-11-29.ndjson.gz     closed, and compressed by a thread of its own
//! DIR/local/shop_prod_ad99d259-…/2026-11-30.ndjson.gz     a part that reached its size
//! DIR/local/shop_prod_ad99d259-…/2026-11-30.2.ndjson      the one that is being written
//! ```
//!
//! | Where | What |
//! |---|---|
//! | `files` | `LocalFiles`: which file is written, and the life of a file |
//! | `catalogue` | which files there are, and what is to be done with them |
//! | `helper`, `jobs` | the thread that compresses and removes closed files, and how it does that |
//! | `line` | an event as a line |
//! | `names` | names of folders and files |
//! | `stats` | what the events add up to |
//! | `lock` | one agent at a time |

mod catalogue;
mod files;
mod helper;
mod jobs;
pub mod line;
mod lock;
pub mod names;
pub mod stats;

pub use files::{LocalFiles, LocalOptions, LocalStatus, Removed};
