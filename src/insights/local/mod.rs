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
//! | `line` | an event as a line |
//! | `names` | names of folders and files |

pub mod line;
pub mod names;
