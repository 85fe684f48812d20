//! Writes to the sockets, and closes connections step by step.

use std::time::Duration;

use super::super::outbox::{Flush, Outbox};
use super::super::service::{Close, Ended, Phase};
use super::super::slab::Key;
use super::Io;
use super::connection::{Connection, Socket, ended_by};

/// How long to wait for the end of a peer that has received all output.
const BRIEFLY: Duration = Duration::from_secs(1);

impl<T: Socket, S> Io<T, S> {
    /// Sends the output of a visit and takes the next step of closing.
    ///
    /// Blocked output is not touched: it is sent when the poller reports that the socket is writable. If it were sent here,
    /// that event would find nothing to do, and a service that waits for
    /// [`Service::drained`](super::super::service::Service::drained) would wait for ever.
    pub(super) fn settle(&mut self, key: Key) {
        self.send_and_close(key, false);
    }

    /// The same after the poller has reported that the socket is writable.
    pub(super) fn settle_writable(&mut self, key: Key) {
        self.send_and_close(key, true);
    }

    fn send_and_close(&mut self, key: Key, writable: bool) {
        let Self { slab, fresh, counters, now, blocked, memory, scratch, .. } = self;
        let Some(connection) = slab.get_mut(key) else { return };
        let Connection { core, socket, secure, .. } = connection;
        match core.phase {
            Phase::Dead => {
                *fresh = Outbox::default();
                return self.kill(key, Ended::Aborted);
            }
            Phase::Gone => return,
            _ => {}
        }
        let flushed = match (&mut core.outbox, secure) {
            (Some(_), _) if !writable => Ok((Flush::Blocked, 0)),
            (Some(outbox), None) => outbox.flush(socket),
            (None, None) if fresh.is_empty() => Ok((Flush::Done, 0)),
            (None, None) => fresh.flush(socket),
            (Some(outbox), Some(secure)) => secure.flush(outbox, socket, scratch),
            (None, Some(secure)) => secure.flush(fresh, socket, scratch),
        };
        match flushed {
            Ok((outcome, written)) => {
                counters.bytes_out += written as u64;
                if written > 0 {
                    core.progress = *now;
                }
                match (outcome, &core.outbox) {
                    (Flush::Done, Some(_)) => core.outbox = None,
                    (Flush::Done, None) => {}
                    (Flush::Blocked, Some(_)) => {}
                    (Flush::Blocked, None) => {
                        fresh.begin_wait(*now);
                        core.outbox = Some(Box::new(std::mem::take(fresh)));
                        core.progress = *now;
                        if !std::mem::replace(&mut core.writable_registered, true) {
                            blocked.push(key);
                        }
                    }
                }
            }
            Err(error) => {
                *fresh = Outbox::default();
                return self.kill(key, ended_by(&error));
            }
        }
        memory.count(connection, *now);
        if connection.core.outbox.is_none() {
            self.close_further(key);
        }
        if let Some(connection) = self.slab.get_mut(key)
            && connection.core.unread
            && !connection.core.paused
            && matches!(connection.core.phase, Phase::Open | Phase::Lingering { .. })
            && !std::mem::replace(&mut connection.core.queued, true)
        {
            self.runnable.push(key);
        }
    }

    /// Takes the next step of closing, after all output was sent.
    fn close_further(&mut self, key: Key) {
        let Some(connection) = self.slab.get_mut(key) else { return };
        let Phase::Flushing(how) = connection.core.phase else { return };
        if let Some(secure) = &mut connection.secure {
            match secure.send_close_notify(&mut connection.socket, &mut self.scratch) {
                Ok(written) => self.counters.bytes_out += written as u64,
                Err(error) => return self.kill(key, ended_by(&error)),
            }
            if secure.pending_bytes() > 0 {
                return self.block(key);
            }
        }
        if how == Close::Flush || connection.core.end_of_input || connection.socket.shutdown_write().is_err()
        {
            return self.kill(key, Ended::Closed);
        }
        let brief = how == Close::LingerBriefly;
        connection.core.phase = Phase::Lingering { brief };
        connection.core.input = None;
        connection.core.paused = false;
        connection.core.unread = true;
        let within = if brief { self.limits.close.min(BRIEFLY) } else { self.limits.close };
        connection.core.deadline = self.now.after(within);
    }

    /// Output that is in no outbox waits for the socket: the rest of a record.
    pub(super) fn block(&mut self, key: Key) {
        let Some(connection) = self.slab.get_mut(key) else { return };
        let core = &mut connection.core;
        if core.outbox.is_none() {
            let mut outbox = Outbox::default();
            outbox.begin_wait(self.now);
            core.outbox = Some(Box::new(outbox));
            core.progress = self.now;
        }
        if !std::mem::replace(&mut core.writable_registered, true) {
            self.blocked.push(key);
        }
    }
}
