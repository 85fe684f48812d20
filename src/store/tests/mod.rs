//! Tests of the room as a whole.

mod client_sdk;
mod cluster;
mod duplicate_keys;
mod exchange;
mod grace;
mod merging;
mod relay;
mod rounds;
mod server_sdk;
mod state;
mod support;
mod table;
mod twin;
mod writer;
