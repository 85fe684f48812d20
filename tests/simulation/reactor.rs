//! One reactor without a poller and a thread: the order of its duties is that of the real loop, what happens when is
//! the simulation's choice.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use featbit_agent::fanout::mailbox::{Mailbox, Wake};
use featbit_agent::net::io::{Io, Limits};
use featbit_agent::net::reactor::Driver;
use featbit_agent::net::service::Origin;
use featbit_agent::net::slab::Key;
use featbit_agent::net::ticks::Tick;
use featbit_agent::serve::{ListenerRole, Server, Session, Shared};

use crate::rng::Rng;
use crate::wire::{Fake, Wire};

struct Bell(Arc<AtomicBool>);

impl Wake for Bell {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

pub struct Reactor {
    pub io: Io<Fake, Session>,
    pub server: Server,
    pub mailbox: Mailbox,
    woken: Arc<AtomicBool>,
    buffer: Vec<u8>,
    registered: Vec<(Key, Rc<RefCell<Wire>>)>,
    next_sweep_ms: u64,
    sweeping: bool,
    pub more_work: bool,
}

/// Which of the poller's news of connections a turn gets to see.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum News {
    None,
    Some,
    All,
}

fn tick(now_ms: u64) -> Tick {
    Tick::NEVER.after(Duration::from_millis(now_ms + 100))
}

impl Reactor {
    pub fn new(rng: &mut Rng, shared: &Arc<Shared>, limits: Limits, now_ms: u64) -> Self {
        let woken = Arc::new(AtomicBool::new(false));
        let mailbox = Mailbox::new(Bell(woken.clone()));
        Self {
            io: Io::new(limits, tick(now_ms)),
            server: Server::new(shared.clone(), mailbox.clone(), vec![ListenerRole::Data]),
            mailbox,
            woken,
            buffer: vec![0; *rng.pick(&[64, 1000, 128 * 1024])],
            registered: Vec::new(),
            next_sweep_ms: now_ms,
            sweeping: false,
            more_work: false,
        }
    }

    pub fn accept(&mut self, wire: &Rc<RefCell<Wire>>, now_ms: u64) {
        self.io.set_now(tick(now_ms));
        let key = self.io.insert(Fake(wire.clone()), Origin(0), &mut self.server);
        self.registered.push((key, wire.clone()));
    }

    /// Whether a turn would find anything to do.
    pub fn is_busy(&self) -> bool {
        let told = |wire: &Wire| wire.readable || wire.writable;
        self.more_work
            || self.sweeping
            || self.io.has_runnable()
            || self.woken.load(Ordering::Relaxed)
            || self.registered.iter().any(|(_, wire)| !wire.borrow().dropped && told(&wire.borrow()))
    }

    /// One turn of the loop, as `net::reactor` has it.
    pub fn turn(&mut self, rng: &mut Rng, news: News, now_ms: u64) {
        self.io.set_now(tick(now_ms));
        self.registered.retain(|(_, wire)| !wire.borrow().dropped);
        let mut order: Vec<usize> = (0..self.registered.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, rng.below(at + 1));
        }
        for at in order {
            if news == News::All || news == News::Some && rng.percent(70) {
                self.event(rng, at);
            }
        }
        if (news != News::Some || rng.percent(60)) && self.woken.swap(false, Ordering::Relaxed) {
            self.server.mail(&mut self.io);
            self.io.reap(&mut self.server);
        }
        let mut keys = Vec::new();
        self.io.take_runnable(&mut keys);
        for key in keys {
            self.io.readable(key, false, &mut self.buffer, &mut self.server);
            self.io.reap(&mut self.server);
        }
        self.more_work = self.server.work(&mut self.io);
        if self.sweeping || now_ms >= self.next_sweep_ms {
            if !self.sweeping {
                self.next_sweep_ms = now_ms + 500;
                Driver::<Fake>::tick(&mut self.server, &mut self.io);
            }
            self.sweeping = self.io.sweep(&mut self.server);
        }
        self.io.reap(&mut self.server);
        let mut keys = Vec::new();
        self.io.take_blocked(&mut keys);
        for key in keys {
            if let Some(socket) = self.io.socket_mut(key) {
                let mut wire = socket.0.borrow_mut();
                wire.watched = true;
                wire.writable |= wire.room() > 0;
            }
        }
        self.server.turn_ended(&self.io, Duration::ZERO);
    }

    fn event(&mut self, rng: &mut Rng, at: usize) {
        let (key, wire) = self.registered[at].clone();
        let (readable, writable, read_closed, write_closed) = {
            let mut wire = wire.borrow_mut();
            if wire.dropped || !(wire.readable || wire.writable) {
                return;
            }
            let readable = std::mem::take(&mut wire.readable);
            // An event reports everything that is true at its time.
            let also = wire.watched && wire.room() > 0 && rng.percent(80);
            let writable = std::mem::take(&mut wire.writable) || also;
            let closed = wire.in_closed || wire.reset;
            (readable || !wire.inbound.is_empty() || closed, writable, closed, wire.is_write_closed())
        };
        if writable {
            self.io.writable(key, &mut self.server);
        }
        if readable {
            self.io.readable(key, read_closed, &mut self.buffer, &mut self.server);
        }
        if write_closed {
            self.io.hung_up(key);
        }
        self.io.reap(&mut self.server);
    }
}
