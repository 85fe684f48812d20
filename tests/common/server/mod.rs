//! A stand-in for FeatBit's evaluation server, for tests of agent mode. It is written from what is known of the real
//! server, not from the agent, and `tests/server_standin.rs` compares it with a recorded conversation of the real one.
//!
//! Must not use the library. Plain blocking threads on the loopback: one accepts, two serve each connection.
//! A test changes the [`model`] with the methods of [`Server`], as FeatBit's users do, and the stand-in pushes what the real
//! server would push. [`script`] makes it misbehave; [`Relay`] is one streaming connection. Errors of the agent on the
//! wire are recorded as faults, and a server that is dropped with faults fails its test.

pub mod changes;
mod converse;
pub mod delayed;
pub mod model;
pub mod peer;
pub mod relay;
pub mod script;
mod serve;
mod socket;
pub mod tls;

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use rustls::ServerConfig;
use socket2::{Domain, Type};

use self::delayed::{Delay, Delayed};
use self::model::Model;
use self::relay::Relay;
use self::script::{Answer, Opening, Register, Script};
use self::socket::{Request, Socket};
use self::tls::Tls;
use super::agent::API_KEY;
use super::dataset::Dataset;
use super::{SOON, wait_until};

/// A running server. Dropping it ends it; faults of its agents then fail the test.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    port: u16,
    /// Keeps the port while the server does not listen.
    _placeholder: socket2::Socket,
    accepting: Mutex<Option<Accepting>>,
    lenient: bool,
}

#[derive(Debug)]
struct Accepting {
    /// The socket that listens.
    socket: socket2::Socket,
    thread: JoinHandle<()>,
}

/// The state that the threads of a server share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

/// What has happened, and the script of what shall happen, under one lock.
#[derive(Debug, Default)]
struct State {
    model: Model,
    script: Script,
    paths: Paths,
    registrations: Vec<Registration>,
    handshakes: Vec<(Instant, Request)>,
    relays: Vec<Arc<Relay>>,
    delayed: Vec<Delayed>,
    other_requests: Vec<String>,
    faults: Vec<String>,
    accepted: usize,
    sockets: Vec<Weak<Socket>>,
    tls: Option<Arc<ServerConfig>>,
    handshake_failures: Vec<String>,
}

/// Where the server answers.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Registrations.
    pub registers: Vec<String>,
    /// Streaming.
    pub streaming: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self { registers: vec!["/api/public/agent/register".into()], streaming: "/streaming".into() }
    }
}

/// A registration, and how it was answered.
#[derive(Clone, Debug)]
pub struct Registration {
    /// When it came.
    pub at: Instant,
    /// The whole request.
    pub request: Request,
    /// The status of the answer; 0 if it was none.
    pub status: u16,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with the lock")
    }

    fn fault(&self, what: String) {
        self.state().faults.push(what);
    }
}

impl Server {
    /// A server whose environments are all open to [`API_KEY`].
    pub fn start(data: &Dataset) -> Self {
        Self::start_with(Model::of(API_KEY, data))
    }

    /// A server of these data.
    pub fn start_with(model: Model) -> Self {
        let placeholder = bound(0);
        let address = placeholder.local_addr().expect("a bound socket has an address");
        let port = address.as_socket().expect("an IP address").port();
        let shared = Shared { state: Mutex::new(State { model, ..State::default() }) };
        let server = Self {
            shared: Arc::new(shared),
            port,
            _placeholder: placeholder,
            accepting: Mutex::new(None),
            lenient: false,
        };
        server.start_listening();
        server
    }

    /// Ignores faults on the wire, for tests that cause them on purpose.
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Serves under other paths.
    pub fn paths(self, paths: Paths) -> Self {
        self.state().paths = paths;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Its port, also while it does not listen.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as `StreamingUri`.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Its address as `StreamingUri` when it speaks TLS, under a name.
    pub fn tls_url(&self, host: &str) -> String {
        format!("wss://{host}:{}", self.port)
    }

    /// Uses TLS, or not, on later connections.
    pub fn set_tls(&self, tls: Option<Arc<ServerConfig>>) {
        self.state().tls = tls;
    }

    /// How TLS handshakes failed so far.
    pub fn handshake_failures(&self) -> Vec<String> {
        self.state().handshake_failures.clone()
    }

    /// Its address for `EventUri` and registrations.
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Refuses connections from now on. Open ones stay.
    pub fn stop_listening(&self) {
        // After a panic this runs in `drop`, where a second one would end the whole test program.
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(accepting) = accepting else { return };
        // Ends listening, and so the thread that accepts. To close the descriptor is not enough: another test may be just
        // starting a process, which has a copy of it until the new program runs.
        accepting.socket.shutdown(Shutdown::Both).expect("the socket listens");
        accepting.thread.join().expect("the thread that accepts does not panic");
    }

    /// Accepts connections again.
    pub fn start_listening(&self) {
        let mut accepting = self.accepting.lock().expect("no thread panics with the lock");
        if accepting.is_some() {
            return;
        }
        let socket = bound(self.port);
        socket.listen(1024).expect("the port is kept for this server");
        let listener = TcpListener::from(socket.try_clone().expect("a descriptor is free"));
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::spawn(move || accept(&shared, &listener));
        *accepting = Some(Accepting { socket, thread });
    }

    /// Refuses connections from now on, and resets the open ones.
    pub fn crash(&self) {
        self.stop_listening();
        let sockets: Vec<_> = self.state().sockets.iter().filter_map(Weak::upgrade).collect();
        for socket in &sockets {
            socket.reset();
        }
        for relay in self.relays() {
            relay.reset();
        }
    }

    /// Changes the script.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.state().script);
    }

    /// The answers to the next registrations.
    pub fn next_registers(&self, answers: impl IntoIterator<Item = Register>) {
        self.state().script.registers.extend(answers);
    }

    /// What happens to the next streaming connections.
    pub fn next_openings(&self, openings: impl IntoIterator<Item = Opening>) {
        self.state().script.openings.extend(openings);
    }

    /// The answers to the next requests for data.
    pub fn next_answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state().script.answers.extend(answers);
    }

    /// Delays every answer to a request for data until [`Self::release`].
    pub fn delay(&self, delay: Delay) {
        self.state().script.delay = Some(delay);
    }

    /// How many answers are delayed.
    pub fn delayed(&self) -> usize {
        self.state().delayed.len()
    }

    /// Sends the delayed answers, and delays no more.
    pub fn release(&self) {
        self.release_and(None);
    }

    /// Sends the delayed answers, and delays those to later requests.
    pub fn release_and_delay(&self, delay: Delay) {
        self.release_and(Some(delay));
    }

    fn release_and(&self, delay: Option<Delay>) {
        let mut state = self.state();
        state.script.delay = delay;
        for Delayed { relay, request, answer } in std::mem::take(&mut state.delayed) {
            let answer = answer.unwrap_or_else(|| state.model.answer(&relay.key, &relay.mapped, &request));
            relay.respond(answer);
        }
    }

    /// The registrations so far.
    pub fn registrations(&self) -> Vec<Registration> {
        self.state().registrations.clone()
    }

    /// The handshakes of streaming connections so far, refused ones as well.
    pub fn handshakes(&self) -> Vec<(Instant, Request)> {
        self.state().handshakes.clone()
    }

    /// How many connections of any kind were accepted.
    pub fn accepted(&self) -> usize {
        self.state().accepted
    }

    /// The targets of requests to paths that the server does not have.
    pub fn other_requests(&self) -> Vec<String> {
        self.state().other_requests.clone()
    }

    /// The streaming connections so far, in order.
    pub fn relays(&self) -> Vec<Arc<Relay>> {
        self.state().relays.clone()
    }

    /// The streaming connections that are open.
    pub fn open_relays(&self) -> Vec<Arc<Relay>> {
        self.relays().into_iter().filter(|relay| relay.is_open()).collect()
    }

    /// The newest open connection; waits for one, since an agent may just be replacing it.
    pub fn wait_open(&self) -> Arc<Relay> {
        wait_until("an open connection", SOON, || self.open_relays().pop())
    }

    /// How many full syncs were asked for so far, on all connections.
    pub fn fulls(&self) -> usize {
        self.relays().iter().map(|relay| relay.fulls()).sum()
    }

    /// Waits for the `number`th streaming connection, counted from 0.
    pub fn wait_relay(&self, number: usize) -> Arc<Relay> {
        wait_until(&format!("streaming connection {number}"), SOON, || self.relays().get(number).cloned())
    }

    /// Waits for a streaming connection that has asked for data, and is the `number`th counted from 0.
    pub fn wait_request(&self, number: usize) -> Arc<Relay> {
        let relay = self.wait_relay(number);
        wait_until("a request for data", SOON, || (!relay.requests().is_empty()).then_some(()));
        relay
    }

    /// Waits for both requests of a first connection: a full sync, and then which environments it covers. The agent sends no
    /// further request by itself.
    pub fn wait_synced(&self) {
        wait_until("both requests of a first connection", SOON, || {
            self.relays().iter().any(|relay| relay.requests().len() >= 2).then_some(())
        });
    }

    /// Waits for so many registrations.
    pub fn wait_registrations(&self, count: usize) -> Vec<Registration> {
        wait_until(&format!("{count} registrations"), SOON, || {
            let registrations = self.registrations();
            (registrations.len() >= count).then_some(registrations)
        })
    }

    /// The errors of agents on the wire.
    pub fn faults(&self) -> Vec<String> {
        self.state().faults.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_listening();
        for relay in self.relays() {
            relay.cut();
        }
        for socket in self.state().sockets.iter().filter_map(Weak::upgrade) {
            socket.end();
        }
        let faults = self.faults();
        if !self.lenient && !std::thread::panicking() {
            assert!(faults.is_empty(), "the agent broke the protocol: {faults:#?}");
        }
    }
}

/// A socket bound to the loopback, on a port that stays taken while any such socket is there.
fn bound(port: u16) -> socket2::Socket {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a socket option");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("the port is free");
    socket
}

/// Accepts connections until the socket no longer listens.
fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    while let Ok((tcp, _)) = listener.accept() {
        let mut state = shared.state();
        let Ok(socket) = Socket::accepted(tcp, state.tls.clone().map(Tls::new)) else { continue };
        let socket = Arc::new(socket);
        state.accepted += 1;
        if state.script.resets > 0 {
            state.script.resets -= 1;
            socket.reset();
            continue;
        }
        state.sockets.retain(|socket| socket.strong_count() > 0);
        state.sockets.push(Arc::downgrade(&socket));
        drop(state);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // Tests see on their own side how a connection ends.
            if let Err(error) = serve::serve(&shared, &socket)
                && let Some(failure) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>())
            {
                shared.state().handshake_failures.push(failure.to_string());
            }
        });
    }
}
