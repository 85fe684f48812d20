//! The stand-in of FeatBit's evaluation server over TLS, and the proxy of the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use common::agent::API_KEY;
use common::certificates::{Authority, Pair, Wish};
use common::dataset::{Dataset, Environment, boolean_flag};
use common::proxy::{Manner, Proxy};
use common::server::Server;
use common::server::script::{Opening, Shape};
use common::server::tls::configuration;
use common::{SOON, wait_until};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tungstenite::{Message, WebSocket};

fn server() -> Server {
    Server::start(&Dataset::of([Environment::new(1).flag(boolean_flag("a"))]))
}

fn connected(port: u16) -> TcpStream {
    let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_read_timeout(Some(SOON)).unwrap();
    tcp
}

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

fn encrypted(tcp: TcpStream, trusts: &Authority, own: Option<&Pair>) -> Encrypted {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusts.roots());
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_auth_cert(pair.chain(), pair.private_key()).unwrap(),
    };
    StreamOwned::new(ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap(), tcp)
}

fn streaming<S: Read + Write + std::fmt::Debug>(stream: S) -> WebSocket<S> {
    let target = format!("ws://localhost/streaming?type=relay-proxy&token={API_KEY}");
    tungstenite::client(target, stream).unwrap().0
}

/// Asks for everything and gets it.
fn syncs<S: Read + Write>(client: &mut WebSocket<S>, server: &Server) {
    client.send(Message::text(r#"{"messageType":"data-sync","data":{"timestamp":0}}"#)).unwrap();
    let answer = loop {
        let message = client.read().unwrap();
        if message.is_text() {
            break message;
        }
    };
    assert_eq!(answer.to_text().unwrap(), server.full(API_KEY));
}

#[test]
fn it_speaks_tls_and_asks_for_a_client_certificate_if_configured() {
    let (authority, stranger) = (Authority::new("an authority"), Authority::new("a stranger"));
    let pair = authority.issue(&Wish::server(&["localhost"]));
    let server = server();
    server.set_tls(Some(configuration(&pair, None)));
    server.script(|script| {
        script.shape = Shape { frame_bytes: 50, pings_between: true, drip: None };
    });
    let mut client = streaming(encrypted(connected(server.port()), &authority, None));
    syncs(&mut client, &server);
    server.wait_relay(0).close(1012);
    let close = loop {
        if let Message::Close(close) = client.read().unwrap() {
            break close.unwrap();
        }
    };
    assert_eq!(u16::from(close.code), 1012);
    assert!(server.handshake_failures().is_empty());

    // A client that does not trust it sends an alert.
    let mut client = encrypted(connected(server.port()), &stranger, None);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
    wait_until("the failure", SOON, || (server.handshake_failures().len() == 1).then_some(()));

    server.set_tls(Some(configuration(&pair, Some(&authority))));
    let own = authority.issue(&Wish::client("agent"));
    syncs(&mut streaming(encrypted(connected(server.port()), &authority, Some(&own))), &server);
    let mut client = encrypted(connected(server.port()), &authority, None);
    let _ = client.write_all(b"GET / HTTP/1.1\r\n\r\n");
    client.read(&mut [0]).unwrap_err();
    wait_until("the failure", SOON, || (server.handshake_failures().len() == 2).then_some(()));
    server.set_tls(None);
    syncs(&mut streaming(connected(server.port())), &server);
}

#[test]
fn connections_with_tls_can_be_reset() {
    let authority = Authority::new("an authority");
    let server = server();
    server.set_tls(Some(configuration(&authority.issue(&Wish::server(&["localhost"])), None)));
    server.next_openings([Opening::ResetAtRequest]);
    let mut client = streaming(encrypted(connected(server.port()), &authority, None));
    client.send(Message::text(r#"{"messageType":"data-sync","data":{"timestamp":0}}"#)).unwrap();
    match client.read() {
        Err(tungstenite::Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
}

fn through(proxy: &Proxy, target: &str, more: &str) -> (TcpStream, String) {
    let port = proxy.url().rsplit(':').next().unwrap().parse().unwrap();
    let mut tcp = connected(port);
    tcp.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{more}\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tcp.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    (tcp, String::from_utf8(head).unwrap())
}

#[test]
fn a_proxy_connects_to_names_of_its_own_asks_for_a_password_refuses_and_stalls() {
    let server = server();
    let name = "flags.example:443";
    let proxy = Proxy::start(Manner { routes: vec![(name.into(), server.port())], ..Manner::default() });
    let (tcp, head) = through(&proxy, name, "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut client = streaming(tcp);
    syncs(&mut client, &server);
    assert!(through(&proxy, "other.example:443", "").1.starts_with("HTTP/1.1 502 "));
    proxy.behave(|manner| manner.authorization = Some("Basic dTpw".into()));
    assert!(through(&proxy, name, "").1.starts_with("HTTP/1.1 407 "));
    let (tcp, _) = through(&proxy, name, "Proxy-Authorization: Basic dTpw\r\n");
    syncs(&mut streaming(tcp), &server);
    proxy.behave(|manner| *manner = Manner { refuse: Some(403), ..Manner::default() });
    assert!(through(&proxy, name, "").1.starts_with("HTTP/1.1 403 "));
    proxy.behave(|manner| manner.stall = true);
    let port = proxy.url().rsplit(':').next().unwrap().parse().unwrap();
    let mut tcp = connected(port);
    tcp.write_all(b"CONNECT x:1 HTTP/1.1\r\n\r\n").unwrap();
    wait_until("the request", SOON, || (proxy.asked().len() == 6).then_some(()));
    let statuses: Vec<u16> = proxy.asked().iter().map(|asked| asked.status).collect();
    assert_eq!(statuses, [200, 502, 407, 200, 403, 0]);
    // Tunnels that are cut end at both ends.
    proxy.cut();
    client.read().unwrap_err();
}

#[test]
fn a_proxy_forwards_plain_requests() {
    let server = server();
    let route = ("flags.example:80".into(), server.port());
    let proxy = Proxy::start(Manner { routes: vec![route], ..Manner::default() });
    let port = proxy.url().rsplit(':').next().unwrap().parse().unwrap();
    let mut tcp = connected(port);
    let request = format!(
        "POST http://flags.example/api/public/agent/register HTTP/1.1\r\nHost: flags.example\r\nAuthorization: {API_KEY}\r\n\
         Proxy-Connection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n\"agent-1\""
    );
    tcp.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 15];
    tcp.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 As");
    let request = &server.registrations()[0].request;
    assert_eq!(request.target, "/api/public/agent/register");
    assert_eq!(request.header("proxy-connection"), None);
}
