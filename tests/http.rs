//! HTTP as clients of all sorts speak it, right and wrong, over real sockets to the real binary.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, flag, user};
use common::http::Connection;
use common::raw::{
    BOOTSTRAP, CLIENT_POLL, SERVER_POLL, TRACK, assert_closed, assert_error, chunked, connect, gunzip, gzip,
    request, send, send_last,
};
use common::rng::Rng;
use common::{SOON, wait_until};

/// An environment with one flag, and an agent that serves it from a file.
fn serving(more: impl FnOnce(Builder) -> Builder) -> (Agent, Environment) {
    let environment = Environment::new(1).flag(boolean_flag("flag"));
    let data = Dataset::of([environment.clone()]);
    (more(Builder::offline().api_key().data_file(&data)).start(), environment)
}

/// An environment whose server payload has some megabytes, which no socket takes at once.
fn large() -> Environment {
    let mut environment = Environment::new(1);
    let value = "lorem ipsum dolor sit amet ".repeat(400);
    for number in 0..200 {
        environment.add_flag(flag(&format!("flag-{number}"), "string", &[&value, "other"]));
    }
    environment
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn one_connection_serves_many_requests() {
    let (agent, environment) = serving(|agent| agent);
    let mut connection = connect(&agent);
    let server = environment.secret(Kind::Server);
    let client = environment.secret(Kind::Client);
    let body = user("u", &[]).to_string();
    for _ in 0..50 {
        connection.send(&request("GET", "/health/liveness", &[], None)).unwrap();
        let answer = connection.read_response(false).unwrap().expect(200);
        assert_eq!(answer.text(), "Healthy");
        assert_eq!(answer.header("connection"), None);
        connection.send(&request("GET", SERVER_POLL, &[("Authorization", &server)], None)).unwrap();
        assert_eq!(connection.read_response(false).unwrap().expect(200).json()["data"]["eventType"], "full");
        let headers = [("Authorization", client.as_str()), JSON];
        connection.send(&request("POST", CLIENT_POLL, &headers, Some(body.as_bytes()))).unwrap();
        assert_eq!(connection.read_response(false).unwrap().expect(200).json()["data"]["userKeyId"], "u");
        connection.send(&request("GET", "/nowhere", &[], None)).unwrap();
        assert_error(&connection.read_response(false).unwrap(), 404);
    }
}

/// A random sequence of requests and the statuses they must be answered with.
fn mixed(environment: &Environment, count: usize) -> (Vec<u8>, Vec<u16>) {
    let server = environment.secret(Kind::Server);
    let client = environment.secret(Kind::Client);
    let body = user("u", &[("plan", "gold")]).to_string();
    let client_headers = [("Authorization", client.as_str()), JSON];
    let kinds = [
        (request("GET", "/health/readiness", &[], None), 200),
        (request("GET", "/nowhere", &[], None), 404),
        (request("DELETE", SERVER_POLL, &[], None), 405),
        (request("GET", SERVER_POLL, &[], None), 401),
        (request("GET", SERVER_POLL, &[("Authorization", &server)], None), 200),
        (request("GET", &format!("{SERVER_POLL}?timestamp=x"), &[("Authorization", &server)], None), 400),
        (request("POST", CLIENT_POLL, &client_headers, Some(body.as_bytes())), 200),
        (request("POST", CLIENT_POLL, &client_headers, Some(b"{}")), 400),
        (request("POST", TRACK, &client_headers, Some(b"[]")), 200),
        (request("OPTIONS", TRACK, &[], None), 204),
    ];
    let (mut bytes, mut statuses) = (Vec::new(), Vec::new());
    let mut rng = Rng::new(7);
    for _ in 0..count {
        let (request, status) = rng.pick(&kinds);
        bytes.extend_from_slice(request);
        statuses.push(*status);
    }
    (bytes, statuses)
}

#[test]
fn requests_in_one_tcp_segment_are_answered_in_order() {
    let (agent, environment) = serving(|agent| agent);
    let (bytes, statuses) = mixed(&environment, 100);
    let mut connection = connect(&agent);
    for _ in 0..10 {
        connection.send(&bytes).unwrap();
        for status in &statuses {
            connection.read_response(false).unwrap().expect(*status);
        }
    }
}

#[test]
fn requests_may_be_cut_anywhere() {
    let (agent, environment) = serving(|agent| agent);
    let (bytes, statuses) = mixed(&environment, 12);
    for size in [1, 2, 7, 100] {
        let mut connection = connect(&agent);
        for part in bytes.chunks(size) {
            connection.send(part).unwrap();
        }
        for status in &statuses {
            connection.read_response(false).unwrap().expect(*status);
        }
    }
}

/// Many requests at once make more answers than one turn sends; the rest of them was taken for cut off when the
/// client had shut down its side by then.
#[test]
fn all_pipelined_requests_are_answered_though_the_client_sends_no_more() {
    let (agent, environment) = serving(|agent| agent);
    let (bytes, statuses) = mixed(&environment, 5000);
    let mut connection = connect(&agent);
    let mut writer = connection.stream().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        use std::io::Write;
        writer.write_all(&bytes).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    for (number, status) in statuses.iter().enumerate() {
        let answer = connection
            .read_response(false)
            .unwrap_or_else(|error| agent.fail(&format!("answer {number}: {error}")));
        answer.expect(*status);
    }
    sending.join().unwrap();
    assert_closed(&mut connection, "the last request");
}

/// What went wrong: the client's half-close was handled while its requests still waited, and ended them.
#[test]
fn requests_behind_a_large_answer_survive_the_clients_half_close() {
    let agent = Builder::offline().data_file(&Dataset::of([large()])).start();
    let secret = large().secret(Kind::Server);
    let poll = request("GET", SERVER_POLL, &[("Authorization", &secret)], None);
    let mut connection = connect(&agent);
    connection.send(&poll.repeat(20)).unwrap();
    connection.finish().unwrap();
    let first = connection.read_response(false).unwrap().expect(200);
    assert!(first.body.len() > 1_000_000);
    for _ in 1..20 {
        assert!(connection.read_response(false).unwrap().expect(200).body == first.body);
    }
    assert_closed(&mut connection, "the last request");
}

/// Input that the agent is not getting on with stays with the peer: else a client that asks faster than it is
/// answered would decide over the agent's memory.
#[test]
fn a_flood_of_requests_does_not_grow_memory() {
    let (agent, _) = serving(|agent| agent.env("Reactors", "1"));
    let before = agent.metric("process_resident_memory_bytes", "");
    let mut connection = connect(&agent);
    let mut writer = connection.stream().try_clone().unwrap();
    let flood = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
    let rounds = 60;
    let sending = std::thread::spawn(move || {
        use std::io::Write;
        for _ in 0..rounds {
            writer.write_all(&flood).unwrap();
        }
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut peak = before;
    let mut received = 0;
    let mut buffer = vec![0; 1 << 20];
    let mut turn = 0;
    loop {
        use std::io::Read;
        let count = connection.stream().read(&mut buffer).unwrap();
        received += count;
        turn += 1;
        if turn % 64 == 0 {
            peak = peak.max(agent.metric("process_resident_memory_bytes", ""));
        }
        if count == 0 {
            break;
        }
    }
    sending.join().unwrap();
    let one = send(&agent, request("GET", "/", &[], None));
    assert_error(&one, 404);
    assert_eq!(received % (10_000 * rounds), 0, "every request got the same answer");
    assert!(received / (10_000 * rounds) > 60);
    assert!(peak < before + 8e6, "memory grew from {before} to {peak} bytes");
}

#[test]
fn routes_are_found_however_they_are_written() {
    let (agent, _) = serving(|agent| agent);
    for target in [
        "/health/liveness",
        "/HEALTH/Liveness",
        "/health/liveness/",
        "/health/liveness//",
        "//health///liveness",
        "/health/%6civeness",
        "/health/liveness?x=1",
        "http://localhost/health/liveness",
        "HTTPS://LocalHost:443/Health/liveness/?x",
    ] {
        assert_eq!(agent.get(target, &[]).expect(200).text(), "Healthy", "{target}");
    }
    for target in ["/health%2Fliveness", "/healthliveness", "/", "/api", "/streaming"] {
        assert_error(&agent.get(target, &[]), 404);
    }
}

#[test]
fn the_connection_stays_only_if_both_sides_want_it() {
    let (agent, _) = serving(|agent| agent);
    let cases = [
        ("GET /health/liveness HTTP/1.1\r\nHost: a\r\n\r\n", None),
        ("GET /health/liveness HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", None),
        ("GET /health/liveness HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", Some("close")),
        ("GET /health/liveness HTTP/1.0\r\n\r\n", Some("close")),
        ("GET /health/liveness HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Some("keep-alive")),
    ];
    for (head, says) in cases {
        let mut connection = connect(&agent);
        connection.send(head.as_bytes()).unwrap();
        let answer = connection.read_response(false).unwrap().expect(200);
        assert_eq!(answer.header("connection"), says, "{head:?}");
        if says == Some("close") {
            assert_closed(&mut connection, head);
        } else {
            connection.send(head.as_bytes()).unwrap();
            connection.read_response(false).unwrap().expect(200);
        }
    }
    // HTTP/1.0 knows no chunks, and needs a length.
    send_last(&agent, format!("POST {TRACK} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
        .expect(400);
}

#[test]
fn a_client_that_waits_for_100_gets_it_only_if_its_body_is_wanted() {
    let (agent, environment) = serving(|agent| agent.env("Limits__BodyBytes", "2000"));
    let client = environment.secret(Kind::Client);
    let head = |target: &str, key: &str, content_type: &str, length: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nAuthorization: {key}\r\nContent-Type: {content_type}\r\n\
             {length}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let body = user("u", &[]).to_string();
    let exact = format!("Content-Length: {}", body.len());
    let data = Dataset::of([environment.clone()]).to_text();
    let whole = format!("Content-Length: {}", data.len());
    for (target, key, length, body) in
        [(CLIENT_POLL, client.as_str(), &exact, &body), (BOOTSTRAP, API_KEY, &whole, &data)]
    {
        let mut connection = connect(&agent);
        connection.send(head(target, key, "application/json", length).as_bytes()).unwrap();
        let interim = connection.read_response(false).unwrap();
        assert_eq!((interim.status, interim.headers.len()), (100, 0));
        connection.send(body.as_bytes()).unwrap();
        connection.read_response(false).unwrap().expect(200);
        // Chunked as well, and on the same connection.
        connection
            .send(head(target, key, "application/json", "Transfer-Encoding: chunked").as_bytes())
            .unwrap();
        assert_eq!(connection.read_response(false).unwrap().status, 100);
        connection.send(&chunked(body.as_bytes(), 50)).unwrap();
        connection.read_response(false).unwrap().expect(200);
    }
    let server = environment.secret(Kind::Server);
    for (target, key, content_type, length, status) in [
        (CLIENT_POLL, server.as_str(), "application/json", exact.as_str(), 401),
        (CLIENT_POLL, "nonsense", "application/json", &exact, 401),
        (TRACK, "nonsense", "application/json", "Transfer-Encoding: chunked", 401),
        (BOOTSTRAP, "rp-wrong", "application/json", &exact, 401),
        (CLIENT_POLL, &client, "text/plain", &exact, 415),
        (CLIENT_POLL, &client, "application/json", "Content-Length: 2001", 413),
        (CLIENT_POLL, &client, "application/json", "Content-Length: 20\r\nContent-Encoding: br", 415),
    ] {
        assert_error(&send_last(&agent, head(target, key, content_type, length)), status);
    }
    assert_error(&send_last(&agent, head("/nowhere", "x", "application/json", &exact)), 404);
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    let (agent, environment) = serving(|agent| agent);
    let secret = environment.secret(Kind::Server);
    for (target, authorization) in [
        ("/health/liveness", ""),
        ("/health/readiness", ""),
        (SERVER_POLL, secret.as_str()),
        (SERVER_POLL, "nonsense"),
        ("/api/public/proxy/backup", API_KEY),
        ("/nowhere", ""),
        (TRACK, ""),
    ] {
        let headers = [("Authorization", authorization)];
        let mut connection = connect(&agent);
        connection.send(&request("HEAD", target, &headers, None)).unwrap();
        let head = connection.read_response(true).unwrap();
        // Nothing of a body stands before the next answer.
        connection.send(&request("GET", target, &headers, None)).unwrap();
        let get = connection.read_response(false).unwrap();
        assert_eq!(head.status, get.status, "{target}");
        assert_eq!(head.headers, get.headers, "{target}");
    }
}

#[test]
fn options_lists_the_methods_of_a_path() {
    let (agent, _) = serving(|agent| agent);
    for (target, allow) in [
        (SERVER_POLL, "GET, HEAD, OPTIONS"),
        (CLIENT_POLL, "POST, OPTIONS"),
        (TRACK, "POST, OPTIONS"),
        ("/health/liveness", "GET, HEAD, OPTIONS"),
        (BOOTSTRAP, "POST, OPTIONS"),
        ("/api/proxy/status", "GET, HEAD, OPTIONS"),
        ("*", "GET, HEAD, POST, OPTIONS"),
    ] {
        let answer = send(&agent, request("OPTIONS", target, &[], None)).expect(204);
        assert_eq!(answer.header("allow"), Some(allow), "{target}");
        assert_eq!(answer.header("content-length"), None);
        let other = if allow.contains("POST") && !allow.contains("GET") { "GET" } else { "PUT" };
        if target != "*" {
            let answer = send(&agent, request(other, target, &[], None));
            assert_error(&answer, 405);
            assert_eq!(answer.header("allow"), Some(allow), "{target}");
        }
    }
}

#[test]
fn browsers_of_any_origin_may_call() {
    let (agent, environment) = serving(|agent| agent.env("Cors__MaxAgeSeconds", "77"));
    let origin = ("Origin", "https://shop.example");
    let preflight = [
        origin,
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type,x-user-agent"),
    ];
    for target in [CLIENT_POLL, TRACK, "/nowhere"] {
        let answer = send(&agent, request("OPTIONS", target, &preflight, None)).expect(204);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
        let headers = answer.header("access-control-allow-headers");
        assert_eq!(headers, Some("authorization,content-type,x-user-agent"));
        assert_eq!(answer.header("access-control-max-age"), Some("77"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert!(answer.body.is_empty());
    }
    let client = environment.secret(Kind::Client);
    let good = user("u", &[]).to_string();
    for (authorization, content_type, body, status) in [
        (client.as_str(), "application/json", good.as_str(), 200),
        ("nonsense", "application/json", good.as_str(), 401),
        (&client, "text/plain", &good, 415),
        (&client, "application/json", "{", 400),
    ] {
        let headers = [origin, ("Authorization", authorization), ("Content-Type", content_type)];
        let answer =
            send(&agent, request("POST", CLIENT_POLL, &headers, Some(body.as_bytes()))).expect(status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{status}");
    }
    for (method, target, status) in [("GET", "/nowhere", 404), ("GET", TRACK, 405)] {
        let answer = send(&agent, request(method, target, &[origin], None)).expect(status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{status}");
    }
    // A page must be able to read why even a request was refused that could not be understood.
    let long = "x".repeat(40_000);
    let answer =
        send_last(&agent, request("GET", "/health/liveness", &[origin, ("X-Long", &long)], None)).expect(431);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    // A client that is not a browser gets no such header.
    assert_eq!(agent.get("/health/liveness", &[]).header("access-control-allow-origin"), None);
}

#[test]
fn only_listed_origins_may_call_if_there_is_a_list() {
    let (agent, _) =
        serving(|agent| agent.env("Cors__Origins", "https://shop.example, https://admin.example:8443"));
    for (origin, allowed) in [
        ("https://shop.example", true),
        ("https://admin.example:8443", true),
        ("https://admin.example", false),
        ("http://shop.example", false),
        ("https://shop.example.evil.example", false),
        ("null", false),
    ] {
        let expected = allowed.then_some(origin);
        let answer = send(&agent, request("GET", "/nowhere", &[("Origin", origin)], None)).expect(404);
        assert_eq!(answer.header("access-control-allow-origin"), expected);
        assert_eq!(answer.header("vary"), Some("Origin"));
        let preflight = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "a"),
        ];
        let answer = send(&agent, request("OPTIONS", TRACK, &preflight, None)).expect(204);
        assert_eq!(answer.header("access-control-allow-origin"), expected);
        assert_eq!(answer.header("access-control-allow-headers"), allowed.then_some("a"));
        assert_eq!(answer.header("access-control-allow-methods"), allowed.then_some("POST"));
        assert_eq!(answer.header("vary"), Some("Origin"));
        // A page of a public address, and an agent in a private network.
        let private = [&preflight[..], &[("Access-Control-Request-Private-Network", "true")]].concat();
        assert_eq!(answer.header("access-control-allow-private-network"), None, "it was not asked for");
        let answer = send(&agent, request("OPTIONS", TRACK, &private, None)).expect(204);
        assert_eq!(answer.header("access-control-allow-private-network"), allowed.then_some("true"));
    }
}

#[test]
fn bodies_may_come_compressed() {
    let (agent, environment) =
        serving(|agent| agent.env("Limits__BodyBytes", "100000").env("Limits__BootstrapBytes", "200000"));
    let client = environment.secret(Kind::Client);
    let sdk = |encoding: &'static str, body: &[u8]| {
        let headers = [("Authorization", client.as_str()), JSON, ("Content-Encoding", encoding)];
        send(&agent, request("POST", CLIENT_POLL, &headers, Some(body)))
    };
    let body = user("compressed", &[]).to_string();
    for encoding in ["gzip", "GZIP", "x-gzip"] {
        let answer = sdk(encoding, &gzip(body.as_bytes())).expect(200);
        assert_eq!(answer.json()["data"]["userKeyId"], "compressed");
    }
    sdk("identity", body.as_bytes()).expect(200);
    let whole = gzip(body.as_bytes());
    assert_error(&sdk("gzip", &whole[..whole.len() - 5]), 400);
    assert_error(&sdk("gzip", body.as_bytes()), 400);
    assert_error(&sdk("gzip", b""), 400);
    for encoding in ["br", "deflate", "gzip, gzip"] {
        let answer = sdk(encoding, &whole);
        assert_error(&answer, 415);
        assert_eq!(answer.header("accept-encoding"), Some("gzip"));
    }
    // A bomb: little to send, much to keep. What counts is what comes out.
    let bomb =
        |bytes: usize| gzip(format!("{{\"keyId\":\"u\",\"name\":\"{}\"}}", " ".repeat(bytes)).as_bytes());
    assert!(bomb(100_000).len() < 4000);
    sdk("gzip", &bomb(90_000)).expect(200);
    assert_error(&sdk("gzip", &bomb(100_000)), 413);
    let large = bomb(16_000_000);
    let before = agent.metric("process_resident_memory_bytes", "");
    assert_error(&sdk("gzip", &large), 413);
    // And for datasets.
    let push = |body: &[u8]| {
        let headers = [("Authorization", API_KEY), JSON, ("Content-Encoding", "gzip")];
        send(&agent, request("POST", BOOTSTRAP, &headers, Some(body)))
    };
    let data = Dataset::of([environment.clone()]).to_text();
    push(&gzip(data.as_bytes())).expect(200);
    assert_error(&push(&gzip(data.as_bytes())[10..]), 400);
    assert_error(&push(&bomb(200_000)), 413);
    assert_error(&push(&large), 413);
    assert!(agent.metric("process_resident_memory_bytes", "") < before + 8e6);
}

#[test]
fn answers_shared_by_many_come_compressed() {
    let environment = large();
    let agent = Builder::offline().data_file(&Dataset::of([environment.clone()])).start();
    let secret = environment.secret(Kind::Server);
    let poll = |encoding: &str| {
        agent.get(SERVER_POLL, &[("Authorization", &secret), ("Accept-Encoding", encoding)]).expect(200)
    };
    let plain = agent.get(SERVER_POLL, &[("Authorization", &secret)]).expect(200);
    assert_eq!(plain.header("content-encoding"), None);
    // The first may be plain, since compressing takes its time.
    let compressed = wait_until("an answer comes compressed", SOON, || {
        let answer = poll("br, gzip;q=0.5");
        assert_eq!(answer.header("vary"), Some("Origin, Accept-Encoding"));
        answer.header("content-encoding").is_some().then_some(answer)
    });
    assert_eq!(compressed.header("content-encoding"), Some("gzip"));
    assert_eq!(compressed.header("content-type"), Some("application/json; charset=utf-8"));
    assert!(compressed.body.len() * 10 < plain.body.len());
    assert!(gunzip(&compressed.body) == plain.body, "the content is the same");
    for encoding in ["gzip;q=0", "identity", "br", "*;q=0"] {
        let answer = poll(encoding);
        assert_eq!(answer.header("content-encoding"), None, "{encoding}");
        assert!(answer.body == plain.body);
    }
    assert_eq!(poll("*").header("content-encoding"), Some("gzip"));
}

#[test]
fn chunks_may_be_cut_anywhere() {
    let (agent, environment) = serving(|agent| agent);
    let client = environment.secret(Kind::Client);
    let head = format!(
        "POST {CLIENT_POLL} HTTP/1.1\r\nHost: a\r\nAuthorization: {client}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let body = br#"{"keyId":"chunky"}"#;
    let mut coded = b"7;ext=\"1\"\r\n".to_vec();
    coded.extend_from_slice(&body[..7]);
    coded.extend_from_slice(b"\r\n00B\r\n");
    coded.extend_from_slice(&body[7..]);
    coded.extend_from_slice(b"\r\n0\r\nTrailer: 1\r\n\r\n");
    let next = request("GET", "/health/liveness", &[], None);
    let mut connection = connect(&agent);
    for cut in 0..=coded.len() {
        // The request behind the body shows that its end was found to the byte.
        let mut bytes = head.clone().into_bytes();
        bytes.extend_from_slice(&coded[..cut]);
        connection.send(&bytes).unwrap();
        let mut rest = coded[cut..].to_vec();
        rest.extend_from_slice(&next);
        connection.send(&rest).unwrap();
        assert_eq!(
            connection.read_response(false).unwrap().expect(200).json()["data"]["userKeyId"],
            "chunky"
        );
        assert_eq!(connection.read_response(false).unwrap().expect(200).text(), "Healthy");
    }
}

#[test]
fn each_fault_has_its_status() {
    let (agent, environment) = serving(|agent| {
        agent.env("Limits__BodyBytes", "1024").env("Limits__HeaderBytes", "2048").env("Limits__Headers", "16")
    });
    let client = environment.secret(Kind::Client);
    let sdk = [("Authorization", client.as_str()), JSON];
    let post = |body: &[u8]| send(&agent, request("POST", CLIENT_POLL, &sdk, Some(body)));
    for body in ["", "{", "null", "[]", "1", "{\"keyId\":7}", "{\"keyId\":\"a\"}x", "\u{feff}"] {
        assert_error(&post(body.as_bytes()), 400);
    }
    assert_error(&post(b"{\"keyId\":\"\xff\"}"), 400);
    assert_error(&send(&agent, request("POST", CLIENT_POLL, &[JSON], Some(b"{}"))), 401);
    assert_error(&send(&agent, request("GET", "/x", &[], None)), 404);
    assert_error(&send(&agent, request("BREW", SERVER_POLL, &[], None)), 405);
    assert_error(&send_last(&agent, request("POST", CLIENT_POLL, &sdk, None)), 411);
    assert_error(&send_last(&agent, request("POST", CLIENT_POLL, &sdk, Some(&[b' '; 1025]))), 413);
    post(&[b"{\"keyId\":\"a\"}".as_slice(), &[b' '; 1010]].concat()).expect(200);
    let huge = [sdk[0], JSON, ("Content-Length", "99999999999999999999999")];
    assert_error(&send_last(&agent, request("POST", CLIENT_POLL, &huge, None)), 413);
    let mut long = request("POST", CLIENT_POLL, &[sdk[0], JSON, ("Transfer-Encoding", "chunked")], None);
    long.extend_from_slice(&chunked(&[b' '; 1025], 1000));
    assert_error(&send_last(&agent, &long), 413);
    assert_error(&send(&agent, request("POST", CLIENT_POLL, &sdk[..1], Some(b"{}"))), 415);
    assert_error(&send_last(&agent, request("GET", "/", &[("X", &"y".repeat(2048))], None)), 431);
    let many: Vec<_> = (0..16).map(|_| ("X", "y")).collect();
    assert_error(&send_last(&agent, request("GET", "/", &many, None)), 431);
    send(&agent, request("GET", "/health/liveness", &many[..15], None)).expect(200);
    let coding = [sdk[0], JSON, ("Transfer-Encoding", "gzip, chunked")];
    assert_error(&send_last(&agent, request("POST", CLIENT_POLL, &coding, None)), 501);
    assert_error(&send_last(&agent, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
    let upgrade = |version: &str, key: &str| {
        let headers = [
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", version),
            ("Sec-WebSocket-Key", key),
        ];
        send(&agent, request("GET", "/streaming?type=server&token=x", &headers, None))
    };
    let answer = upgrade("8", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_error(&answer, 426);
    assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_error(&upgrade("13", "short"), 400);
    agent.wait_metric("featbit_agent_limits_hit_total", "\"body_bytes\"", 3.0);
    wait_until("both heads are counted", SOON, || {
        let hit = |limit: &str| agent.metric("featbit_agent_limits_hit_total", limit);
        (hit("\"header_bytes\"") + hit("\"headers\"") == 2.0).then_some(())
    });
    // Nothing of a library or of the content is in the log.
    assert!(!agent.log().contains("ERROR"), "{}", agent.log());
}

#[test]
fn a_head_that_does_not_arrive_is_answered_with_408() {
    let (agent, _) = serving(|agent| {
        agent
            .env("Limits__HeadSeconds", "1")
            .env("Limits__KeepAliveSeconds", "30")
            .env("Limits__CloseSeconds", "1")
    });
    // Begun, and not finished.
    let mut connection = connect(&agent);
    connection.send(b"GET /health/liveness HTTP/1.1\r\nHo").unwrap();
    assert_error(&connection.read_response(false).unwrap(), 408);
    assert_closed(&mut connection, "408");
    // Bytes that dribble in do not prolong it.
    let mut connection = connect(&agent);
    let mut writer = connection.stream().try_clone().unwrap();
    let dribbling = std::thread::spawn(move || {
        use std::io::Write;
        let mut sent = 0;
        while writer.write_all(b"x").is_ok() && sent < 4000 {
            sent += 1;
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        sent
    });
    assert_error(&connection.read_response(false).unwrap(), 408);
    drop(connection);
    assert!(dribbling.join().unwrap() < 4000);
    // Nothing was sent, so there is no answer.
    let mut connection = connect(&agent);
    assert_closed(&mut connection, "silence");
    agent.wait_metric("featbit_agent_limits_hit_total", "\"head_seconds\"", 3.0);
    assert_eq!(agent.metric("featbit_agent_limits_hit_total", "\"keep_alive_seconds\""), 0.0);
    // The limit applies to a second request as well.
    let mut connection = connect(&agent);
    connection.send(&[request("GET", "/health/liveness", &[], None), b"G".to_vec()].concat()).unwrap();
    connection.read_response(false).unwrap().expect(200);
    assert_error(&connection.read_response(false).unwrap(), 408);
}

#[test]
fn a_body_that_does_not_arrive_is_answered_with_408() {
    let (agent, environment) = serving(|agent| agent.env("Limits__BodySeconds", "1"));
    let client = environment.secret(Kind::Client);
    for (target, key, framing) in [
        (CLIENT_POLL, client.as_str(), "Content-Length: 100"),
        (TRACK, client.as_str(), "Transfer-Encoding: chunked"),
        (BOOTSTRAP, API_KEY, "Transfer-Encoding: chunked"),
    ] {
        let mut connection = connect(&agent);
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
        );
        connection.send(head.as_bytes()).unwrap();
        connection.send(b"2\r\n{").unwrap();
        assert_error(&connection.read_response(false).unwrap(), 408);
        assert_closed(&mut connection, "408");
    }
    agent.wait_metric("featbit_agent_limits_hit_total", "\"body_seconds\"", 3.0);
    // The permit of the bootstrap call that was given up is free again.
    agent.bootstrap(&Dataset::of([environment]));
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() {
    let (agent, _) = serving(|agent| agent.env("Limits__KeepAliveSeconds", "1"));
    let mut connection = connect(&agent);
    connection.send(&request("GET", "/health/liveness", &[], None)).unwrap();
    connection.read_response(false).unwrap().expect(200);
    assert_closed(&mut connection, "the time of an idle connection");
    agent.wait_metric("featbit_agent_limits_hit_total", "\"keep_alive_seconds\"", 1.0);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    let (agent, _) =
        serving(|agent| agent.env("Limits__Connections", "8").env("Metrics__Url", "http://127.0.0.1:0"));
    let metrics_port = metrics_port(&agent);
    let metric = |labels: &str| metric_at(metrics_port, "featbit_agent_limits_hit_total", labels);
    // The harness' own connections are gone before they are counted on.
    wait_until("only the metrics connection is open", SOON, || {
        (metric_at(metrics_port, "featbit_agent_connections", "") <= 1.0).then_some(())
    });
    let mut open: Vec<Connection> = Vec::new();
    let mut turned_away = 0;
    for _ in 0..20 {
        let mut connection = connect(&agent);
        let _ = connection.send(&request("GET", "/health/liveness", &[], None));
        match connection.read_response(false) {
            Ok(answer) => {
                answer.expect(200);
                open.push(connection);
            }
            Err(_) => turned_away += 1,
        }
    }
    assert_eq!((open.len(), turned_away), (8, 12));
    wait_until("they are counted", SOON, || (metric("\"connections\"") == 12.0).then_some(()));
    // One that goes makes room for one.
    open.pop();
    wait_until("there is room again", SOON, || {
        let mut connection = connect(&agent);
        connection.send(&request("GET", "/health/liveness", &[], None)).ok()?;
        connection.read_response(false).ok()
    });
}

/// Bodies on their way in had no bound together: a public client secret could fill the memory with thirty megabytes
/// a connection.
#[test]
fn incomplete_large_bodies_share_a_bounded_memory() {
    let (agent, environment) = serving(|agent| agent.env("Limits__PendingBytes", "1MB").env("Reactors", "1"));
    let client = environment.secret(Kind::Client);
    let head =
        request("POST", TRACK, &[("Authorization", &client), JSON, ("Content-Length", "700002")], None);
    let begin = |bytes: usize| {
        let mut connection = connect(&agent);
        connection.send(&head).unwrap();
        connection.send(b"\"").unwrap();
        let _ = connection.send(&vec![b'x'; bytes]);
        connection
    };
    let received = agent.metric("featbit_agent_received_bytes_total", "");
    let mut first = begin(600_000);
    agent.wait_metric_at_least("featbit_agent_received_bytes_total", "", received + 600_000.0);
    let mut second = begin(600_000);
    let answer = second.read_response(false).unwrap();
    assert_error(&answer, 503);
    assert!(answer.header("retry-after").is_some());
    assert_closed(&mut second, "503");
    agent.wait_metric("featbit_agent_limits_hit_total", "\"pending_bytes\"", 1.0);
    // Small ones are taken all the same, and the first one in its whole length.
    send(&agent, request("POST", TRACK, &[("Authorization", &client), JSON], Some(&[b' '; 60_000])))
        .expect(400);
    first.send(&vec![b'x'; 100_000]).unwrap();
    first.send(b"\"").unwrap();
    first.read_response(false).unwrap().expect(200);
    // What they had taken is free again, also of one that broke off.
    drop(begin(600_000));
    drop(begin(10));
    wait_until("there is room again", SOON, || {
        let mut third = begin(700_000);
        third.send(b"\"").ok()?;
        third.read_response(false).ok().filter(|answer| answer.status == 200)
    });
}

/// The port behind `(metrics)` in the start-up summary.
fn metrics_port(agent: &Agent) -> u16 {
    let log = agent.log();
    let (before, _) = log.split_once(" (metrics)").expect("the summary names the metrics port");
    before.rsplit(':').next().unwrap().parse().unwrap()
}

fn metric_at(port: u16, name: &str, labels: &str) -> f64 {
    let page = common::http::get(port, "/metrics", &[("Connection", "close")]).unwrap().expect(200);
    let mine = page
        .text()
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(labels));
    mine.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}
