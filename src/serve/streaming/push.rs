//! Changes on their way to the connections: walks through the index in bounded slices.

use std::sync::Arc;
use std::time::Instant;

use crate::fanout::secrets::Entrance;
use crate::model::secret::SecretKind;
use crate::net::io::{Io, Socket};
use crate::net::service::Link;
use crate::payload::Payload;
use crate::protocol::close::CloseCode;
use crate::store::{Change, EnvironmentSlot, PatchForm, Snapshot};
use crate::telemetry::metrics::Closed;
use crate::wire::ws::frame;

use crate::serve::server::Server;
use crate::serve::session::{Session, State, Stream, audience};

/// Connections closed between two looks at the sockets.
const EVICT_SLICE: usize = 256;

impl Server {
    /// Serves from new data from now on, and begins to tell the connections.
    pub(crate) fn take_change(&mut self, change: &Arc<Change>, arrived: Instant) {
        let answered = self.view.answered();
        self.view = change.snapshot.clone();
        for slot in &change.environments {
            self.index.environment_changed(*slot);
            if !self.index.is_walking_through(*slot) {
                continue;
            }
            let row = slot.0 as usize;
            if self.arrivals.len() <= row {
                self.arrivals.resize(row + 1, None);
            }
            self.arrivals[row].get_or_insert(arrived);
        }
        if change.secrets_changed || self.view.answered() != answered {
            self.judge_all();
        }
        self.relays_to_bring();
        if change.secrets_changed {
            self.find_revoked();
        }
    }

    /// Marks the connections that may have come in by a secret that no longer opens what they were let in to. Its
    /// grace is over: until then the snapshot still holds it.
    fn find_revoked(&mut self) {
        let Self { secrets, view, index, to_evict, .. } = self;
        let mut touched: Vec<(EnvironmentSlot, SecretKind)> =
            secrets.iter().filter(|entrance| !opens(view, entrance)).map(|e| (e.slot, e.kind)).collect();
        touched.sort_by_key(|(slot, kind)| (slot.0, *kind));
        touched.dedup();
        for (slot, kind) in touched {
            to_evict.extend(index.keys(slot, kind));
        }
    }

    pub(crate) fn evict_some<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        for _ in 0..EVICT_SLICE {
            let Some(key) = self.to_evict.pop_front() else { return };
            io.visit(key, |link, session| self.evict_if_revoked(link, session));
        }
    }

    fn evict_if_revoked(&mut self, link: &mut Link<'_>, session: &mut Session) {
        let State::Stream(stream) = &session.state else { return };
        let Some(entrance) = self.secrets.get(stream.secret).copied() else { return };
        if opens(&self.view, &entrance) {
            return;
        }
        if self.view.secret(&entrance.secret).is_some_and(|entry| entry.opens_to(entrance.kind).is_some()) {
            // It opens another environment now: whoever comes back is let in there, so it must not be stopped.
            self.close_stream(
                link,
                session,
                CloseCode::GOING_AWAY,
                "the secret opens another environment now",
            );
            session.why = Some(Closed::Revoked);
            return;
        }
        self.note_refused(crate::serve::metrics::Refusal::Revoked, Some(&entrance.secret));
        session.why = Some(Closed::Revoked);
        self.close_refused(link, session);
    }

    /// Brings the next slice of connections to the present state.
    pub(crate) fn walk_some<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        let mut slice = std::mem::take(&mut self.slice);
        let Self { view, index, .. } = self;
        let sequence_of = |slot| view.environment(slot).map_or(0, |environment| environment.sequence());
        if let Some((slot, finished)) = index.next_slice(sequence_of, &mut slice) {
            for (key, _, _) in &slice {
                io.visit(*key, |link, session| self.push(link, session));
                io.relieve(self);
            }
            if finished {
                let arrived = self.arrivals.get_mut(slot.0 as usize).and_then(Option::take);
                // Servers and clients of an environment are walked one after the other: the later one counts.
                if let Some(arrived) = arrived {
                    if self.index.is_walking_through(slot) {
                        self.arrivals[slot.0 as usize] = Some(arrived);
                    } else {
                        self.meter.change_delivered(arrived.elapsed());
                    }
                }
            }
        }
        slice.clear();
        self.slice = slice;
    }

    /// Sends a connection what it lacks. One that has not taken what it was sent before is *behind*: it gets
    /// one difference when it has.
    fn push(&mut self, link: &mut Link<'_>, session: &mut Session) {
        let State::Stream(stream) = &mut session.state else { return };
        if link.is_blocked() {
            return self.meter.behind();
        }
        // Who waits for memory, or has asked again, gets this change with its answer.
        if !stream.starving && stream.asked.is_none() {
            self.bring(link, stream);
        }
    }

    /// What a connection lacks, when it has taken all it was sent before.
    pub(crate) fn catch_up(&mut self, link: &mut Link<'_>, session: &mut Session) {
        let State::Stream(stream) = &mut session.state else { return };
        match stream.asked.take() {
            Some(timestamp_ms) => self.answer_sync(link, stream, timestamp_ms),
            None => self.bring(link, stream),
        }
    }

    fn bring(&mut self, link: &mut Link<'_>, stream: &mut Stream) {
        let Some(from) = self.index.sequence(stream.place) else { return };
        let Some(environment) = self.view.environment(stream.place.slot) else { return };
        let to = environment.sequence();
        if from >= to {
            return;
        }
        let sent = match &stream.user {
            Some(user) => {
                self.text.clear();
                let audience = audience(user, stream.sdk);
                let kind = environment.client_since(self.view.segments(), audience, from, &mut self.text);
                if kind.is_some() {
                    if !self.fits(link, self.text.len()) {
                        return self.starve(link, stream);
                    }
                    link.send(Payload::private(frame::text_frame(&self.text)));
                }
                kind
            }
            None => {
                self.frames.clear();
                let kind = environment.server_since(from, PatchForm::of(stream.sdk), &mut self.frames);
                if !self.fits(link, self.frames.iter().map(Payload::private_bytes).sum()) {
                    return self.starve(link, stream);
                }
                for payload in self.frames.drain(..) {
                    link.send(payload);
                }
                kind
            }
        };
        if let Some(kind) = sent {
            self.meter.delivered(kind);
        }
        self.index.bring(stream.place, to);
    }
}

/// Whether a secret still opens what connections were let in to by it.
fn opens(view: &Snapshot, entrance: &Entrance) -> bool {
    view.secret(&entrance.secret).is_some_and(|entry| entry.opens_to(entrance.kind) == Some(entrance.slot))
}
