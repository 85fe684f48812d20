//! Connections that the agent opens: TLS with good and bad certificates, client certificates, proxies, deadlines.

#![allow(clippy::expect_used, reason = "a test that cannot go on shall fail")]

mod common;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use common::certificates::{Authority, Pair, Wish};
use common::{SOON, wait_until};
use featbit_agent::client::{DialError, Dialer, ProxyEnvironment, Step, Stream};
use featbit_agent::config::{AbsoluteUri, Dial, KeyPairFiles, ProxyChoice};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const NAME: &str = "els.test";

/// A server that answers each connection in a thread of its own, until it is dropped.
struct Server {
    address: SocketAddr,
    stop: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(answer: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(Mutex::new(false));
        let stopped = stop.clone();
        let answer = Arc::new(answer);
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if *stopped.lock().expect("nobody panics with it") {
                    return;
                }
                stream.set_read_timeout(Some(SOON)).expect("a socket option");
                let answer = answer.clone();
                std::thread::spawn(move || {
                    // What a refused client does with the connection is the client's test.
                    let _ = answer(stream);
                });
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    fn url(&self, scheme: &str, host: &str) -> AbsoluteUri {
        uri(&format!("{scheme}://{host}:{}", self.address.port()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *self.stop.lock().expect("nobody panics with it") = true;
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn uri(text: &str) -> AbsoluteUri {
    AbsoluteUri::parse(text, &["ws", "wss", "http", "https"]).expect("a URI")
}

fn echo(mut stream: impl Read + Write) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            count => stream.write_all(&bytes[..count]).and_then(|()| stream.flush())?,
        }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// An echo over TLS. `clients`: who issues the certificates that clients must show.
fn tls_echo(pair: &Pair, clients: Option<&Authority>) -> Server {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the versions are known");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider())
                .build()
                .expect("a verifier"),
        ),
    };
    let config = Arc::new(builder.with_single_cert(pair.chain(), pair.private_key()).expect("a good pair"));
    Server::start(move |stream| {
        let connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        echo(&mut stream)?;
        stream.conn.send_close_notify();
        stream.flush()
    })
}

/// A proxy that knows one method, CONNECT, and takes every name for this machine.
fn proxy(answer: &'static str) -> (Server, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = seen.clone();
    let server = Server::start(move |mut client| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let port = head.split(' ').nth(1).and_then(|target| target.rsplit(':').next()?.parse::<u16>().ok());
        requests.lock().expect("nobody panics with it").push(head);
        client.write_all(answer.as_bytes())?;
        if !answer.contains(" 200 ") {
            return Ok(());
        }
        let mut server = TcpStream::connect(("127.0.0.1", port.unwrap_or(1)))?;
        let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
        io::copy(&mut server, &mut client)?;
        client.shutdown(std::net::Shutdown::Write)
    });
    (server, seen)
}

fn settings() -> Dial {
    Dial { ca_file: None, client_certificate: None, proxy: ProxyChoice::Never, connect: SOON }
}

fn trusting(ca_file: &Path) -> Dial {
    Dial { ca_file: Some(ca_file.into()), ..settings() }
}

fn dialer(settings: Dial) -> Dialer {
    Dialer::new(settings, &ProxyEnvironment::default()).expect("good settings")
}

fn says_back(stream: &mut Stream) {
    stream.set_read_timeout(Some(SOON)).expect("a socket option");
    stream.write_all(b"hello").and_then(|()| stream.flush()).expect("it is open");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("it echoes");
    assert_eq!(&answer, b"hello");
}

/// A folder with the authority's certificate as `ca.pem`.
fn folder_of(authority: &Authority) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).expect("it can be written");
    folder
}

fn refused(dialer: &Dialer, uri: &AbsoluteUri) -> DialError {
    match dialer.connect(uri) {
        Err(error) => error,
        Ok(_) => panic!("{uri} was connected to"),
    }
}

#[test]
fn plain_connections_and_trusted_servers_are_connected_to() {
    let authority = Authority::new("CA");
    let folder = folder_of(&authority);
    let dialer = dialer(trusting(&folder.path().join("ca.pem")));
    let plain = Server::start(echo);
    for scheme in ["ws", "HTTP"] {
        let mut stream = dialer.connect(&plain.url(scheme, "127.0.0.1")).expect("it listens");
        assert!(!stream.is_encrypted());
        says_back(&mut stream);
    }
    let server = tls_echo(&authority.issue(&Wish::server(&["127.0.0.1", "localhost"])), None);
    for (scheme, host) in [("wss", "127.0.0.1"), ("https", "localhost"), ("WSS", "LocalHost")] {
        let mut stream = dialer.connect(&server.url(scheme, host)).expect("it is trusted");
        assert!(stream.is_encrypted());
        says_back(&mut stream);
        stream.shutdown_write().expect("it is open");
        // The server answers the end with its own.
        assert_eq!(stream.read(&mut [0; 9]).expect("an orderly end"), 0);
    }
}

#[test]
fn servers_that_are_not_who_they_should_be_are_refused_with_the_reason() {
    let authority = Authority::new("CA");
    let folder = folder_of(&authority);
    let dialer = dialer(trusting(&folder.path().join("ca.pem")));
    let day_s = 24 * 3600;
    let here = &["127.0.0.1"];
    for (pair, parts) in [
        (
            Authority::new("somebody").issue(&Wish::server(here)),
            &["not issued by an authority that is trusted here", "Upstream__CaFile"][..],
        ),
        (
            authority.issue(&Wish::server(&["other.test", "10.0.0.1"])),
            &["is for other names: other.test, 10.0.0.1. Use"],
        ),
        (authority.issue(&Wish::server(here).valid_s(-2 * day_s, -day_s)), &["expired at 20", "Renew"]),
        (
            authority.issue(&Wish::server(here).valid_s(day_s, 2 * day_s)),
            &["is not valid before 20", "clocks"],
        ),
        (authority.issue(&Wish::client(here[0])), &["not meant for servers", "serverAuth"]),
        (Pair::self_signed(&Wish::server(here)), &["its certificate"]),
    ] {
        let server = tls_echo(&pair, None);
        let error = refused(&dialer, &server.url("wss", here[0]));
        assert_eq!(error.step, Step::Tls);
        let text = error.to_string();
        assert!(text.starts_with(&format!("127.0.0.1:{}: ", server.address.port())), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text} without {parts:?}");
    }
}

#[test]
fn a_self_signed_certificate_is_trusted_once_it_is_named() {
    let pair = Pair::self_signed(&Wish::server(&["127.0.0.1"]));
    let other = Pair::self_signed(&Wish::server(&["other.test"]));
    let old = Pair::self_signed(&Wish::server(&["127.0.0.1"]).valid_s(-20, -10));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let all = [&pair, &other, &old].map(|pair| pair.certificate.as_str()).concat();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, all).expect("it can be written");
    let dialer = dialer(trusting(&path));
    says_back(&mut dialer.connect(&tls_echo(&pair, None).url("wss", "127.0.0.1")).expect("it is trusted"));
    for (pair, part) in [(other, "for other names"), (old, "expired")] {
        let error = refused(&dialer, &tls_echo(&pair, None).url("wss", "127.0.0.1"));
        assert!(error.problem.contains(part), "{error}");
    }
}

#[test]
fn servers_that_ask_for_a_certificate_get_it() {
    let (authority, clients) = (Authority::new("CA"), Authority::new("clients' CA"));
    let folder = folder_of(&authority);
    let server = tls_echo(&authority.issue(&Wish::server(&["127.0.0.1"])), Some(&clients));
    let url = server.url("wss", "127.0.0.1");
    let ca = folder.path().join("ca.pem");
    let showing = |pair: &Pair| {
        let (certificate, key) = pair.write(folder.path(), "client");
        dialer(Dial { client_certificate: Some(KeyPairFiles { certificate, key }), ..trusting(&ca) })
    };
    let agent = clients.issue(&Wish::client("agent"));
    says_back(&mut showing(&agent).connect(&url).expect("it shows who it is"));
    // TLS 1.3 refuses clients after the handshake: with the first read at the latest.
    let failure = |dialer: &Dialer| match dialer.connect(&url) {
        Err(error) => error.to_string(),
        Ok(mut stream) => {
            stream.set_read_timeout(Some(SOON)).expect("a socket option");
            stream.read(&mut [0; 9]).expect_err("it is refused").to_string()
        }
    };
    let none = failure(&dialer(trusting(&ca)));
    assert!(none.contains("asks for a client certificate. Set Upstream__ClientCertificateFile"), "{none}");
    let unknown = failure(&showing(&authority.issue(&Wish::client("agent"))));
    assert!(unknown.contains("refuses the agent's client certificate"), "{unknown}");
}

#[test]
fn files_are_read_again_when_they_change_and_a_bad_one_changes_nothing() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let folder = folder_of(&first);
    let ca = folder.path().join("ca.pem");
    let dialer = dialer(trusting(&ca));
    let of = |authority: &Authority| tls_echo(&authority.issue(&Wish::server(&["127.0.0.1"])), None);
    let (first_server, second_server) = (of(&first), of(&second));
    let works = |server: &Server| dialer.connect(&server.url("wss", "127.0.0.1")).is_ok();
    assert_eq!((works(&first_server), works(&second_server)), (true, false));
    std::fs::write(&ca, "no certificate").expect("it can be written");
    assert_eq!((works(&first_server), works(&second_server)), (true, false));
    std::fs::remove_file(&ca).expect("it is there");
    assert_eq!((works(&first_server), works(&second_server)), (true, false));
    std::fs::write(&ca, second.certificate()).expect("it can be written");
    assert_eq!((works(&first_server), works(&second_server)), (false, true));
}

/// What went wrong: a client certificate that had expired, or was for tomorrow, took the place of a valid one, and servers
/// refused the agent.
#[test]
fn a_new_client_certificate_that_is_not_valid_does_not_replace_a_valid_one() {
    let (authority, clients) = (Authority::new("CA"), Authority::new("clients"));
    let folder = folder_of(&authority);
    let ca = folder.path().join("ca.pem");
    let server = tls_echo(&authority.issue(&Wish::server(&["127.0.0.1"])), Some(&clients));
    let url = server.url("wss", "127.0.0.1");
    let (certificate, key) = clients.issue(&Wish::client("edge-1")).write(folder.path(), "client");
    let dialer =
        dialer(Dial { client_certificate: Some(KeyPairFiles { certificate, key }), ..trusting(&ca) });
    says_back(&mut dialer.connect(&url).expect("it shows who it is"));
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the epoch is over");
    let now_s = since.as_secs() as i64;
    assert_eq!(dialer.warning(now_s), None);
    for (valid_s, says) in [((-200, -100), "has expired at"), ((3600, 7200), "is not valid before")] {
        clients.issue(&Wish::client("edge-1").valid_s(valid_s.0, valid_s.1)).write(folder.path(), "client");
        for _ in 0..2 {
            says_back(&mut dialer.connect(&url).expect("the one before is shown"));
        }
        let warning = dialer.warning(now_s).expect("it is told");
        assert!(warning.contains(says) && warning.contains("client.pem"), "{warning}");
    }
    // A valid one is loaded: here one of an authority that the server does not know.
    Authority::new("strangers").issue(&Wish::client("edge-1")).write(folder.path(), "client");
    let refused = match dialer.connect(&url) {
        Err(_) => true,
        Ok(mut stream) => {
            stream.set_read_timeout(Some(SOON)).expect("a socket option");
            stream.read(&mut [0; 9]).is_err()
        }
    };
    assert!(refused);
}

#[test]
fn all_unusable_files_and_proxies_are_reported_at_the_start() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let certificate = folder.path().join("none.pem");
    let settings = Dial {
        client_certificate: Some(KeyPairFiles { key: certificate.clone(), certificate }),
        proxy: ProxyChoice::Environment,
        ..trusting(folder.path())
    };
    let environment = environment(&[("HTTPS_PROXY", "socks5://me:secret@proxy")]);
    let faults = Dialer::new(settings, &environment).expect_err("nothing is right");
    let text = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(faults.len(), 4, "{text}");
    for part in
        ["HTTPS_PROXY:", "Upstream__CaFile:", "Upstream__ClientCertificateFile:", "Upstream__ClientKeyFile:"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

fn environment(variables: &[(&str, &str)]) -> ProxyEnvironment {
    let own = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    ProxyEnvironment::from_variables(variables.iter().map(own))
}

#[test]
fn servers_are_reached_through_a_proxy_by_name_whether_encrypted_or_not() {
    let authority = Authority::new("CA");
    let folder = folder_of(&authority);
    let (proxy, seen) = proxy("HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n");
    let with_password = format!("http://me:p%40ss@127.0.0.1:{}", proxy.address.port());
    let variables = [
        ("HTTPS_PROXY", with_password.as_str()),
        ("http_proxy", &with_password),
        ("NO_PROXY", "direct.test"),
    ];
    let settings = Dial { proxy: ProxyChoice::Environment, ..trusting(&folder.path().join("ca.pem")) };
    let dialer = Dialer::new(settings, &environment(&variables)).expect("good settings");
    let encrypted = tls_echo(&authority.issue(&Wish::server(&[NAME])), None);
    let plain = Server::start(echo);
    // The name means nothing to this machine: it is the proxy that looks it up.
    for url in [encrypted.url("wss", NAME), plain.url("ws", NAME), plain.url("http", "127.0.0.1")] {
        let mut stream = dialer.connect(&url).expect("the proxy opens a tunnel");
        says_back(&mut stream);
        let request = seen.lock().expect("nobody panics with it").pop().expect("a request");
        let target = format!("{}:{}", url.host(), url.port().expect("a port"));
        assert!(
            request.starts_with(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n")),
            "{request}"
        );
        assert!(request.contains("\r\nProxy-Authorization: Basic bWU6cEBzcw==\r\n"), "{request}");
    }
    let error = refused(&dialer, &uri("wss://direct.test:1"));
    assert_eq!(error.step, Step::Resolve);
    assert_eq!(seen.lock().expect("nobody panics with it").len(), 0);
    // The certificate is checked against the server's name, not the proxy's.
    let error = refused(&dialer, &encrypted.url("wss", "127.0.0.1"));
    assert!(error.problem.contains("for other names: els.test"), "{error}");
}

#[test]
fn a_proxy_that_refuses_is_named_with_its_answer() {
    let long: &'static str = String::leak(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(20_000)));
    for (answer, parts) in [
        ("HTTP/1.1 407 Who are you\r\n\r\n", &["status 407", "user:password"][..]),
        ("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", &["refuses a tunnel to els.test:5100", "403"]),
        ("HTTP/1.0 502 Bad\r\n\r\n", &["cannot reach els.test:5100", "502"]),
        ("HTTP/1.1 500 Bad\r\n\r\n", &["status 500"]),
        ("SSH-2.0-OpenSSH\r\n\r\n", &["did not answer as an HTTP proxy"]),
        ("", &["closed the connection without an answer"]),
        ("HTTP/1.1 2", &["closed the connection without an answer"]),
        ("HTTP/1.1 200 OK\r\n\r\nsurprise", &["sent data before it was asked"]),
        (long, &["16384 bytes"]),
    ] {
        let (proxy, _) = proxy(answer);
        let url = format!("http://me:secret@127.0.0.1:{}", proxy.address.port());
        let settings = Dial { proxy: ProxyChoice::Always(uri(&url)), ..settings() };
        let error = refused(&dialer(settings), &uri("wss://els.test:5100"));
        assert_eq!(error.step, Step::Proxy, "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("the proxy 127.0.0.1:{}: ", proxy.address.port())), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text} without {parts:?}");
        assert!(!text.contains("secret"), "{text}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let settings = Dial { proxy: ProxyChoice::Always(uri(&format!("http://{nobody}"))), ..settings() };
    let error = refused(&dialer(settings), &uri("ws://els.test:5100"));
    assert_eq!((error.step, error.peer), (Step::Connect, format!("the proxy {nobody}")));
}

#[test]
fn an_interim_answer_of_a_proxy_is_skipped() {
    let (proxy, _) = proxy("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    let plain = Server::start(echo);
    let url = format!("http://127.0.0.1:{}", proxy.address.port());
    let dialer = dialer(Dial { proxy: ProxyChoice::Always(uri(&url)), ..settings() });
    says_back(&mut dialer.connect(&plain.url("ws", NAME)).expect("the proxy opens a tunnel"));
}

#[test]
fn every_wait_for_an_answer_ends() {
    // Silence in the handshake, a drip of bytes, and silence of a proxy.
    let silent = Server::start(|mut stream| stream.read_to_end(&mut Vec::new()).map(drop));
    let dripping = Server::start(|mut stream| {
        // The head of a record whose content is long in coming.
        stream.write_all(&[0x16, 0x03, 0x03, 0x3F, 0x00])?;
        loop {
            std::thread::sleep(Duration::from_millis(10));
            stream.write_all(&[0])?;
        }
    });
    let authority = Authority::new("CA");
    let folder = folder_of(&authority);
    let connect = Duration::from_millis(200);
    let settings = || Dial { connect, ..trusting(&folder.path().join("ca.pem")) };
    for server in [&silent, &dripping] {
        let begun = Instant::now();
        let error = refused(&dialer(settings()), &server.url("wss", "127.0.0.1"));
        assert!(error.problem.contains("in time") && begun.elapsed() >= connect, "{error}");
        assert_eq!(error.step, Step::Tls);
    }
    let proxy = ProxyChoice::Always(silent.url("http", "127.0.0.1"));
    let error = refused(&dialer(Dial { proxy, ..settings() }), &uri("wss://els.test"));
    assert!(error.problem.contains("did not answer in time"), "{error}");
}

#[test]
fn a_server_without_tls_is_recognised() {
    let http = Server::start(|mut stream| {
        let _ = stream.read(&mut [0; 2048])?;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    });
    let authority = Authority::new("CA");
    let folder = folder_of(&authority);
    let dialer = dialer(trusting(&folder.path().join("ca.pem")));
    let error = refused(&dialer, &http.url("wss", "127.0.0.1"));
    assert!(error.problem.contains("does not answer with TLS") && error.remedy.contains("scheme"), "{error}");
    let gone = Server::start(|stream| stream.shutdown(std::net::Shutdown::Both));
    let error = refused(&dialer, &gone.url("wss", "127.0.0.1"));
    assert_eq!(error.step, Step::Tls);
}

#[test]
fn a_stream_can_be_waited_on_without_blocking() {
    let authority = Authority::new("CA");
    let folder = folder_of(&authority);
    let server = tls_echo(&authority.issue(&Wish::server(&["127.0.0.1"])), None);
    let dialer = dialer(trusting(&folder.path().join("ca.pem")));
    let mut stream = dialer.connect(&server.url("wss", "127.0.0.1")).expect("it is trusted");
    stream.set_nonblocking(true).expect("a socket option");
    let payload: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (mut sent, mut received) = (0, Vec::new());
    let mut buffer = vec![0; 10_000];
    wait_until("everything comes back", SOON, || {
        if sent < payload.len() {
            match stream.write(&payload[sent..]) {
                Ok(count) => sent += count,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
            }
        } else if stream.wants_write() {
            let _ = stream.flush();
        }
        loop {
            match stream.read(&mut buffer) {
                Ok(count) => received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        (received.len() == payload.len()).then_some(())
    });
    assert!(received == payload);
}
