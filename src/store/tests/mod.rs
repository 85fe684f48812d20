//! Tests of the room as a whole.

mod client;
mod grace;
mod relay;
mod server;
mod support;
mod table;
mod twin;
mod writer;
