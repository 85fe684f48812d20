//! The event loop of one thread: polls, reads, writes, accepts, and does other work in bounded slices.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ServerConfig;

use super::descriptors::WAITING;
use super::io::secure::Secure;
use super::io::{Counters, Io, Limits, ORIGINS_MAX, SHARED_BUFFER_BYTES, Socket};
use super::service::{Origin, Service};
use super::slab::Key;
use super::ticks::Clock;

/// Events that one poll returns at most.
const EVENTS: usize = 1024;
/// Accepts from one listener in a row before connections are served.
const ACCEPTS_PER_TURN: usize = 64;
/// How often deadlines are checked.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

const WAKER: Token = Token(usize::MAX);
const FIRST_LISTENER: usize = usize::MAX - ORIGINS_MAX;

// Keys of connections are used as the poller's tokens.
const _: () = assert!(size_of::<usize>() == size_of::<u64>());

impl Socket for TcpStream {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }
}

/// A service that also does the work of a reactor which belongs to no single connection.
pub trait Driver<T: Socket>: Service {
    /// Another thread has used the waker: processes the messages in the mailbox.
    fn mail(&mut self, io: &mut Io<T, Self::Session>);

    /// Does a bounded slice of work that no event triggers. Returns whether there is more.
    fn work(&mut self, io: &mut Io<T, Self::Session>) -> bool;

    /// Called about twice a second while connections are open, and once after the last one has ended.
    fn tick(&mut self, io: &mut Io<T, Self::Session>);

    /// Called after each turn of the loop, with the time it was busy.
    fn turn_ended(&mut self, io: &Io<T, Self::Session>, busy: Duration);

    /// Whether the reactor accepts connections.
    fn is_accepting(&self) -> bool;

    /// Whether the reactor must end.
    fn is_done(&self) -> bool;
}

/// Options of a reactor.
#[derive(Debug)]
pub struct ReactorOptions {
    /// Limits of connections.
    pub limits: Limits,
    /// The allowance that each listener's connections count against, by listener.
    pub allowances: Vec<Arc<Allowance>>,
    /// The TLS configuration of each listener; `None` means without TLS.
    pub secure: Vec<Option<Arc<ArcSwap<ServerConfig>>>>,
    /// TLS handshakes that are processed before the other connections are served.
    pub handshakes_per_turn: usize,
    /// The plaintext answer to a peer that begins without TLS on a TLS port.
    pub plain_refusal: &'static [u8],
}

/// How many connections may be open at a time. All reactors share one, because the kernel distributes connections unevenly
/// over their listeners.
#[derive(Debug)]
pub struct Allowance(AtomicUsize);

impl Allowance {
    /// Allows `connections` open connections.
    pub fn new(connections: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(connections)))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn give_back(&self, connections: usize) {
        self.0.fetch_add(connections, Ordering::Relaxed);
    }
}

struct Listener {
    socket: TcpListener,
    allowance: Arc<Allowance>,
    secure: Option<Arc<ArcSwap<ServerConfig>>>,
    /// Connections that were taken from the allowance and not given back.
    taken: usize,
    /// Connections may be waiting, and no further event will report them.
    pending: bool,
}

/// One event loop with its connections and its service.
pub struct Reactor<D: Driver<TcpStream>> {
    poll: Poll,
    waker: Arc<Waker>,
    listeners: Vec<Listener>,
    io: Io<TcpStream, D::Session>,
    driver: D,
    buffer: Box<[u8]>,
    /// A list of connections, used again each turn.
    keys: Vec<Key>,
    clock: Clock,
    handshakes_per_turn: usize,
    plain_refusal: &'static [u8],
    /// The last tick found no connection, so there is nothing to do without an event.
    quiet: bool,
    /// Accepting failed because descriptors ran out. It is tried again when one becomes free, and at each tick, because not
    /// only connections use descriptors.
    out_of_descriptors: bool,
}

impl<D: Driver<TcpStream>> Reactor<D> {
    /// A reactor that accepts from `listeners`; the index of a listener is the [`Origin`] of its connections. `make` gets
    /// the waker with which other threads announce messages in the driver's mailbox.
    pub fn new(
        listeners: Vec<std::net::TcpListener>,
        options: &ReactorOptions,
        make: impl FnOnce(Arc<Waker>) -> D,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let mut kept = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let mut socket = TcpListener::from_std(listener);
            poll.registry().register(&mut socket, Token(FIRST_LISTENER + index), Interest::READABLE)?;
            let allowance =
                options.allowances.get(index).cloned().unwrap_or_else(|| Allowance::new(usize::MAX));
            let secure = options.secure.get(index).cloned().flatten();
            kept.push(Listener { socket, allowance, secure, taken: 0, pending: true });
        }
        let clock = Clock::new();
        Ok(Self {
            driver: make(waker.clone()),
            io: Io::new(options.limits, clock.now()),
            poll,
            waker,
            listeners: kept,
            buffer: vec![0; SHARED_BUFFER_BYTES].into_boxed_slice(),
            keys: Vec::new(),
            clock,
            handshakes_per_turn: options.handshakes_per_turn.max(1),
            plain_refusal: options.plain_refusal,
            quiet: false,
            out_of_descriptors: false,
        })
    }

    /// The waker of this reactor.
    pub fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Runs until the driver is done.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut next_sweep = Instant::now() + SWEEP_EVERY;
        let mut sweeping = false;
        let mut more_work = false;
        // What was posted before the loop began needs no wake-up.
        self.driver.mail(&mut self.io);
        while !self.driver.is_done() {
            let at_once = more_work
                || sweeping
                || self.io.has_runnable()
                || (!self.out_of_descriptors && self.listeners.iter().any(|listener| listener.pending))
                // No event can come any more: the driver is about to be done.
                || (self.io.is_empty() && !self.driver.is_accepting());
            let timeout = if at_once {
                Some(Duration::ZERO)
            } else if self.quiet && self.io.is_empty() && !self.out_of_descriptors {
                None
            } else {
                Some(next_sweep.saturating_duration_since(Instant::now()))
            };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let started = Instant::now();
            let now = self.clock.update();
            self.io.set_now(now);
            if self.handle(&events) {
                self.driver.mail(&mut self.io);
                self.io.reap(&mut self.driver);
            }
            self.run_again();
            self.process_handshakes();
            self.accept();
            more_work = self.driver.work(&mut self.io);
            if sweeping || started >= next_sweep {
                if !sweeping {
                    next_sweep = started + SWEEP_EVERY;
                    self.out_of_descriptors = false;
                    self.driver.tick(&mut self.io);
                    self.quiet = self.io.is_empty();
                }
                sweeping = self.io.sweep(&mut self.driver);
            }
            self.io.reap(&mut self.driver);
            self.quiet &= self.io.is_empty();
            self.give_back();
            self.watch_blocked();
            self.driver.turn_ended(&self.io, started.elapsed());
        }
        Ok(())
    }

    /// Handles the events of a turn. Returns whether the waker was among them.
    fn handle(&mut self, events: &Events) -> bool {
        let mut mail = false;
        for event in events {
            match event.token() {
                WAKER => {
                    mail = true;
                    // A descriptor may be free now.
                    self.out_of_descriptors = false;
                }
                Token(token) if token >= FIRST_LISTENER => {
                    if let Some(listener) = self.listeners.get_mut(token - FIRST_LISTENER) {
                        listener.pending = true;
                    }
                }
                Token(token) => {
                    let key = Key::from_u64(token as u64);
                    if event.is_writable() {
                        self.io.writable(key, &mut self.driver);
                    }
                    if event.is_readable() || event.is_read_closed() {
                        self.io.readable(key, event.is_read_closed(), &mut self.buffer, &mut self.driver);
                    }
                    if event.is_write_closed() {
                        self.io.hung_up(key);
                    }
                    self.io.reap(&mut self.driver);
                }
            }
        }
        mail
    }

    fn run_again(&mut self) {
        self.io.take_runnable(&mut self.keys);
        for key in &self.keys {
            self.io.readable(*key, false, &mut self.buffer, &mut self.driver);
            self.io.reap(&mut self.driver);
        }
    }

    fn process_handshakes(&mut self) {
        self.io.process_handshakes(self.handshakes_per_turn, &mut self.buffer, &mut self.driver);
        self.io.reap(&mut self.driver);
    }

    fn accept(&mut self) {
        if !self.driver.is_accepting() {
            return self.stop_accepting();
        }
        if self.out_of_descriptors {
            return;
        }
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                if !self.listeners[index].pending || self.out_of_descriptors {
                    break;
                }
                self.accept_one(index);
            }
        }
    }

    fn accept_one(&mut self, index: usize) {
        match self.listeners[index].socket.accept() {
            Ok(_) if !self.listeners[index].allowance.take() => self.io.counters.over_limit += 1,
            Ok((socket, _)) => {
                let Ok(key) = self.add(index, socket) else {
                    self.listeners[index].allowance.give_back(1);
                    self.io.counters.accept_errors += 1;
                    return;
                };
                self.listeners[index].taken += 1;
                if let Some(socket) = self.io.socket_mut(key)
                    && self
                        .poll
                        .registry()
                        .register(socket, Token(key.to_u64() as usize), Interest::READABLE)
                        .is_err()
                {
                    self.io.hung_up(key);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.listeners[index].pending = false,
            // Once this reactor is on the list it tries again, so that a descriptor freed in between is not missed.
            Err(error) if is_out_of_resources(&error) && WAITING.join(&self.waker) => {}
            Err(error) if is_out_of_resources(&error) => {
                self.io.counters.accept_errors += 1;
                self.io.counters.out_of_resources += 1;
                self.out_of_descriptors = true;
            }
            // An error of the one connection that was to be accepted.
            Err(_) => self.io.counters.accept_errors += 1,
        }
    }

    fn add(&mut self, index: usize, socket: TcpStream) -> Result<Key, rustls::Error> {
        let origin = Origin(index);
        Ok(match &self.listeners[index].secure {
            None => self.io.insert(socket, origin, &mut self.driver),
            Some(configuration) => {
                let secure = Secure::new(configuration.load_full(), self.plain_refusal)?;
                self.io.insert_secure(socket, secure, origin, &mut self.driver)
            }
        })
    }

    /// Returns the share of ended connections to the allowances, and wakes reactors that wait for descriptors.
    fn give_back(&mut self) {
        let mut freed = false;
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            let open = self.io.open_by_origin(Origin(index));
            listener.allowance.give_back(listener.taken - open);
            freed |= listener.taken > open;
            listener.taken = open;
        }
        if freed {
            self.out_of_descriptors = false;
            WAITING.wake();
        }
    }

    /// Accepts the connections that the kernel has already established, then closes the listeners.
    fn stop_accepting(&mut self) {
        for index in 0..self.listeners.len() {
            self.listeners[index].pending = true;
            while self.listeners[index].pending && !self.out_of_descriptors {
                self.accept_one(index);
            }
        }
        self.listeners.clear();
    }

    /// Watches connections whose socket was full for writability, until they end.
    fn watch_blocked(&mut self) {
        self.io.take_blocked(&mut self.keys);
        for key in &self.keys {
            if let Some(socket) = self.io.socket_mut(*key)
                && self
                    .poll
                    .registry()
                    .reregister(socket, Token(key.to_u64() as usize), Interest::READABLE | Interest::WRITABLE)
                    .is_err()
            {
                self.io.hung_up(*key);
            }
        }
    }

    /// The counters of the reactor's connections.
    pub fn counters(&self) -> &Counters {
        &self.io.counters
    }
}

/// Whether an accept failed because of a resource that other connections may free.
fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
