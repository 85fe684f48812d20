//! The server's side of HTTP/1.1 (RFC 9110, RFC 9112).
//!
//! Must not route, authenticate or hold a connection: [`head`] and [`chunked`] turn bytes into a request and its
//! body, [`target`] reads paths and queries, [`response`] writes answers. Whatever two parsers on the way of a
//! request could read differently (request smuggling) is refused, and a [`Refusal`] always ends the connection.

pub mod chunked;
mod fields;
pub mod foreign;
pub mod head;
pub mod response;
pub mod target;

/// A request that is answered with an error and the end of the connection, because where the next request would
/// begin is not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// What is wrong, for the body of the answer and the log; says nothing of the content.
    pub reason: &'static str,
}

impl Refusal {
    /// A refusal with `status`, told to the client as `reason`.
    pub const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }

    const fn bad(reason: &'static str) -> Self {
        Self::new(400, reason)
    }
}
