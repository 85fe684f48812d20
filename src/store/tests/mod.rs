//! Tests of the room as a whole.

mod client;
mod doubled;
mod grace;
mod relay;
mod rounds;
mod server;
mod support;
mod table;
mod twin;
mod writer;
