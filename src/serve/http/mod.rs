//! HTTP: receives requests (heads, bodies, routes, CORS) and sends answers. The answers themselves come from
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
