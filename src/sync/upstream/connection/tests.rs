//! An open stream over the loopback, with a WebSocket server of another make at its other end.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Message, WebSocket};

use super::*;
use crate::client::{Dialer, ProxyEnvironment};
use crate::config::{AbsoluteUri, Secret, Settings};

const SOON: Duration = Duration::from_secs(20);

/// A stream of at most `bytes_max` a message, to a server that does `serve` with what it accepted.
fn stream(
    bytes_max: u64,
    serve: impl FnOnce(WebSocket<TcpStream>) + Send + 'static,
) -> (Connection, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || serve(tungstenite::accept(listener.accept().unwrap().0).unwrap()));
    let settings = Settings::from_pairs(&[("Mode", "offline"), ("ApiKey", "k")]).unwrap();
    let dialer = Dialer::new(settings.dial, &ProxyEnvironment::from_variables([])).unwrap();
    let uri = AbsoluteUri::parse(&format!("ws://{address}"), &["ws"]).unwrap();
    let wire = LimitedStream::new(dialer.connect(&uri).unwrap(), Instant::now() + SOON);
    let endpoint = Endpoint { uri, key: Secret::new("rp-1".into()), agent_id: String::new() };
    let mut connection = Connection::open(wire, &endpoint, bytes_max).unwrap();
    connection.set_patience(SOON);
    (connection, server)
}

fn message(connection: &mut Connection) -> Bytes {
    match connection.next() {
        Next::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn end(connection: &mut Connection) -> ConnectionEnd {
    match connection.next() {
        Next::Ended(ended) => ended,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_beyond_the_limits_that_the_library_has_by_itself_arrive() {
    const FRAME: usize = 17 << 20;
    const PART: usize = 13 << 20;
    let (mut connection, server) = stream(80 << 20, |mut socket| {
        socket.send(Message::binary(vec![b'a'; FRAME])).unwrap();
        // One message of five frames, written by hand.
        let stream = socket.get_mut();
        for part in 0..5 {
            let first = if part == 0 { 0x02 } else { 0x00 };
            let last = if part == 4 { 0x80 } else { 0x00 };
            stream.write_all(&[last | first, 127]).unwrap();
            stream.write_all(&(PART as u64).to_be_bytes()).unwrap();
            stream.write_all(&vec![b'0' + part; PART]).unwrap();
        }
    });
    let whole = message(&mut connection);
    assert!(whole.len() == FRAME && whole.iter().all(|byte| *byte == b'a'));
    let parts = message(&mut connection);
    assert_eq!(parts.len(), 5 * PART);
    assert!(parts.chunks(PART).zip(b'0'..).all(|(part, digit)| part[0] == digit && part[PART - 1] == digit));
    server.join().unwrap();
}

#[test]
fn a_message_that_is_too_long_ends_it_and_says_how_long_it_is() {
    let (mut connection, server) = stream(1000, |mut socket| {
        socket.send(Message::text("x".repeat(1000))).unwrap();
        socket.send(Message::text("x".repeat(1001))).unwrap();
    });
    assert_eq!(message(&mut connection).len(), 1000);
    assert_eq!(end(&mut connection), ConnectionEnd::TooLarge(1001));
    server.join().unwrap();
}

#[test]
fn bytes_of_a_message_that_is_not_complete_are_told_from_those_of_one_that_is() {
    let (told, tell) = std::sync::mpsc::channel::<()>();
    let (mut connection, server) = stream(1000, move |mut socket| {
        socket.send(Message::Ping("there?".into())).unwrap();
        socket.send(Message::text("first")).unwrap();
        tell.recv().unwrap();
        socket.get_mut().write_all(&[0x81, 6, b's', b'e']).unwrap();
        tell.recv().unwrap();
        socket.get_mut().write_all(b"cond").unwrap();
        // Waits for the answer to the ping.
        assert_eq!(socket.read().unwrap(), Message::Pong("there?".into()));
    });
    assert_eq!(message(&mut connection), "first");
    assert!(!connection.has_incomplete_message());
    connection.set_nonblocking().unwrap();
    told.send(()).unwrap();
    let begun = Instant::now();
    while !connection.has_incomplete_message() {
        assert!(matches!(connection.next(), Next::Blocked));
        assert!(begun.elapsed() < SOON);
        thread::yield_now();
    }
    told.send(()).unwrap();
    let second = loop {
        match connection.next() {
            Next::Message(message) => break message,
            Next::Blocked => assert!(begun.elapsed() < SOON),
            Next::Ended(ended) => panic!("{ended:?}"),
        }
        thread::yield_now();
    };
    assert_eq!(second, "second");
    assert!(!connection.has_incomplete_message());
    server.join().unwrap();
}

#[test]
fn a_close_frame_is_answered_and_its_code_told() {
    for code in [1000u16, 1001, 1011, 4003] {
        let (mut connection, server) = stream(1000, move |mut socket| {
            socket.close(Some(CloseFrame { code: code.into(), reason: "".into() })).unwrap();
            let answer = socket.read().unwrap();
            assert!(matches!(answer, Message::Close(Some(frame)) if u16::from(frame.code) == code));
        });
        assert_eq!(end(&mut connection), ConnectionEnd::Closed(CloseCode::new(code)));
        server.join().unwrap();
    }
}

#[test]
fn every_other_end_is_told_in_words() {
    let (mut connection, server) = stream(1000, drop);
    assert!(
        matches!(end(&mut connection), ConnectionEnd::Broken(told) if told.contains("without a close frame"))
    );
    server.join().unwrap();
    for bytes in [&b"\xC1\x00"[..], b"\x83\x00", b"\x81\x81\x00\x00\x00\x00a", b"\x80\x01a", b"\x81\x01\xFF"]
    {
        let (mut connection, server) = stream(1000, |mut socket| {
            socket.get_mut().write_all(bytes).unwrap();
            // Until the other end is gone.
            while socket.read().is_ok() {}
        });
        let ConnectionEnd::Broken(told) = end(&mut connection) else { panic!("{bytes:?}") };
        assert!(told.contains("broke the WebSocket protocol") || told.contains("not UTF-8"), "{told}");
        drop(connection);
        server.join().unwrap();
    }
}

#[test]
fn what_is_sent_and_a_goodbye_arrive() {
    let (mut connection, server) = stream(1000, |mut socket| {
        assert_eq!(socket.read().unwrap(), Message::text("hello"));
        assert!(
            matches!(socket.read().unwrap(), Message::Close(Some(frame)) if u16::from(frame.code) == 1000)
        );
        let _ = socket.flush();
    });
    connection.send("hello".into()).unwrap();
    connection.close();
    assert_eq!(end(&mut connection), ConnectionEnd::Closed(CloseCode::NORMAL));
    server.join().unwrap();
}

#[test]
fn a_server_that_says_nothing_is_waited_for_no_longer_than_told() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (mut connection, server) = stream(1000, move |socket| {
        let _ = held.recv();
        drop(WebSocket::from_raw_socket(socket.get_ref().try_clone().unwrap(), Role::Server, None));
    });
    connection.set_patience(Duration::from_millis(50));
    assert!(matches!(end(&mut connection), ConnectionEnd::Broken(told) if told.contains("in time")));
    drop(hold);
    server.join().unwrap();
}
