//! Where the sync thread waits: for the sockets of its sources, and for the waker that other threads use.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Registry, Token, Waker};

/// The token of the waker.
const WAKE: Token = Token(0);

/// How many sources one poller supports. The sources' tokens are interleaved.
const SOURCES_MAX: usize = 16;

/// Waits for sockets and for the waker.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    sources: usize,
}

impl Poller {
    /// A poller with a waker, and no sockets yet.
    ///
    /// # Errors
    /// If the system cannot create a poller.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        Ok(Self { poll, events: Events::with_capacity(64), waker, sources: 0 })
    }

    /// The waker, which wakes the waiting thread.
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

    /// Tokens for one more source.
    pub fn tokens(&mut self) -> Tokens {
        debug_assert!(self.sources < SOURCES_MAX, "tokens of two sources would be the same");
        let source = self.sources % SOURCES_MAX;
        self.sources += 1;
        Tokens { source }
    }

    /// Waits until a socket is ready, the waker is used, or `timeout` passes; returns the tokens of the ready sockets.
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

/// The tokens of one source, which chooses its sockets' numbers.
#[derive(Debug)]
pub struct Tokens {
    source: usize,
}

impl Tokens {
    /// The token of this source's socket with this number.
    pub fn of(&self, number: u64) -> Token {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        Token(number.saturating_mul(SOURCES_MAX).saturating_add(self.source + 1))
    }

    /// The number of the socket with this token; `None` if the token belongs to another source.
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
