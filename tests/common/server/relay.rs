//! One streaming connection of an agent, seen from the server: what the agent sent, and what a test can do to it.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Instant;

use serde_json::Value;

use super::script::Shape;
use super::socket::{Request, Socket};
use crate::common::frames::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame};
use crate::common::{SOON, wait_until};

/// A streaming connection, open or not.
#[derive(Debug)]
pub struct Relay {
    /// How many were opened before it.
    pub number: usize,
    /// Its key.
    pub key: String,
    /// The environments whose changes it gets: one for each server secret when it was opened.
    pub mapped: Vec<String>,
    /// The request that opened it.
    pub handshake: Request,
    /// When it was opened.
    pub opened: Instant,
    socket: Weak<Socket>,
    queue: Mutex<Option<Sender<Out>>>,
    seen: Mutex<Seen>,
}

/// What has been seen of a connection.
#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Value>,
    statuses: Vec<Value>,
    pings: usize,
    protocol_pings: usize,
    protocol_pongs: usize,
    ended: Option<Ended>,
    silent: bool,
    shape: Shape,
    fate: Option<Fate>,
}

/// What happens to a connection at its first request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    ResetAtRequest,
    ResetWithin(usize),
    EndAfterAnswer,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The code of the agent's close frame; `None` without one.
    pub code: Option<u16>,
    /// When.
    pub at: Instant,
}

/// Something to be written.
#[derive(Debug)]
enum Out {
    Message(u8, Vec<u8>),
    Control(u8, Vec<u8>),
    Raw(Vec<u8>),
    Part(Vec<u8>, usize),
    End,
    Reset,
}

impl Relay {
    pub(super) fn open(
        number: usize,
        key: &str,
        mapped: Vec<String>,
        handshake: Request,
        socket: &Arc<Socket>,
        shape: Shape,
    ) -> Arc<Self> {
        let (queue, outs) = channel();
        let relay = Arc::new(Self {
            number,
            key: key.to_owned(),
            mapped,
            handshake,
            opened: Instant::now(),
            socket: Arc::downgrade(socket),
            queue: Mutex::new(Some(queue)),
            seen: Mutex::new(Seen { shape, ..Seen::default() }),
        });
        let (weak, socket) = (Arc::downgrade(&relay), Arc::clone(socket));
        std::thread::spawn(move || write(&weak, &socket, &outs));
        relay
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no thread panics with the lock")
    }

    fn put(&self, out: Out) {
        if let Some(queue) = self.queue.lock().expect("no thread panics with the lock").as_ref() {
            let _ = queue.send(out);
        }
    }

    /// Its `data-sync` requests so far, whole.
    pub fn requests(&self) -> Vec<Value> {
        self.seen().requests.clone()
    }

    /// The timestamps it asked for so far.
    pub fn timestamps(&self) -> Vec<i64> {
        let timestamp = |request: &Value| request["data"]["timestamp"].as_i64().unwrap_or(0);
        self.seen().requests.iter().map(timestamp).collect()
    }

    /// How many full syncs it has asked for so far.
    pub fn fulls(&self) -> usize {
        self.timestamps().iter().filter(|&&timestamp| timestamp == 0).count()
    }

    /// The status reports so far: `agentId`, and `status` parsed.
    pub fn statuses(&self) -> Vec<Value> {
        self.seen().statuses.clone()
    }

    /// How many `ping` messages came.
    pub fn pings(&self) -> usize {
        self.seen().pings
    }

    /// How many pongs of the protocol came.
    pub fn protocol_pongs(&self) -> usize {
        self.seen().protocol_pongs
    }

    /// How it ended; `None` while it is open.
    pub fn ended(&self) -> Option<Ended> {
        self.seen().ended.clone()
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.seen().ended.is_none()
    }

    /// Waits until it has ended.
    pub fn wait_for_end(&self) -> Ended {
        wait_until("the agent's connection ends", SOON, || self.ended())
    }

    /// Sends a message.
    pub fn send(&self, text: &str) {
        self.put(Out::Message(TEXT, text.as_bytes().to_vec()));
    }

    /// Sends a message of the binary kind.
    pub fn send_binary(&self, bytes: &[u8]) {
        self.put(Out::Message(BINARY, bytes.to_vec()));
    }

    /// Sends a text message of any bytes.
    pub fn send_bytes(&self, bytes: &[u8]) {
        self.put(Out::Message(TEXT, bytes.to_vec()));
    }

    /// Sends bytes that need not be frames.
    pub fn send_raw(&self, bytes: &[u8]) {
        self.put(Out::Raw(bytes.to_vec()));
    }

    /// Sends a ping of the protocol.
    pub fn ping(&self) {
        self.put(Out::Control(PING, b"there?".to_vec()));
    }

    /// Closes it with a code. The real server does not wait for an answer either.
    pub fn close(&self, code: u16) {
        let reason = if code == 4003 { "invalid request, close by server" } else { "" };
        self.put(Out::Control(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat()));
        self.put(Out::End);
    }

    /// Ends it in an orderly way, but without a close frame.
    pub fn end(&self) {
        self.put(Out::End);
    }

    /// Resets it.
    pub fn reset(&self) {
        self.put(Out::Reset);
    }

    /// Sends nothing any more, not even pongs of the protocol, and leaves it open.
    pub fn silence(&self) {
        self.seen().silent = true;
    }

    /// Writes its messages in this shape from now on.
    pub fn shape(&self, shape: Shape) {
        self.seen().shape = shape;
    }

    pub(super) fn set_fate(&self, fate: Fate) {
        self.seen().fate = Some(fate);
    }

    /// Sends the answer to a request, or what a script has in its place.
    pub(super) fn respond(&self, text: String) {
        let fate = self.seen().fate.take();
        match fate {
            None => self.put(Out::Message(TEXT, text.into_bytes())),
            Some(Fate::ResetAtRequest) => self.reset(),
            Some(Fate::ResetWithin(bytes)) => {
                self.put(Out::Part(text.into_bytes(), bytes));
                self.reset();
            }
            Some(Fate::EndAfterAnswer) => {
                self.put(Out::Message(TEXT, text.into_bytes()));
                self.end();
            }
        }
    }

    pub(super) fn saw_request(&self, request: Value) {
        self.seen().requests.push(request);
    }

    pub(super) fn saw_status(&self, status: Value) {
        self.seen().statuses.push(status);
    }

    pub(super) fn saw_ping(&self) {
        self.seen().pings += 1;
        self.put(Out::Message(TEXT, br#"{"messageType":"pong","data":{}}"#.to_vec()));
    }

    pub(super) fn saw_control(&self, opcode: u8, payload: Vec<u8>) {
        if opcode == PING {
            self.seen().protocol_pings += 1;
            self.put(Out::Control(PONG, payload));
        } else {
            self.seen().protocol_pongs += 1;
        }
    }

    /// Answers a close frame, unless it is itself an answer, and lets nothing more be sent.
    pub(super) fn saw_close(&self, payload: Vec<u8>) {
        self.put(Out::Control(CLOSE, payload));
        self.put(Out::End);
    }

    pub(super) fn has_ended(&self, code: Option<u16>) {
        self.seen().ended.get_or_insert(Ended { code, at: Instant::now() });
        *self.queue.lock().expect("no thread panics with the lock") = None;
    }

    /// Ends it and its threads, whatever they wait for.
    pub(super) fn cut(&self) {
        if let Some(socket) = self.socket.upgrade() {
            socket.end();
        }
    }
}

/// Writes what is put into a connection's queue, until it or its queue ends.
fn write(relay: &Weak<Relay>, socket: &Socket, outs: &Receiver<Out>) {
    let mut closed = false;
    for out in outs {
        let Some((silent, shape)) = relay.upgrade().map(|relay| {
            let seen = relay.seen();
            (seen.silent, seen.shape)
        }) else {
            return;
        };
        // Nothing of a silent connection arrives, not even its end, unless it is reset.
        if silent && !matches!(out, Out::Reset) {
            continue;
        }
        let written = match out {
            Out::Message(..) | Out::Control(..) | Out::Part(..) if closed => Ok(()),
            Out::Message(opcode, payload) => write_message(socket, shape, opcode, &payload),
            Out::Control(opcode, payload) => {
                closed |= opcode == CLOSE;
                drip(socket, shape, &frame(0x80 | opcode, None, &payload))
            }
            Out::Raw(bytes) => socket.write_all(&bytes),
            Out::Part(payload, bytes) => {
                let whole = frame(0x80 | TEXT, None, &payload);
                socket.write_all(&whole[..bytes.min(whole.len())])
            }
            Out::End => {
                socket.finish();
                Ok(())
            }
            Out::Reset => {
                socket.reset();
                return;
            }
        };
        if written.is_err() {
            socket.end();
            return;
        }
    }
}

fn write_message(socket: &Socket, shape: Shape, opcode: u8, payload: &[u8]) -> io::Result<()> {
    if shape.frame_bytes == 0 {
        return drip(socket, shape, &frame(0x80 | opcode, None, payload));
    }
    let mut bytes = Vec::new();
    let count = payload.len().div_ceil(shape.frame_bytes).max(1);
    for index in 0..count {
        let part = &payload[index * shape.frame_bytes..payload.len().min((index + 1) * shape.frame_bytes)];
        let last = if index + 1 == count { 0x80 } else { 0 };
        bytes.extend(frame(last | if index == 0 { opcode } else { CONTINUATION }, None, part));
        if shape.pings_between && last == 0 {
            bytes.extend(frame(0x80 | PING, None, b"between"));
        }
    }
    drip(socket, shape, &bytes)
}

fn drip(socket: &Socket, shape: Shape, bytes: &[u8]) -> io::Result<()> {
    let Some((count, pause)) = shape.drip else { return socket.write_all(bytes) };
    for part in bytes.chunks(count.max(1)) {
        socket.write_all(part)?;
        std::thread::sleep(pause);
    }
    Ok(())
}
