//! A stand-in for a TCP connection with a poller that reports only changes (like epoll in its edge-triggered form).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

use featbit_agent::net::io::Socket;

/// Both directions of a connection, as stored by the two kernels.
#[derive(Debug, Default)]
pub struct Wire {
    /// Has arrived at the server and is not read yet.
    pub inbound: VecDeque<u8>,
    /// The client sends no more, and the server's kernel knows.
    pub in_closed: bool,
    /// Written by the server and not read by the client yet.
    pub outbound: VecDeque<u8>,
    /// How much of that the kernels store.
    pub capacity: usize,
    pub reset: bool,
    /// The server sends no more.
    pub shut_down: bool,
    /// The server has let go of its socket.
    pub dropped: bool,
    /// Something happened that the poller will report: input or its end; space.
    pub readable: bool,
    pub writable: bool,
    /// The poller is asked for room.
    pub watched: bool,
    pub clock_ms: Rc<Cell<u64>>,
    pub read_at_ms: u64,
    pub written_at_ms: u64,
    pub shut_down_at_ms: u64,
}

impl Wire {
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.outbound.len())
    }

    /// The client takes up to `count` bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.outbound.len());
        let taken = self.outbound.drain(..count).collect();
        if count > 0 && self.watched {
            self.writable = true;
        }
        taken
    }

    /// Bytes of the client arrive.
    pub fn arrive(&mut self, bytes: &[u8]) {
        if !self.dropped && !bytes.is_empty() {
            self.inbound.extend(bytes);
            self.readable = true;
        }
    }

    /// The client's end of sending arrives.
    pub fn end(&mut self) {
        if !std::mem::replace(&mut self.in_closed, true) {
            self.readable = true;
        }
    }

    pub fn is_write_closed(&self) -> bool {
        self.reset || self.shut_down && self.in_closed
    }
}

/// The server's socket.
#[derive(Debug)]
pub struct Fake(pub Rc<RefCell<Wire>>);

impl Read for Fake {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if wire.inbound.is_empty() {
            return if wire.in_closed { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        // What is thrown away after the end of the connection is no sign of life.
        if !wire.shut_down {
            wire.read_at_ms = wire.clock_ms.get();
        }
        let count = wire.inbound.len().min(buffer.len());
        wire.inbound.read_exact(&mut buffer[..count])?;
        Ok(count)
    }
}

impl Write for Fake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        assert!(!wire.shut_down, "written after the end of writing");
        let room = wire.room();
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut left = room;
        for slice in slices {
            let count = left.min(slice.len());
            wire.outbound.extend(&slice[..count]);
            left -= count;
        }
        wire.written_at_ms = wire.clock_ms.get();
        Ok(room - left)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Fake {
    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut wire = self.0.borrow_mut();
        if wire.reset {
            return Err(io::ErrorKind::NotConnected.into());
        }
        wire.shut_down = true;
        wire.shut_down_at_ms = wire.clock_ms.get();
        wire.readable |= wire.in_closed;
        Ok(())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let mut wire = self.0.borrow_mut();
        wire.dropped = true;
        // A close with unread input resets the connection, and what the client has not read yet is lost.
        if !wire.inbound.is_empty() {
            wire.outbound.clear();
            wire.inbound.clear();
        }
    }
}
