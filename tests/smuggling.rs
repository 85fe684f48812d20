//! Requests that two parsers could read differently, over real sockets. Each is answered once, with an error, and ends
//! the connection; the request that hides behind it is never answered.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag};
use common::raw::{CLIENT_POLL, SERVER_POLL, TRACK, assert_closed, assert_error, chunked, connect, request, send_last};

/// What hides behind the bad request: answered, it would be a 200.
const HIDDEN: &str = "GET /health/liveness HTTP/1.1\r\nHost: a\r\n\r\n";

/// An agent, and a client secret that opens it.
fn serving() -> (Agent, String) {
    let environment = Environment::new(1).flag(boolean_flag("flag"));
    let agent = Builder::offline().data_file(&Dataset::of([environment.clone()])).start();
    (agent, environment.secret(Kind::Client))
}

/// The bytes of a poll by `POST` with these lines in its head, and this body; what hides follows.
fn post(secret: &str, lines: &str, body: &str) -> String {
    format!(
        "POST {CLIENT_POLL} HTTP/1.1\r\nHost: a\r\nAuthorization: {secret}\r\nContent-Type: application/json\r\n\
         {lines}\r\n{body}{HIDDEN}"
    )
}

/// The bytes of a `GET` whose head is these lines; what hides follows.
fn get(lines: &str) -> String {
    format!("GET /health/liveness HTTP/1.1\r\n{lines}\r\n{HIDDEN}")
}

/// Sends `bytes` in one segment, in two cut in the middle of the head, and with the hidden request in a segment of its
/// own: one error comes, and the end.
fn refused(agent: &Agent, bytes: &str, status: u16) {
    assert_error(&send_last(agent, bytes), status);
    let behind = bytes.len() - HIDDEN.len();
    for cut in [bytes.len().min(20), behind] {
        let mut connection = connect(agent);
        // The agent may have closed already when the second part is sent.
        let _ = connection.send(&bytes.as_bytes()[..cut]);
        let _ = connection.send(&bytes.as_bytes()[cut..]);
        let answer = connection
            .read_response(false)
            .unwrap_or_else(|error| agent.fail(&format!("no answer to {bytes:?}, cut at {cut}: {error}")));
        assert_error(&answer, status);
        assert_closed(&mut connection, bytes);
    }
}

/// In all these the agent is sure that nothing was served but the errors themselves.
fn assert_nothing_was_served(agent: &Agent, before: f64) {
    let served = |agent: &Agent| agent.metric("featbit_agent_requests_total", "status=\"200\"");
    // The metrics page itself is the only request that was answered with 200 since.
    assert!(served(agent) <= before + 1.0, "a hidden request was answered");
}
