//! Stands in for the server that gets usage events: keeps every byte that comes, and answers as it is told to.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::{SOON, wait_until};

/// How a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// With this status and these header lines, such as `Retry-After: 1`. Events of a 2xx count as taken.
    Answer(u16, &'static str),
    /// As `Answer` without header lines, and then the connection is closed, although the answer does not say so.
    AnswerAndClose(u16),
    /// The events are taken, and then the connection is reset without an answer.
    TakeAndReset,
    /// The connection is reset, and nothing is taken.
    Reset,
    /// No answer comes as long as the server lives.
    Hang,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Got {
    /// The request line, without the line break.
    pub line: String,
    /// The header fields, with names in lower case.
    pub fields: BTreeMap<String, String>,
    /// The body after decompression.
    pub body: Vec<u8>,
    /// The events in it; empty if it is no JSON array.
    pub events: Vec<Value>,
    /// Whether they were taken.
    pub taken: bool,
}

type Script = Box<dyn FnMut(&Got) -> Reaction + Send>;

struct State {
    script: Mutex<Script>,
    got: Mutex<Vec<Got>>,
    /// Everything that came, as it came and once more decompressed.
    bytes: Mutex<Vec<u8>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    ended: AtomicBool,
}

/// The server. It ends when it is dropped.
pub struct EventServer {
    port: u16,
    state: Arc<State>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics while it holds this")
}

impl EventServer {
    /// Starts it on a free port of the loopback; it takes everything.
    pub fn start() -> Self {
        Self::start_on(0)
    }

    /// Starts it on this port; it takes everything.
    pub fn start_on(port: u16) -> Self {
        let listener =
            wait_until("a port for the event server", SOON, || TcpListener::bind(("127.0.0.1", port)).ok());
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let state = Arc::new(State {
            script: Mutex::new(Box::new(|_| Reaction::Answer(200, ""))),
            got: Mutex::default(),
            bytes: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&shared);
                shared.open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    serve(stream, &shared);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, state }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, for `EventUri`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on answers each request as `script` says.
    pub fn react(&self, script: impl FnMut(&Got) -> Reaction + Send + 'static) {
        *locked(&self.state.script) = Box::new(script);
    }

    /// Answers all requests alike.
    pub fn always(&self, reaction: Reaction) {
        self.react(move |_| reaction.clone());
    }

    /// All requests that came.
    pub fn requests(&self) -> Vec<Got> {
        locked(&self.state.got).clone()
    }

    /// The events that were taken, in the order in which they came.
    pub fn events(&self) -> Vec<Value> {
        let requests = self.requests();
        requests.into_iter().filter(|got| got.taken).flat_map(|got| got.events).collect()
    }

    /// Every byte that came, and the bodies once more without compression.
    pub fn bytes(&self) -> Vec<u8> {
        locked(&self.state.bytes).clone()
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Waits until no connection is open: everything that was sent on them was taken or lost.
    pub fn wait_closed(&self) {
        wait_until("all connections are closed", SOON, || {
            (self.state.open.load(Ordering::SeqCst) == 0).then_some(())
        });
    }

    /// Waits until so many events were taken.
    pub fn wait_events(&self, count: usize) -> Vec<Value> {
        wait_until(&format!("{count} events at the server"), SOON * 3, || {
            let events = self.events();
            (events.len() >= count).then_some(events)
        })
    }

    /// Waits until so many requests came, taken or not.
    pub fn wait_requests(&self, count: usize) -> Vec<Got> {
        wait_until(&format!("{count} requests at the server"), SOON * 3, || {
            let requests = self.requests();
            (requests.len() >= count).then_some(requests)
        })
    }
}

impl Drop for EventServer {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Serves the requests of one connection.
fn serve(mut stream: TcpStream, state: &State) {
    let mut input = Vec::new();
    while let Some(mut got) = read_request(&mut stream, &mut input, state) {
        if state.ended.load(Ordering::SeqCst) {
            return;
        }
        let reaction = (*locked(&state.script))(&got);
        got.taken = match &reaction {
            Reaction::Answer(status, _) | Reaction::AnswerAndClose(status) => (200..300).contains(status),
            Reaction::TakeAndReset => true,
            Reaction::Reset | Reaction::Hang => false,
        };
        locked(&state.got).push(got);
        match reaction {
            Reaction::Answer(status, fields) => {
                let lines = if fields.is_empty() { String::new() } else { format!("{fields}\r\n") };
                let answer = format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n{lines}\r\n");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            Reaction::AnswerAndClose(status) => {
                let _ = stream
                    .write_all(format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n\r\n").as_bytes());
                return;
            }
            Reaction::TakeAndReset | Reaction::Reset => {
                // With SO_LINGER of zero the kernel sends a reset.
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                return;
            }
            Reaction::Hang => {
                while !state.ended.load(Ordering::SeqCst) {
                    let mut rest = [0; 64];
                    if matches!(stream.read(&mut rest), Ok(0) | Err(_)) {
                        return;
                    }
                }
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

/// The next request; `None` if the connection has ended.
fn read_request(stream: &mut TcpStream, input: &mut Vec<u8>, state: &State) -> Option<Got> {
    let head_end = loop {
        if let Some(at) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(stream, input, state)?;
    };
    let head = String::from_utf8_lossy(&input[..head_end]).into_owned();
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let fields: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = fields.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while input.len() < head_end + length {
        read_more(stream, input, state)?;
    }
    let mut body: Vec<u8> = input[head_end..head_end + length].to_vec();
    input.drain(..head_end + length);
    if fields.get("content-encoding").is_some_and(|coding| coding == "gzip") {
        let mut plain = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("the body is gzip");
        locked(&state.bytes).extend_from_slice(&plain);
        body = plain;
    }
    let events = match serde_json::from_slice(&body) {
        Ok(Value::Array(events)) => events,
        _ => Vec::new(),
    };
    Some(Got { line, fields, body, events, taken: false })
}

fn read_more(stream: &mut TcpStream, input: &mut Vec<u8>, state: &State) -> Option<()> {
    let mut portion = [0; 64 * 1024];
    match stream.read(&mut portion) {
        Ok(count) if count > 0 => {
            input.extend_from_slice(&portion[..count]);
            locked(&state.bytes).extend_from_slice(&portion[..count]);
            Some(())
        }
        _ => None,
    }
}
