//! TLS on the agent's own addresses: which clients are accepted, the certificates that are used, certificates that change,
//! handshakes beside open connections.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use common::agent::{Agent, Builder, run_to_end};
use common::certificates::{Authority, Pair, Wish};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, touch};
use common::frames::{CLOSE, TEXT, upgrade_request, whole};
use common::tls::{Secure, Streaming, VERSIONS, client, connect, get, shown, socket, trusting, was_resumed};
use common::{SOON, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};
use serde_json::json;
use tempfile::TempDir;

const NAME: &str = "agent.test";
const READINESS: &str = "/health/readiness";

/// An agent that listens with and without TLS, and the issuer of its certificate.
struct Place {
    agent: Agent,
    port: u16,
    authority: Authority,
    folder: TempDir,
    environment: Environment,
}

/// The ports that the start-up summary names with TLS.
fn secure_ports(agent: &Agent) -> Vec<u16> {
    let line = agent.wait_line("is running");
    let after = line.split("https://").skip(1);
    let port = |text: &str| text.split([',', ' ', '"']).next()?.rsplit(':').next()?.parse().ok();
    after.map(|text| port(text).expect("a port")).collect()
}

fn hosts() -> Wish {
    Wish::server(&[NAME, "localhost", "127.0.0.1"])
}

impl Place {
    fn with(more: impl FnOnce(Builder, &Authority, &TempDir) -> Builder) -> Self {
        Self::of(Environment::new(1).flag(boolean_flag("flag")), more)
    }

    fn of(environment: Environment, more: impl FnOnce(Builder, &Authority, &TempDir) -> Builder) -> Self {
        let authority = Authority::new("CA");
        let folder = tempfile::tempdir().expect("a temporary directory");
        let (certificate, key) = authority.issue(&hosts()).write(folder.path(), "server");
        let builder = Builder::offline()
            .api_key()
            .env("ASPNETCORE_URLS", "http://127.0.0.1:0;https://127.0.0.1:0")
            .env("Tls__CertificateFile", certificate.to_str().expect("the path is UTF-8"))
            .env("Tls__KeyFile", key.to_str().expect("the path is UTF-8"))
            .env("Tls__PollSeconds", "20ms")
            .data_file(&Dataset::of([environment.clone()]));
        let agent = more(builder, &authority, &folder).start();
        let port = secure_ports(&agent)[0];
        Self { agent, port, authority, folder, environment }
    }

    fn start() -> Self {
        Self::with(|builder, _, _| builder)
    }

    fn client(&self) -> Arc<ClientConfig> {
        trusting(&self.authority)
    }

    /// Whether a request is answered.
    fn lets_in(&self, configuration: &Arc<ClientConfig>) -> bool {
        let answer =
            connect(self.port, NAME, configuration).and_then(|mut stream| get(&mut stream, READINESS, ""));
        answer.is_ok_and(|(status, _)| status == 200)
    }

    fn stream(&self, configuration: &Arc<ClientConfig>) -> Streaming {
        let secret = self.environment.secret(Kind::Server);
        Streaming::open(self.port, NAME, configuration, Kind::Server, &secret)
    }

    fn wait_for_failure(&self, reason: &str, count: f64) {
        let label = format!("reason=\"{reason}\"");
        self.agent.wait_metric_at_least("featbit_agent_tls_handshake_failures_total", &label, count);
    }

    fn wait_for_handshakes(&self, kind: &str, count: f64) {
        let label = format!("kind=\"{kind}\"");
        self.agent.wait_metric("featbit_agent_tls_handshakes_total", &label, count);
    }

    fn wait_reloads(&self, outcome: &str, count: f64) {
        let label = format!("outcome=\"{outcome}\"");
        self.agent.wait_metric("featbit_agent_tls_certificate_reloads_total", &label, count);
    }

    fn hang_up(&self) {
        let pid = Pid::from_raw(i32::try_from(self.agent.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }

    fn replace_certificate(&self, pair: &Pair) {
        pair.write(self.folder.path(), "server");
    }
}

#[test]
fn both_versions_of_tls_are_spoken_and_http_is_agreed_on() {
    let place = Place::start();
    for (version, expected) in VERSIONS.iter().zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3]) {
        for protocols in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
            let mut configuration = client(place.authority.roots(), &[version], None);
            configuration.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            let mut stream = connect(place.port, NAME, &Arc::new(configuration)).unwrap();
            assert_eq!(stream.conn.protocol_version(), Some(expected));
            let agreed = if protocols.is_empty() { None } else { Some(&b"http/1.1"[..]) };
            assert_eq!(stream.conn.alpn_protocol(), agreed);
            assert_eq!(get(&mut stream, READINESS, "").unwrap().0, 200);
        }
    }
    place.wait_for_handshakes("full", 6.0);
}

/// What went wrong: with TLS 1.3 the connection ended without the alert.
#[test]
fn clients_that_speak_only_http_2_get_an_alert_in_both_versions() {
    let place = Place::start();
    for (version, failures) in VERSIONS.iter().zip([1.0, 2.0]) {
        let mut configuration = client(place.authority.roots(), &[version], None);
        configuration.alpn_protocols = vec![b"h2".to_vec()];
        let refused = connect(place.port, NAME, &Arc::new(configuration)).expect_err("HTTP/2 is not spoken");
        assert!(refused.to_string().contains("NoApplicationProtocol"), "{version:?}: {refused}");
        place.wait_for_failure("incompatible", failures);
    }
    assert!(place.lets_in(&place.client()));
}

#[test]
fn clients_that_do_not_trust_the_certificate_are_counted() {
    let place = Place::start();
    let why = |name: &str, configuration: &Arc<ClientConfig>| {
        connect(place.port, name, configuration).expect_err("it is not trusted").to_string()
    };
    let unknown = why(NAME, &trusting(&Authority::new("somebody")));
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    let other = why("other.test", &place.client());
    assert!(other.contains("not valid for name"), "{other}");
    place.wait_for_failure("alert", 2.0);
    let place = Place::with(|builder, authority, folder| {
        authority.issue(&hosts().valid_s(-200, -100)).write(folder.path(), "server");
        builder
    });
    let expired = connect(place.port, NAME, &place.client()).expect_err("it has expired").to_string();
    assert!(expired.contains("expired"), "{expired}");
    place.wait_for_failure("alert", 1.0);
    let left = place.agent.metric("featbit_agent_tls_certificate_expires_in_seconds", "");
    assert!((-200.0..-99.0).contains(&left), "{left}");
    let line = place.agent.wait_line("has expired at");
    assert!(line.contains("server.pem"), "{line}");
}

#[test]
fn client_certificates_are_checked_as_configured() {
    let clients = Authority::new("clients' CA");
    for (wanted, without, with, with_other) in [
        ("none", true, true, true),
        ("optional", true, true, false),
        ("required", false, true, false),
        // An authority without this setting means that only its clients are accepted.
        ("", false, true, false),
    ] {
        let place = Place::with(|builder, _, folder| {
            let ca = folder.path().join("clients.pem");
            std::fs::write(&ca, clients.certificate()).unwrap();
            let builder = builder.env("Tls__ClientCertificate", wanted);
            builder.env("Tls__ClientCaFile", ca.to_str().unwrap())
        });
        let good = clients.issue(&Wish::client("sdk"));
        let bad = Authority::new("somebody").issue(&Wish::client("sdk"));
        for version in VERSIONS {
            let lets_in = |identity: Option<&Pair>| {
                place.lets_in(&Arc::new(client(place.authority.roots(), &[version], identity)))
            };
            let seen = (lets_in(None), lets_in(Some(&good)), lets_in(Some(&bad)));
            assert_eq!(seen, (without, with, with_other), "{wanted}");
        }
        let refused = f64::from(u8::from(!without)) * 2.0 + f64::from(u8::from(!with_other)) * 2.0;
        place.wait_for_failure("client_certificate", refused);
        // Once a minute, with the reason of the first.
        let why = match (without, with_other) {
            (true, true) => None,
            (false, _) => Some("the client sent none"),
            (true, false) => Some("no authority in Tls__ClientCaFile issued it"),
        };
        if why.is_some() {
            place.agent.wait_line("refused for its certificate");
        }
        let told = place.agent.lines("refused for its certificate");
        assert_eq!(told.len(), usize::from(why.is_some()), "{wanted}: {told:?}");
        assert!(why.is_none_or(|why| told[0].contains(why)), "{wanted}: {told:?}");
    }
}

#[test]
fn sessions_are_resumed_by_any_reactor() {
    let place = Place::with(|builder, _, _| builder.env("Reactors", "4"));
    for version in VERSIONS {
        let configuration = Arc::new(client(place.authority.roots(), &[version], None));
        let mut resumed = 0;
        for _ in 0..13 {
            let mut stream = connect(place.port, NAME, &configuration).unwrap();
            assert_eq!(get(&mut stream, READINESS, "").unwrap().0, 200);
            resumed += usize::from(was_resumed(&stream));
        }
        // The kernel spreads them over the reactors by the client's port.
        assert_eq!(resumed, 12);
    }
    place.wait_for_handshakes("resumed", 24.0);
}

#[test]
fn a_changed_certificate_is_used_for_new_connections_and_old_ones_stay() {
    for by_signal in [true, false] {
        let place = Place::with(
            |builder, _, _| {
                if by_signal { builder.env("Tls__PollSeconds", "1h") } else { builder }
            },
        );
        let configuration = place.client();
        let mut open = place.stream(&configuration);
        open.request_data(0);
        assert_eq!(open.next_data()["eventType"], "full");
        let new = place.authority.issue(&hosts());
        place.replace_certificate(&new);
        if by_signal {
            place.hang_up();
        }
        wait_until("the new certificate is shown", SOON, || {
            let stream = connect(place.port, NAME, &place.client()).unwrap();
            (shown(&stream) == new.chain()[0]).then_some(())
        });
        place.wait_reloads("done", 1.0);
        open.expect_pong();
        // Tickets of before are still taken: nothing about clients has changed.
        let mut again = connect(place.port, NAME, &configuration).unwrap();
        assert_eq!(get(&mut again, READINESS, "").unwrap().0, 200);
        assert!(was_resumed(&again));
    }
}

#[test]
fn an_unusable_certificate_changes_nothing_and_is_logged_once() {
    let place = Place::start();
    let first = shown(&connect(place.port, NAME, &place.client()).unwrap());
    let other = place.authority.issue(&hosts());
    let half = Pair {
        key: other.key.clone(),
        certificate: std::fs::read_to_string(place.folder.path().join("server.pem")).unwrap(),
    };
    place.replace_certificate(&half);
    let told = "is not the key of the first certificate";
    place.agent.wait_line(told);
    for _ in 0..10 {
        assert_eq!(shown(&connect(place.port, NAME, &place.client()).unwrap()), first);
    }
    std::fs::remove_file(place.folder.path().join("server.key")).unwrap();
    place.agent.wait_line("cannot read");
    assert_eq!(place.agent.lines(told).len(), 1);
    place.wait_reloads("done", 0.0);
    place.wait_reloads("failed", 2.0);
    place.replace_certificate(&other);
    wait_until("the new certificate is shown", SOON, || {
        let stream = connect(place.port, NAME, &place.client()).unwrap();
        (shown(&stream) == other.chain()[0]).then_some(())
    });
    place.wait_reloads("done", 1.0);
}

/// What went wrong: a certificate that had expired, or was for tomorrow, took the place of a valid one, and no client came
/// in any more.
#[test]
fn a_new_certificate_that_is_not_valid_does_not_replace_a_valid_one() {
    let place = Place::start();
    let first = shown(&connect(place.port, NAME, &place.client()).unwrap());
    let reloads = "featbit_agent_tls_certificate_reloads_total";
    let day_s = 24 * 3600;
    for (wish, says, failed) in [
        (hosts().valid_s(-200, -100), "has expired at", 1.0),
        (hosts().valid_s(day_s, 2 * day_s), "is not valid before", 2.0),
    ] {
        place.replace_certificate(&place.authority.issue(&wish));
        let line = place.agent.wait_line(says);
        assert!(
            line.contains("server.pem") && line.contains("the previous one") && line.contains("stays in use"),
            "{line}"
        );
        place.hang_up();
        place.agent.wait_metric_at_least(reloads, "outcome=\"failed\"", failed);
        assert_eq!(shown(&connect(place.port, NAME, &place.client()).unwrap()), first);
    }
    place.wait_reloads("done", 0.0);
    // It is loaded as soon as it is valid.
    let soon = place.authority.issue(&hosts().valid_s(3, day_s));
    place.replace_certificate(&soon);
    wait_until("the new certificate is shown", SOON, || {
        let stream = connect(place.port, NAME, &place.client()).unwrap();
        (shown(&stream) == soon.chain()[0]).then_some(())
    });
}

#[test]
fn clients_of_a_removed_authority_cannot_resume_by_a_ticket() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let place = Place::with(|builder, _, folder| {
        let ca = folder.path().join("clients.pem");
        std::fs::write(&ca, old.certificate()).unwrap();
        builder.env("Tls__ClientCaFile", ca.to_str().unwrap())
    });
    for version in VERSIONS {
        std::fs::write(place.folder.path().join("clients.pem"), old.certificate()).unwrap();
        let identity = old.issue(&Wish::client("sdk"));
        let configuration = Arc::new(client(place.authority.roots(), &[version], Some(&identity)));
        wait_until("clients of the old authority get in", SOON, || {
            place.lets_in(&configuration).then_some(())
        });
        assert!(place.lets_in(&configuration));
        std::fs::write(place.folder.path().join("clients.pem"), new.certificate()).unwrap();
        wait_until("they do not any more", SOON, || (!place.lets_in(&configuration)).then_some(()));
        assert!(!place.lets_in(&configuration));
    }
}

/// An environment whose full payload has some 4 MB.
fn large() -> Environment {
    let mut environment = Environment::new(1);
    for number in 0..400 {
        let mut flag = boolean_flag(&format!("flag-{number}"));
        flag["description"] = json!(format!("{number} ").repeat(3000));
        environment.add_flag(flag);
    }
    environment
}

#[test]
fn payloads_of_megabytes_arrive_whole() {
    let place = Place::of(large(), |builder, _, _| builder);
    let secret = place.environment.secret(Kind::Server);
    let target = "/api/public/sdk/server/latest-all?timestamp=0";
    let plain = place.agent.get(target, &[("Authorization", &secret)]).expect(200).body;
    assert!(plain.len() > 4_000_000);
    for version in VERSIONS {
        let configuration = Arc::new(client(place.authority.roots(), &[version], None));
        let mut stream = connect(place.port, NAME, &configuration).unwrap();
        let (status, body) = get(&mut stream, target, &format!("Authorization: {secret}\r\n")).unwrap();
        assert_eq!(status, 200);
        assert!(body == plain, "{} bytes instead of {}", body.len(), plain.len());
        let mut streaming = place.stream(&configuration);
        streaming.request_data(0);
        let data = streaming.next_data();
        assert_eq!(data["featureFlags"].as_array().unwrap().len(), 400);
        streaming.expect_pong();
    }
}

/// Writes byte by byte.
struct Dripping(TcpStream);

impl Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Dripping {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn records_may_come_byte_by_byte() {
    let place = Place::start();
    for version in VERSIONS {
        let configuration = Arc::new(client(place.authority.roots(), &[version], None));
        let connection = ClientConnection::new(configuration, NAME.try_into().unwrap()).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, Dripping(socket(place.port)));
        let header = format!("X: {}\r\n", "x".repeat(3000));
        assert_eq!(get(&mut stream, READINESS, &header).unwrap().0, 200);
    }
}

#[test]
fn a_change_reaches_hundreds_of_connections() {
    let place = Place::start();
    let configuration = place.client();
    let mut crowd: Vec<Streaming> = (0..200).map(|_| place.stream(&configuration)).collect();
    for streaming in &mut crowd {
        streaming.request_data(0);
        assert_eq!(streaming.next_data()["eventType"], "full");
    }
    let mut changed = place.environment.clone();
    let flag = changed.flag_mut("flag");
    flag["isEnabled"] = json!(false);
    touch(flag, 1000);
    place.agent.write_data(&Dataset::of([changed]));
    for streaming in &mut crowd {
        let data = streaming.next_data();
        assert_eq!(
            (&data["eventType"], &data["featureFlags"][0]["isEnabled"]),
            (&json!("patch"), &json!(false))
        );
    }
    place.agent.wait_metric("featbit_agent_connections", "kind=\"server\"", 200.0);
    // All have the change: nothing more comes.
    crowd[0].expect_pong();
}

/// A socket on which the first message of a handshake has been sent, and nothing read.
fn begin_handshake(port: u16, configuration: &Arc<ClientConfig>) -> TcpStream {
    let mut connection = ClientConnection::new(configuration.clone(), NAME.try_into().unwrap()).unwrap();
    let mut stream = socket(port);
    connection.write_tls(&mut stream).unwrap();
    stream
}

#[test]
fn many_handshakes_have_a_budget_and_open_connections_are_served() {
    let place = Place::with(|builder, _, _| builder.env("Reactors", "1").env("Tls__HandshakesPerTurn", "1"));
    let configuration = place.client();
    let mut open: Vec<Streaming> = (0..5).map(|_| place.stream(&configuration)).collect();
    let mut handshaking = Vec::new();
    wait_until("handshakes are put off", SOON, || {
        handshaking.extend((0..50).map(|_| begin_handshake(place.port, &place.client())));
        open.iter_mut().for_each(Streaming::expect_pong);
        let hit = place.agent.metric("featbit_agent_limits_hit_total", "limit=\"handshakes_per_turn\"");
        (hit > 0.0 || handshaking.len() > 1000).then_some(hit > 0.0)
    });
    assert!(place.agent.metric("featbit_agent_limits_hit_total", "limit=\"handshakes_per_turn\"") > 0.0);
    // All of them were answered in the end.
    for stream in &mut handshaking {
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(first[0], 0x16, "a record of a handshake");
    }
    drop(handshaking);
    place.wait_for_failure("gone", 50.0);
    assert!(place.lets_in(&place.client()));
}

#[test]
fn connections_that_do_not_finish_a_handshake_in_time_are_closed() {
    let place = Place::with(|builder, _, _| builder.env("Limits__HeadSeconds", "300ms"));
    let silent = socket(place.port);
    let mut half = socket(place.port);
    half.write_all(&[0x16, 3, 1, 2]).unwrap();
    let without_end = begin_handshake(place.port, &place.client());
    for mut stream in [silent, half, without_end] {
        let mut rest = Vec::new();
        // What comes, if anything, belongs to the handshake: nothing is ever said in the clear.
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty() || rest[0] == 0x16, "{rest:?}");
        drop(stream);
    }
    place.wait_for_failure("timeout", 3.0);
    place.agent.wait_metric_at_least("featbit_agent_limits_hit_total", "limit=\"head_seconds\"", 3.0);
}

#[test]
fn plain_http_on_a_tls_port_is_refused_in_plain_http() {
    let place = Place::start();
    for _ in 0..3 {
        let answer = common::http::get(place.port, READINESS, &[]).unwrap().expect(400);
        assert!(answer.text().contains("https://"), "{}", answer.text());
    }
    place.wait_for_failure("plain_http", 3.0);
    let told = "speaks plain HTTP on a port with TLS";
    place.agent.wait_line(told);
    assert_eq!(place.agent.lines(told).len(), 1);
    let mut garbage = socket(place.port);
    garbage.write_all(b"\x00\x01\x02\x03 what is this").unwrap();
    let mut answer = Vec::new();
    garbage.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:?}");
    place.wait_for_failure("protocol", 1.0);
}

/// What went wrong: the log spoke of plain HTTP, or of nothing.
#[test]
fn the_proxy_protocol_on_a_tls_port_ends_in_order_and_is_logged() {
    let place = Place::start();
    for begin in [&b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C"]
    {
        let mut proxy = socket(place.port);
        proxy.write_all(begin).unwrap();
        let mut answer = Vec::new();
        proxy.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"", "nobody behind it would understand");
    }
    place.wait_for_failure("proxy_protocol", 2.0);
    let told = "sends the PROXY protocol";
    place.agent.wait_line(told);
    assert_eq!(place.agent.lines(told).len(), 1);
    let failures = "featbit_agent_tls_handshake_failures_total";
    assert_eq!(place.agent.metric(failures, "reason=\"plain_http\""), 0.0);
    assert!(place.lets_in(&place.client()));
}

#[test]
fn each_address_uses_its_own_certificate() {
    let place = Place::with(|builder, _, _| builder);
    let authority = Authority::new("another CA");
    let folder = tempfile::tempdir().unwrap();
    let (own, own_key) = authority.issue(&hosts()).write(folder.path(), "own");
    let (default, default_key) = place.authority.issue(&hosts()).write(folder.path(), "default");
    let path = |path: &std::path::PathBuf| path.to_str().unwrap().to_owned();
    let agent = Builder::offline()
        .api_key()
        .env("ASPNETCORE_URLS", "")
        .env("Kestrel__Certificates__Default__Path", &path(&default))
        .env("Kestrel__Certificates__Default__KeyPath", &path(&default_key))
        .env("Kestrel__Endpoints__A__Url", "http://127.0.0.1:0")
        .env("Kestrel__Endpoints__B__Url", "https://127.0.0.1:0")
        .env("Kestrel__Endpoints__C__Url", "https://127.0.0.1:0")
        .env("Kestrel__Endpoints__C__Certificate__Path", &path(&own))
        .env("Kestrel__Endpoints__C__Certificate__KeyPath", &path(&own_key))
        .start();
    let ports = secure_ports(&agent);
    assert_eq!(ports.len(), 2);
    let lets_in = |port: u16, authority: &Authority| connect(port, NAME, &trusting(authority)).is_ok();
    assert_eq!((lets_in(ports[0], &place.authority), lets_in(ports[0], &authority)), (true, false));
    assert_eq!((lets_in(ports[1], &place.authority), lets_in(ports[1], &authority)), (false, true));
    agent.get("/health/liveness", &[]).expect(200);
}

#[test]
fn the_end_of_the_agent_closes_tls_in_order() {
    let mut place = Place::start();
    let mut open = place.stream(&place.client());
    open.expect_pong();
    let waiting = std::thread::spawn(move || open.expect_close());
    let mut idle: Secure = connect(place.port, NAME, &place.client()).unwrap();
    assert_eq!(place.agent.stop().code(), Some(0));
    assert_eq!(waiting.join().unwrap(), (Some(1001), true));
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).expect("TLS is ended in order");
    assert!(rest.is_empty());
}

#[test]
fn health_asks_over_tls_too() {
    let place = Place::start();
    let url = format!("https://127.0.0.1:{}", place.port);
    let (code, text) = run_to_end(&["health", "--url", &url], &[], SOON);
    assert_eq!((code, text.contains("200 Healthy")), (Some(0), true), "{text}");
    let plain = format!("https://127.0.0.1:{}", place.agent.port());
    let (code, text) = run_to_end(&["health", "--url", &plain], &[], SOON);
    assert_eq!(code, Some(1), "{text}");
}

#[test]
fn unusable_files_end_the_start_and_the_check_with_all_errors() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new("a").issue(&hosts()), Authority::new("b").issue(&hosts()));
    let (certificate, _) = first.write(folder.path(), "first");
    let (_, key) = second.write(folder.path(), "second");
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (certificate, key, nowhere) = (path(&certificate), path(&key), path(&folder.path().join("ca.pem")));
    let environment = [
        ("Mode", "offline"),
        ("ApiKey", "rp-key"),
        ("Urls", "https://127.0.0.1:0"),
        ("Tls__CertificateFile", &certificate),
        ("Tls__KeyFile", &key),
        ("Kestrel__Endpoints__A__Url", "https://127.0.0.1:0"),
        ("Kestrel__Endpoints__B__Url", "https://127.0.0.1:0"),
        ("Kestrel__Endpoints__B__Certificate__Path", &key),
        ("Kestrel__Endpoints__B__Certificate__KeyPath", &key),
    ];
    for command in ["run", "check"] {
        let (code, text) = run_to_end(&[command], &environment, SOON);
        assert_eq!(code, Some(78), "{text}");
        for part in [
            "2 errors in the settings",
            "Tls__KeyFile: ",
            "is not the key of the first certificate in",
            "Kestrel__Endpoints__B__Certificate__Path: there is no certificate in",
        ] {
            assert!(text.contains(part), "{text} without {part}");
        }
        let more = [("Tls__ClientCaFile", nowhere.as_str())];
        let environment: Vec<_> = environment.iter().copied().chain(more).collect();
        let (code, text) = run_to_end(&[command], &environment, SOON);
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains("Tls__ClientCaFile: cannot read"), "{text}");
    }
}

/// What went wrong: `check` said only until when a certificate is valid, and nothing of a chain with a gap.
#[test]
fn check_warns_of_a_certificate_that_is_not_valid_and_of_a_chain_with_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("CA of the test");
    let check = |pair: &Pair| {
        let (certificate, key) = pair.write(folder.path(), "server");
        let environment = [
            ("Mode", "offline"),
            ("ApiKey", "k"),
            ("ForwardEvents", "false"),
            ("Urls", "https://127.0.0.1:0"),
            ("Tls__CertificateFile", certificate.to_str().unwrap()),
            ("Tls__KeyFile", key.to_str().unwrap()),
        ];
        let (code, text) = run_to_end(&["check"], &environment, SOON);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("server.pem: belongs to its key, valid until"), "{text}");
        text
    };
    let good = authority.issue(&hosts().valid_s(-100, 30 * 24 * 3600));
    assert!(!check(&good).contains("Warning"));
    let gap = Pair { certificate: good.certificate.clone() + Authority::new("other").certificate(), ..good };
    for (pair, says) in [
        (authority.issue(&hosts().valid_s(-200, -100)), "has expired at"),
        (authority.issue(&hosts().valid_s(1000, 2000)), "is not valid before"),
        (authority.issue(&hosts().valid_s(-200, 1000)), "expires at"),
        (gap, "its certificate 1 was issued by \"CA of the test\""),
    ] {
        let text = check(&pair);
        let line = text
            .lines()
            .find(|line| line.contains("Warning: the certificate"))
            .unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains(says), "{line}");
    }
}

/// What went wrong: the end of TLS and TCP came right behind the close frame, which SDKs behind a proxy then never saw.
#[test]
fn tls_stays_open_behind_a_close_frame_until_the_peer_has_answered_it() {
    let place = Place::start();
    let mut refused = connect(place.port, NAME, &place.client()).unwrap();
    refused.write_all(&upgrade_request("/streaming?type=server&token=none", &[])).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"invalid request, close by server") {
        let mut byte = [0];
        refused.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    for _ in 0..20 {
        refused.write_all(&whole(TEXT, br#"{"messageType":"ping","data":null}"#)).unwrap();
        refused.flush().unwrap();
        place.agent.get("/health/liveness", &[]).expect(200);
    }
    refused.sock.set_nonblocking(true).unwrap();
    let end = refused.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(end, Err(std::io::ErrorKind::WouldBlock), "neither close_notify nor the end of TCP");
    refused.sock.set_nonblocking(false).unwrap();
    refused.write_all(&whole(CLOSE, &4003u16.to_be_bytes())).unwrap();
    assert_eq!(refused.read(&mut [0]).unwrap(), 0, "close_notify comes before the end of TCP");
}
