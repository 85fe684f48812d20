//! A server for the tests: each connection is served by a function, on a thread of its own, over a real socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::harness::SOON;

/// A certificate for `localhost` that nobody else has signed.
struct Certificate {
    pem: String,
    configuration: Arc<ServerConfig>,
}

static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let configuration =
        builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    Certificate { pem: made.cert.pem(), configuration: Arc::new(configuration) }
});

/// The certificate of servers with TLS, in PEM.
pub fn certificate() -> &'static str {
    &CERTIFICATE.pem
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn is_gzip(&self) -> bool {
        self.head.contains("\r\nContent-Encoding: gzip\r\n")
    }

    /// The body, inflated if it is compressed.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if self.is_gzip() {
            flate2::read::GzDecoder::new(&self.body[..]).read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(self.body.clone()).unwrap();
        }
        text
    }
}

/// One connection, as the server sees it.
pub struct Wire {
    io: Box<dyn Io>,
    socket: TcpStream,
    input: Vec<u8>,
    received: Arc<Mutex<Vec<Received>>>,
}

trait Io: Read + Write + Send {}
impl<T: Read + Write + Send> Io for T {}

impl Wire {
    /// Reads a request to its end; `None` if the connection ends before.
    pub fn request(&mut self) -> Option<Received> {
        let head_end = loop {
            if let Some(at) = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.read()?;
        };
        let head = String::from_utf8(self.input.drain(..head_end).collect()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        while self.input.len() < length {
            self.read()?;
        }
        let body = self.input.drain(..length).collect();
        let received = Received { head, body };
        self.received.lock().unwrap().push(received.clone());
        Some(received)
    }

    /// Reads something; `None` if the connection has ended.
    pub fn read(&mut self) -> Option<()> {
        let mut buffer = [0; 64 * 1024];
        let count = self.io.read(&mut buffer).ok().filter(|count| *count > 0)?;
        self.input.extend_from_slice(&buffer[..count]);
        Some(())
    }

    /// Sends these bytes as they are.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.io.write_all(text.as_bytes())?;
        self.io.flush()
    }

    /// Answers with this status, further fields (each with its end of line) and body.
    pub fn answer(&mut self, status: u16, fields: &str, body: &str) {
        let answer = format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len());
        // Fails if the client has gone.
        let _ = self.say(&answer);
    }

    /// Waits for the client's end of the connection.
    pub fn wait_for_end(&mut self) {
        while self.read().is_some() {}
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// A running server.
pub struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
    received: Arc<Mutex<Vec<Received>>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    connections: AtomicUsize,
    open: Mutex<Vec<(usize, TcpStream)>>,
}

impl StandIn {
    /// A server that serves its connections, numbered from 1, by `serve`.
    pub fn start(tls: bool, serve: impl Fn(usize, Wire) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (shared, received) = (Arc::new(Shared::default()), Arc::new(Mutex::new(Vec::new())));
        let (of_thread, to) = (Arc::clone(&shared), Arc::clone(&received));
        let thread = thread::spawn(move || {
            thread::scope(|scope| {
                for socket in listener.incoming() {
                    if of_thread.stopping.load(Ordering::SeqCst) {
                        break;
                    }
                    let socket = socket.unwrap();
                    socket.set_nodelay(true).unwrap();
                    let number = of_thread.connections.fetch_add(1, Ordering::SeqCst) + 1;
                    of_thread.open.lock().unwrap().push((number, socket.try_clone().unwrap()));
                    let (serve, wire, of_thread) = (&serve, wire(socket, tls, &to), &of_thread);
                    scope.spawn(move || {
                        serve(number, wire);
                        // The second descriptor would keep it open.
                        of_thread.open.lock().unwrap().retain(|(open, _)| *open != number);
                    });
                }
            });
        });
        Self { address, shared, received, thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until the server has closed all connections that were opened so far.
    pub fn wait_until_all_closed(&self) {
        let begun = Instant::now();
        while !self.shared.open.lock().unwrap().is_empty() {
            assert!(begun.elapsed() < SOON, "a connection is still open");
            thread::yield_now();
        }
    }

    /// The complete requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

fn wire(socket: TcpStream, tls: bool, received: &Arc<Mutex<Vec<Received>>>) -> Wire {
    let own = socket.try_clone().unwrap();
    let io: Box<dyn Io> = if tls {
        let connection = ServerConnection::new(Arc::clone(&CERTIFICATE.configuration)).unwrap();
        Box::new(StreamOwned::new(connection, socket))
    } else {
        Box::new(socket)
    };
    Wire { io, socket: own, input: Vec::new(), received: Arc::clone(received) }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for (_, socket) in self.shared.open.lock().unwrap().iter() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the server failed");
    }
}
