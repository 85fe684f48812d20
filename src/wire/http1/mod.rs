//! The server's side of HTTP/1.1 (RFC 9110, RFC 9112).
//!
//! Must not route, authenticate or keep a connection: [`head`] and [`chunked`] parse a request and its body, [`target`]
//! parses paths and queries, [`response`] writes responses, [`foreign`] recognizes other protocols. Requests that two
//! parsers could read differently (request smuggling) are refused, and a [`Refusal`] always ends the connection.

pub mod chunked;
mod fields;
pub mod foreign;
pub mod head;
pub mod response;
pub mod target;

/// A request that gets an error response and ends the connection, because it is uncertain where the next request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the response.
    pub status: u16,
    /// What is wrong, for the response's body and the log. It never quotes the request.
    pub reason: &'static str,
}

impl Refusal {
    /// A refusal with `status`; the client is sent `reason`.
    pub const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }

    const fn bad(reason: &'static str) -> Self {
        Self::new(400, reason)
    }
}
