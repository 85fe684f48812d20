//! What the sync thread waits on: sockets of its sources, and a waker for everybody else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Registry, Token, Waker};

/// The waker's.
const WAKE: Token = Token(0);

/// Sources that can wait on one poller: tokens are dealt out in turn.
const SOURCES_MAX: usize = 16;

/// What the sync thread waits on.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    sources: usize,
}

impl Poller {
    /// With nothing to wait for but the waker.
    ///
    /// # Errors
    /// If the system has no more pollers.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        Ok(Self { poll, events: Events::with_capacity(64), waker, sources: 0 })
    }

    /// Wakes the thread that waits.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Where a source registers its sockets.
    ///
    /// # Errors
    /// If the system has no more descriptors.
    pub fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }

    /// The tokens of one more source.
    pub fn tokens(&mut self) -> Tokens {
        debug_assert!(self.sources < SOURCES_MAX, "tokens of two sources would be the same");
        let source = self.sources % SOURCES_MAX;
        self.sources += 1;
        Tokens { source }
    }

    /// Waits until something happens, or for `timeout`; returns the sockets on which something happened.
    ///
    /// # Errors
    /// If the system cannot wait.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<impl Iterator<Item = Token>> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            waited => waited?,
        }
        Ok(self.events.iter().map(mio::event::Event::token).filter(|token| *token != WAKE))
    }
}

/// The tokens of one source, which numbers its sockets as it likes.
#[derive(Debug)]
pub struct Tokens {
    source: usize,
}

impl Tokens {
    /// That of its socket of this number.
    pub fn of(&self, number: u64) -> Token {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        Token(number.saturating_mul(SOURCES_MAX).saturating_add(self.source + 1))
    }

    /// The number of the socket; `None` if it is another source's.
    pub fn number_of(&self, token: Token) -> Option<u64> {
        let place = token.0.checked_sub(1)?;
        (place % SOURCES_MAX == self.source).then_some((place / SOURCES_MAX) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_knows_its_own_tokens() {
        let mut poller = Poller::new().unwrap();
        let (first, second) = (poller.tokens(), poller.tokens());
        for number in [0, 1, 1_000_000] {
            assert_eq!(first.number_of(first.of(number)), Some(number));
            assert_eq!(second.number_of(second.of(number)), Some(number));
            assert_eq!(first.number_of(second.of(number)), None);
            assert_ne!(first.of(number), WAKE);
        }
        assert_eq!(first.number_of(WAKE), None);
    }
}
