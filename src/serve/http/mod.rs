//! HTTP up to a request, and from its answer on: heads, bodies, CORS, routes. What a request asks for is answered in
//! [`api`](super::api).

pub mod answer;
pub mod body;
pub mod connection;
pub mod cors;
pub mod exchange;
pub mod foreign;
pub mod parked;
mod request;
pub mod routes;
pub mod upload;
