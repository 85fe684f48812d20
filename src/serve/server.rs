//! One reactor's server: its connections' sessions, its view of the data, and its duties between events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fanout::index::Index;
use crate::fanout::mailbox::{Mail, Mailbox};
use crate::fanout::secrets::SecretTable;
use crate::net::io::{Io, Socket};
use crate::net::reactor::Driver;
use crate::net::service::{Ended, Link, Origin, Service};
use crate::net::slab::Key;
use crate::payload::Payload;
use crate::store::Snapshot;

use crate::serve::drain::Drain;
use crate::serve::pressure::Hungry;
use crate::serve::session::{Door, Session, State};
use crate::serve::shared::Shared;

/// Output that one call may leave before the connection has to wait for its next turn.
const YIELD_BYTES: usize = 64 * 1024;

/// The [`Service`] of one reactor.
#[derive(Debug)]
pub struct Server {
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Mailbox,
    doors: Vec<Door>,
    /// The data this reactor serves from; advances only by mail.
    pub(super) view: Arc<Snapshot>,
    pub(super) index: Index,
    pub(super) secrets: SecretTable,
    /// Connections without a verdict, some of them gone.
    pub(super) held: Vec<Key>,
    /// Those of them that can be judged now.
    pub(super) to_judge: VecDeque<Key>,
    /// Connections whose secret is gone.
    pub(super) to_evict: VecDeque<Key>,
    /// Connections that wait until memory for their answer is free, the first come first.
    pub(super) hungry: VecDeque<Hungry>,
    /// One of them is being served: it has waited long enough.
    pub(super) feeding: bool,
    /// When the changes arrived that walks are still carrying out, by environment slot.
    pub(super) arrivals: Vec<Option<Instant>>,
    /// Connections of relays, and those of them that have to be looked at.
    pub(super) relays: Vec<Key>,
    pub(super) to_bring: VecDeque<Key>,
    /// This process and the agents above it, the nearest first.
    pub(super) path: Vec<String>,
    pub(super) draining: Option<Drain>,
    done: bool,
    pub(super) slice: Vec<(Key, crate::fanout::index::Place, u64)>,
    pub(super) frames: Vec<Payload>,
    pub(super) text: Vec<u8>,
    pub(super) meter: crate::serve::metrics::Meter,
}

impl Server {
    /// A server that shows behind each listener what its door is for.
    pub fn new(shared: Arc<Shared>, mailbox: Mailbox, doors: Vec<Door>) -> Self {
        let meter = crate::serve::metrics::Meter::new(&shared.metrics, &shared.options, shared.wall_ms);
        let path = vec![shared.options.instance.clone()];
        shared.reactor_accepts();
        Self {
            shared,
            mailbox,
            doors,
            view: Snapshot::empty(),
            index: Index::default(),
            secrets: SecretTable::default(),
            held: Vec::new(),
            to_judge: VecDeque::new(),
            to_evict: VecDeque::new(),
            hungry: VecDeque::new(),
            feeding: false,
            arrivals: Vec::new(),
            relays: Vec::new(),
            to_bring: VecDeque::new(),
            path,
            draining: None,
            done: false,
            slice: Vec::new(),
            frames: Vec::new(),
            text: Vec::new(),
            meter,
        }
    }

    /// The way to the writer.
    #[cfg(test)]
    pub(super) fn ingest(&self) -> &crate::ingest::Handle {
        &self.shared.ingest
    }

    /// The data this reactor serves from.
    pub fn view(&self) -> &Arc<Snapshot> {
        &self.view
    }

    fn take_mail<T: Socket>(&mut self, mail: Mail, io: &mut Io<T, Session>) {
        match mail {
            Mail::Change { change, arrived, in_service } => {
                self.take_change(&change, arrived);
                drop(in_service);
            }
            Mail::Reply { key, reply } => {
                io.visit(key, |link, session| self.answer_parked(link, session, reply));
            }
            Mail::RelayFull { key, full } => {
                io.visit(key, |link, session| self.send_relay_full(link, session, full));
            }
            Mail::Path(above) => self.take_path(&above, io),
            Mail::UpstreamStatus => self.take_upstream_status(io),
            Mail::Keys => self.take_keys(io),
            Mail::Drain(over) => self.begin_drain(over, io),
            Mail::Stop => self.done = true,
        }
    }
}

impl Service for Server {
    type Session = Session;

    fn open(&mut self, link: &mut Link<'_>, origin: Origin) -> Session {
        link.set_deadline(link.now().after(self.shared.options.head_time));
        let door = self.doors.get(origin.0).copied().unwrap_or(Door::Data);
        self.meter.accepted();
        Session::new(door)
    }

    fn input(&mut self, link: &mut Link<'_>, session: &mut Session, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if link.is_closing() {
                return bytes.len();
            }
            if matches!(session.state, State::Closing(_)) {
                self.drop_rest(link, session, &bytes[at..]);
                return bytes.len();
            }
            if link.is_blocked() {
                link.pause();
                return at;
            }
            if link.pending_bytes() > YIELD_BYTES {
                link.yield_input();
                return at;
            }
            let rest = &mut bytes[at..];
            let had_body = matches!(session.state, State::Body(_));
            let consumed = match &session.state {
                State::Head { .. } => self.take_head(link, session, rest),
                State::Body(_) => self.take_body(link, session, rest),
                State::Stream(_) => self.take_message(link, session, rest),
                State::Relay(_) => self.take_relay_message(link, session, rest),
                State::Echo(_) => self.take_echo(link, session, rest),
                State::Parked(_) | State::Held(_) => {
                    link.pause();
                    return at;
                }
                State::Closing(_) | State::Over => return bytes.len(),
            };
            if consumed == 0 {
                return at;
            }
            at += consumed;
            // A body may be dear to work through, and its answer small: one a turn.
            if had_body && !matches!(session.state, State::Body(_)) && at < bytes.len() {
                link.yield_input();
                return at;
            }
        }
        at
    }

    fn end_of_input(&mut self, link: &mut Link<'_>, session: &mut Session) {
        match &session.state {
            // The answer may still be wanted: a client may shut down its side once it has asked.
            State::Parked(_) => {}
            // Held back because the peer is slow to take what it asked for: it may have asked for more before.
            State::Head { .. } | State::Body(_) | State::Stream(_) | State::Relay(_) | State::Echo(_)
                if link.is_paused() => {}
            State::Head { .. }
            | State::Body(_)
            | State::Held(_)
            | State::Stream(_)
            | State::Relay(_)
            | State::Echo(_)
            | State::Closing(_)
            | State::Over => link.close(crate::net::service::Close::Flush),
        }
    }

    fn drained(&mut self, link: &mut Link<'_>, session: &mut Session) {
        match &session.state {
            State::Stream(_) => self.catch_up(link, session),
            State::Relay(_) => self.bring_relay(link, session),
            State::Closing(_) => self.close_frame_sent(link),
            State::Head { .. }
            | State::Body(_)
            | State::Parked(_)
            | State::Held(_)
            | State::Echo(_)
            | State::Over => {}
        }
        if !matches!(session.state, State::Parked(_) | State::Held(_)) {
            link.resume();
        }
    }

    fn deadline(&mut self, link: &mut Link<'_>, session: &mut Session) {
        self.out_of_time(link, session);
    }

    fn shed(&mut self, link: &mut Link<'_>, session: &mut Session, input: &[u8]) {
        self.give_up(link, session, input);
    }

    fn closed(&mut self, key: Key, session: Session, ended: Ended) {
        self.meter.closed(&session, ended);
        match session.state {
            State::Stream(stream) => {
                self.index.remove(stream.place);
                self.secrets.leave(stream.secret);
            }
            State::Relay(relay) => self.relay_left(key, &relay),
            State::Head { .. }
            | State::Body(_)
            | State::Parked(_)
            | State::Held(_)
            | State::Echo(_)
            | State::Closing(_)
            | State::Over => {}
        }
    }
}

impl<T: Socket> Driver<T> for Server {
    fn mail(&mut self, io: &mut Io<T, Session>) {
        while let Some(mail) = self.mailbox.take() {
            self.take_mail(mail, io);
        }
    }

    fn work(&mut self, io: &mut Io<T, Session>) -> bool {
        self.judge_some(io);
        self.evict_some(io);
        self.feed_some(io);
        self.walk_some(io);
        self.bring_some_relays(io);
        self.drain_some(io);
        !self.to_judge.is_empty()
            || !self.to_evict.is_empty()
            || !self.to_bring.is_empty()
            || self.index.is_walking()
            || self.is_sending_away()
            || self.can_feed(io)
    }

    fn tick(&mut self, io: &mut Io<T, Session>) {
        self.drain_more(io);
        let Self { meter, view, index, .. } = self;
        meter.publish_environments(view, index, io.is_empty());
    }

    fn turn_ended(&mut self, io: &Io<T, Session>, busy: Duration) {
        self.meter.turn_ended(&io.counters, io.pending_private_bytes(), busy);
    }

    fn is_accepting(&self) -> bool {
        self.draining.is_none()
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl Server {
    pub(super) fn finish(&mut self) {
        self.done = true;
    }
}
