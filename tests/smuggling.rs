//! Requests that two parsers could read differently, over real sockets. Each is answered once, with an error, and ends
//! the connection; the request that hides behind it is never answered.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::Read;

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag};
use common::raw::{
    CLIENT_POLL, SERVER_POLL, TRACK, assert_closed, assert_error, chunked, connect, request, send_last,
};

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

/// How often the hidden request, or one like it, was answered.
fn served(agent: &Agent) -> f64 {
    agent.metric("featbit_agent_http_responses_total", "route=\"health\",status=\"2xx\"")
}

/// Runs `requests`, and checks at the end that nothing was served.
fn all_refused(agent: &Agent, requests: impl IntoIterator<Item = (u16, String)>) {
    let before = served(agent);
    for (status, bytes) in requests {
        refused(agent, &bytes, status);
    }
    assert_eq!(served(agent), before, "a hidden request was answered");
    assert!(before > 0.0, "what is counted is not what was meant");
}

#[test]
fn bodies_framed_twice_or_ambiguously_are_refused() {
    let (agent, secret) = serving();
    let chunks = "0\r\n\r\n";
    let bad = [
        // Both, in either order and case, with bodies that fit the one or the other.
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunks),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunks),
        ("transfer-encoding: CHUNKED\r\ncontent-length: 0\r\n", ""),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", ""),
        ("Content-Length: 44\r\nTransfer-Encoding: chunked\r\n", chunks),
        // Two lengths, equal, different, as a list.
        ("Content-Length: 2\r\nContent-Length: 3\r\n", "{}"),
        ("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
        ("Content-Length: 2\r\nX: y\r\ncontent-length: 2\r\n", "{}"),
        ("Content-Length: 0\r\nContent-Length: 44\r\n", ""),
        ("Content-Length: 2, 2\r\n", "{}"),
        ("Content-Length: 2,3\r\n", "{}"),
        ("Content-Length: 2,\r\n", "{}"),
        // What is no length.
        ("Content-Length: +2\r\n", "{}"),
        ("Content-Length: -2\r\n", "{}"),
        ("Content-Length: -0\r\n", ""),
        ("Content-Length: 0x2\r\n", "{}"),
        ("Content-Length: 2.0\r\n", "{}"),
        ("Content-Length: 2e0\r\n", "{}"),
        ("Content-Length: 2 2\r\n", "{}"),
        ("Content-Length: 2;\r\n", "{}"),
        ("Content-Length: \"2\"\r\n", "{}"),
        ("Content-Length: ２\r\n", "{}"),
        ("Content-Length: 2\x0b\r\n", "{}"),
        ("Content-Length: 2\x0c\r\n", "{}"),
        ("Content-Length: 2\0\r\n", "{}"),
        ("Content-Length:\r\n", "{}"),
        ("Content-Length: \t \r\n", "{}"),
    ];
    all_refused(&agent, bad.map(|(lines, body)| (400, post(&secret, lines, body))));
    let too_long =
        ["18446744073709551616", "18446744073709551618", "99999999999999999999999999", "9223372036854775808"];
    let too_long =
        too_long.map(|length| (413, post(&secret, &format!("Content-Length: {length}\r\n"), "{}")));
    all_refused(&agent, too_long);
}

#[test]
fn transfer_codings_other_than_chunked_alone_are_refused() {
    let (agent, secret) = serving();
    let chunks = "0\r\n\r\n";
    // The end of these is unknown, or two parsers could see it in different places.
    let doubtful = [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: gzip, chunked, chunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: 'chunked'\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked1\r\n",
        "Transfer-Encoding: x chunked\r\n",
        "Transfer-Encoding: chunk\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: ſhunked\r\n",
        "Transfer-Encoding:\r\n",
    ];
    all_refused(&agent, doubtful.map(|lines| (400, post(&secret, lines, chunks))));
    // Well formed, but not understood.
    let unknown = [
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: ,chunked\r\n",
    ];
    all_refused(&agent, unknown.map(|lines| (501, post(&secret, lines, chunks))));
    let malformed = [
        "Transfer-Encoding: chunked\x0b\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: chunked\0\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding\r\n : chunked\r\n",
        "Transfer-Encoding: x\r\n chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
    ];
    all_refused(&agent, malformed.map(|lines| (400, post(&secret, lines, chunks))));
    // HTTP/1.0 knows no chunks.
    let old = post(&secret, "Transfer-Encoding: chunked\r\n", chunks).replacen("HTTP/1.1", "HTTP/1.0", 1);
    refused(&agent, &old, 400);
}

/// Chunks that end elsewhere for a lenient parser.
#[test]
fn malformed_chunks_are_refused() {
    let (agent, secret) = serving();
    let huge = "x".repeat(2000);
    let huge_extension = format!("1;{huge}\r\n1\r\n0\r\n\r\n");
    let huge_value = format!("1;a=\"{huge}\"\r\n1\r\n0\r\n\r\n");
    let blanks = format!("1{}\r\n1\r\n0\r\n\r\n", " ".repeat(2000));
    let many_extensions = format!("{}0\r\n\r\n", format!("1;{}\r\n1\r\n", "x".repeat(1000)).repeat(20));
    let zeros = format!("{}\r\n\r\n", "0".repeat(17));
    let bad = [
        "g\r\n",
        "-1\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        " 2\r\n{}\r\n0\r\n\r\n",
        "\t2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2h\r\n{}\r\n0\r\n\r\n",
        "2_\r\n{}\r\n0\r\n\r\n",
        "2 x\r\n{}\r\n0\r\n\r\n",
        "\r\n2\r\n{}\r\n0\r\n\r\n",
        ";x\r\n{}\r\n0\r\n\r\n",
        // Line ends.
        "2\n{}\n0\n\n",
        "2\n{}\r\n0\r\n\r\n",
        "2\r{}\r\n0\r\n\r\n",
        "2\r\r\n{}\r\n0\r\n\r\n",
        "2;x\n{}\r\n0\r\n\r\n",
        "2;x\r{}\r\n0\r\n\r\n",
        "2;x=\"\r\n\"{}\r\n0\r\n\r\n",
        "2;\0\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2\r\n{}\r0\r\n\r\n",
        "2\r\n{}\r\n0\n\n",
        "2\r\n{}\r\n0\r\n\n",
        // Chunks that are longer or shorter than they say.
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}x\r\n0\r\n\r\n",
        "1\r\n{}\r\n0\r\n\r\n",
        // Sizes that are zero or two for a parser that drops digits.
        "10000000000000000\r\n\r\n",
        "10000000000000002\r\n{}\r\n0\r\n\r\n",
        "f0000000000000002\r\n{}\r\n0\r\n\r\n",
        // Trailers.
        "0\r\n X: folded\r\n\r\n",
        "0\r\nX: a\n\r\n",
        "0\r\nX: a\0\r\n\r\n",
        "0\r\nX: a\r\n b\r\n\r\n",
        &zeros,
        &huge_extension,
        &huge_value,
        &blanks,
        &many_extensions,
    ];
    let lines = "Transfer-Encoding: chunked\r\n";
    all_refused(&agent, bad.map(|body| (400, post(&secret, lines, body))));
    // Within 64 bits, and more than anybody takes.
    let too_large = ["ffffffffffffffff", "8000000000000000", "100000000", "7fffffff"];
    all_refused(
        &agent,
        too_large.map(|size| (413, post(&secret, lines, &format!("{size}\r\n{{}}\r\n0\r\n\r\n")))),
    );
}

#[test]
fn fields_that_parsers_split_differently_are_refused() {
    let (agent, secret) = serving();
    let fields = [
        "Content-Length : 2\r\n",
        "Content-Length\t: 2\r\n",
        " Content-Length: 2\r\n",
        "\tContent-Length: 2\r\n",
        "Content-Length: 2\r\n folded\r\n",
        "X: 1\r\n Content-Length: 2\r\n",
        "X: 1\r\n\tContent-Length: 2\r\n",
        "Content-Length: 2\n",
        "Content-Length: 2\r",
        "Content-Length: 2\r\r\n",
        "X: 1\rContent-Length: 2\r\n",
        "X: 1\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nX\r\n",
        "Content-Length: 2\r\n: x\r\n",
        "Content-Length: 2\r\nX: a\0b\r\n",
        "Content-Length: 2\r\nX\0: a\r\n",
        "Content-Length: 2\r\nX Y: a\r\n",
        "Content-Length: 2\r\nX(Y: a\r\n",
        "Content-Length: 2\r\n\"X\": a\r\n",
        "Content-Length: 2\r\nX/Y: a\r\n",
        "Content-Length: 2\r\nX@Y: a\r\n",
        "Content-Length: 2\r\nÄ: a\r\n",
        "Content-Length: 2\r\nX: \x08\r\n",
        "Content-Length: 2\r\nX: \x7f\r\n",
    ];
    all_refused(&agent, fields.map(|lines| (400, post(&secret, lines, "{}"))));
    let hosts = [
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "host: a\r\nX: y\r\nHOST: b\r\n",
        "",
        "Host : a\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a\\b\r\n",
        "Host: a@b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a\"\r\n",
        "Host: a\tb\r\n",
        "Host: ä\r\n",
        "Host: a\0\r\n",
        "Host: a\nX: y\r\n",
        "Host: a\r\n b\r\n",
        "Host: a\r\nAuthorization: x\r\nAuthorization: y\r\n",
        "Host: a\r\nContent-Type: x\r\nContent-Type: y\r\n",
        "Host: a\r\nOrigin: x\r\nOrigin: y\r\n",
    ];
    all_refused(&agent, hosts.map(|lines| (400, get(lines))));
}

#[test]
fn request_lines_that_parsers_split_differently_are_refused() {
    let (agent, _) = serving();
    let lines = [
        "GET  /health/liveness HTTP/1.1",
        "GET /health/liveness  HTTP/1.1",
        "GET\t/health/liveness HTTP/1.1",
        "GET /health/liveness\tHTTP/1.1",
        "GET /health/liveness HTTP/1.1 ",
        " GET /health/liveness HTTP/1.1",
        "\tGET /health/liveness HTTP/1.1",
        "GET /health/liveness",
        "GET",
        "GET  HTTP/1.1",
        "GET /health/liveness HTTP/1.1 HTTP/1.1",
        "GET /health/liveness x HTTP/1.1",
        "GET /health/live\0ness HTTP/1.1",
        "GET /health/liveness\x0bHTTP/1.1",
        "G\0T /health/liveness HTTP/1.1",
        "G(T /health/liveness HTTP/1.1",
        "GÄT /health/liveness HTTP/1.1",
        "GET /health/liveness HTTP1.1",
        "GET /health/liveness http/1.1",
        "GET /health/liveness HTP/1.1",
        "GET /health/liveness HTTP /1.1",
        "GET health/liveness HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ?x HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET http:/health/liveness HTTP/1.1",
        "GET http:///health/liveness HTTP/1.1",
        "GET ftp://a/health/liveness HTTP/1.1",
        "GET http://user@host/ HTTP/1.1",
        "GET http://user:password@host/ HTTP/1.1",
        "GET a:80 HTTP/1.1",
    ];
    all_refused(&agent, lines.map(|line| (400, format!("{line}\r\nHost: a\r\n\r\n{HIDDEN}"))));
    let ends = [
        "GET /health/liveness HTTP/1.1\nHost: a\n\n",
        "GET /health/liveness HTTP/1.1\nHost: a\r\n\r\n",
        "GET /health/liveness HTTP/1.1\rHost: a\r\r",
        "GET /health/liveness HTTP/1.1\r\nHost: a\r\n\n",
        "GET /health/liveness HTTP/1.1\r\nHost: a\n\r\n",
        "GET /health/liveness HTTP/1.1\r\n\r\nHost: a\r\n\r\n",
        "\n\nGET /health/liveness HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n\r\n\r\n\r\n\r\nGET /health/liveness HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    all_refused(&agent, ends.map(|head| (400, format!("{head}{HIDDEN}"))));
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.0", "HTTP/1.", "HTTP/11", "HTTP/9x"] {
        refused(&agent, &format!("GET /health/liveness {version}\r\nHost: a\r\n\r\n{HIDDEN}"), 505);
    }
}

/// They are answered in their own words, and what stands behind their first bytes is not looked at.
#[test]
fn nothing_is_served_behind_another_protocol() {
    let (agent, _) = serving();
    let before = served(&agent);
    for begin in ["\x16\x03\x01\x02\x00 TLS\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut connection = connect(&agent);
        connection.send(format!("{begin}{HIDDEN}").as_bytes()).unwrap();
        let mut answer = Vec::new();
        connection.stream().read_to_end(&mut answer).unwrap();
        assert!(!answer.is_empty() && !answer.starts_with(b"HTTP"), "{answer:?}");
    }
    assert_eq!(served(&agent), before, "a hidden request was answered");
    assert!(before > 0.0, "what is counted is not what was meant");
}

/// A target that names a host is served only if `Host` names the same one.
#[test]
fn an_absolute_target_with_another_host_is_refused() {
    let (agent, _) = serving();
    let head = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let other = [
        ("http://elsewhere.example/health/liveness", "a"),
        ("http://a/health/liveness", ""),
        ("http://a/health/liveness", "a.b"),
        ("http://a:81/health/liveness", "a"),
        ("https://a:80/health/liveness", "a"),
        ("http://a,b/health/liveness", "a"),
    ];
    all_refused(&agent, other.map(|(target, host)| (400, head(target, host) + HIDDEN)));
    let mut connection = connect(&agent);
    for (target, host) in [("http://a/health/liveness", "A:80"), ("https://a:443/health/liveness", "a")] {
        connection.send(head(target, host).as_bytes()).unwrap();
        assert_eq!(connection.read_response(false).unwrap().expect(200).text(), "Healthy");
    }
}

/// What is legal, though unusual, is read as the standard says: the request behind it begins where it should.
#[test]
fn unusual_but_legal_framing_ends_where_it_should() {
    let (agent, secret) = serving();
    let user = r#"{"keyId":"u"}"#;
    let coded = String::from_utf8(chunked(user.as_bytes(), 5)).unwrap();
    let with_trailers = coded.replace("0\r\n\r\n", "000;last=\"yes\"\r\nX: y\r\nContent-Length: 3\r\n\r\n");
    let length = |text: &str| format!("Content-Length: {text}\r\n");
    for (lines, body) in [
        (length("13"), user),
        (length("0013"), user),
        (length("  13\t "), user),
        (length(&format!("{}13", "0".repeat(100))), user),
        ("Transfer-Encoding: chunked\r\n".into(), &coded),
        ("Transfer-Encoding: \tCHUNKED \r\n".into(), &coded),
        ("transfer-ENCODING:chunked\r\n".into(), &with_trailers),
        (format!("X-Content-Length: 1\r\nContent_Length: 2\r\n{}", length("13")), user),
    ] {
        let mut connection = connect(&agent);
        connection.send(post(&secret, &lines, body).as_bytes()).unwrap();
        let answer = connection.read_response(false).unwrap().expect(200);
        assert_eq!(answer.json()["data"]["userKeyId"], "u", "{lines:?}");
        assert_eq!(connection.read_response(false).unwrap().expect(200).text(), "Healthy", "{lines:?}");
    }
}

/// A body that is not read is not parsed as the next request, with any framing and any route.
#[test]
fn bytes_after_an_unread_body_are_not_a_request() {
    let (agent, client) = serving();
    let server = Environment::new(1).secret(Kind::Server);
    let in_chunks = chunked(HIDDEN.as_bytes(), 1000);
    for (method, target, authorization, content_type, status) in [
        ("POST", "/nowhere", "", "application/json", 404),
        ("GET", "/health/liveness", "", "application/json", 200),
        ("GET", SERVER_POLL, server.as_str(), "application/json", 200),
        ("PUT", TRACK, client.as_str(), "application/json", 405),
        ("POST", TRACK, "nonsense", "application/json", 401),
        ("POST", TRACK, &client, "text/html", 415),
        ("POST", "/api/public/proxy/bootstrap", "nonsense", "application/json", 401),
        ("POST", "/health/liveness", "", "application/json", 405),
        ("OPTIONS", TRACK, "", "application/json", 204),
        ("GET", "/metrics", "", "application/json", 200),
        ("GET", "/streaming?type=server&token=x", "", "application/json", 404),
        ("POST", "/streaming?type=server&token=x", "", "application/json", 404),
        ("BREW", "/nowhere", "", "application/json", 404),
        ("CONNECT", "/nowhere", "", "application/json", 404),
    ] {
        let mut headers = vec![("Authorization", authorization), ("Content-Type", content_type)];
        send_last(&agent, request(method, target, &headers, Some(HIDDEN.as_bytes()))).expect(status);
        headers.push(("Transfer-Encoding", "chunked"));
        let mut bytes = request(method, target, &headers, None);
        bytes.extend_from_slice(&in_chunks);
        send_last(&agent, bytes).expect(status);
    }
}

/// A wish to go over to WebSocket that HTTP itself forbids gets an HTTP error; one with a body, whose bytes could be taken
/// for frames or for a request, is refused too, on the streaming path as elsewhere.
#[test]
fn ambiguous_upgrades_and_upgrades_with_a_body_are_refused() {
    let (agent, _) = serving();
    let server = Environment::new(1).secret(Kind::Server);
    let token = common::ws::token(&server, common::now_ms(), 9);
    let upgrade = |lines: &str, body: &str| {
        format!(
            "GET /streaming?type=server&token={token} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {lines}\r\n{body}{HIDDEN}"
        )
    };
    let chunks = "0\r\n\r\n";
    let bad = [
        ("Content-Length: 2\r\n", "{}"),
        ("Transfer-Encoding: chunked\r\n", chunks),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunks),
        ("Content-Length: 0\r\nContent-Length: 0\r\n", ""),
        ("Host: b\r\n", ""),
        ("X: a\r\n b\r\n", ""),
        ("X : a\r\n", ""),
        ("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", ""),
    ];
    for (lines, body) in bad {
        let bytes = upgrade(lines, body);
        let mut connection = connect(&agent);
        connection.send(bytes.as_bytes()).unwrap();
        let answer = connection.read_response(false).unwrap();
        assert_error(&answer, 400);
    }
    // What follows a good one is frames, never a request: this "frame" has reserved bits and no mask.
    let mut socket = common::frames::RawSocket::connect(agent.port());
    socket.send(upgrade("", "").as_bytes());
    assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
    assert_eq!(socket.expect_close().0, 1002);
}
