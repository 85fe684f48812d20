//! Listens for announcements of other agents, on a connection and a thread of its own.
//!
//! Must not read data: it only tells the worker's thread. What it misses, polling finds.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::dial::{Dial, Failure, Listen};
use super::shared::Shared;
use super::text::Announcement;

/// How long one wait for a message lasts: a stop takes at most this long.
const WAIT: Duration = Duration::from_millis(250);
/// How long to wait after a refusal: until then, polling finds the changes.
const REFUSED: Duration = Duration::from_secs(60);

/// The thread for announcements.
pub(super) struct Listening<'a> {
    shared: &'a Shared,
    dial: &'a dyn Dial,
    backoff: Backoff,
    /// Whether the last attempt failed.
    lost: bool,
    /// The reason that was logged last.
    logged: Option<&'static str>,
}

impl<'a> Listening<'a> {
    pub fn new(shared: &'a Shared, dial: &'a dyn Dial) -> Self {
        let backoff = Backoff::new(shared.options.retry_first, shared.options.retry_last);
        Self { shared, dial, backoff, lost: false, logged: None }
    }

    /// Subscribes, again and again, until the worker stops. `random` draws for the pauses.
    pub fn run(mut self, random: impl Fn() -> u64) {
        let mailbox = &self.shared.mailbox;
        while !mailbox.wait_connected() {
            let Err(failure) = self.listen() else { return };
            let mut pause = self.backoff.failed(failure.refused, random());
            if failure.refused {
                pause = pause.max(REFUSED.min(self.shared.options.retry_last * 2));
            }
            // A connection that was lost once is opened again, and the worker's thread looks whether its own is lost too.
            if failure.refused || std::mem::replace(&mut self.lost, true) {
                self.polls(&failure);
            }
            mailbox.announce(None);
            if mailbox.pause(Instant::now() + pause) {
                return;
            }
        }
    }

    /// Hands announcements on. Returns without an error when the worker stops.
    fn listen(&mut self) -> Result<(), Failure> {
        let mut channel: Box<dyn Listen> = self.dial.listen(&self.shared.keys.changes)?;
        self.subscribed();
        let since = Instant::now();
        while !self.shared.mailbox.is_stopping() {
            match channel.next(WAIT) {
                Ok(Some(message)) => self.hand_on(&message),
                Ok(None) => {}
                Err(failure) => {
                    if since.elapsed() >= self.shared.options.retry_last {
                        self.backoff.reset();
                    }
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    fn hand_on(&self, message: &[u8]) {
        let announcement = Announcement::parse(message);
        if announcement.as_ref().is_some_and(|announced| announced.instance == self.shared.options.instance) {
            return;
        }
        self.shared.status.counting.announcements.fetch_add(1, Relaxed);
        self.shared.mailbox.announce(announcement);
    }

    /// Announcements come now. What came before is found by one look.
    fn subscribed(&mut self) {
        self.lost = false;
        if self.logged.take().is_some() {
            tracing::info!(
                redis = self.shared.status.get().address,
                "changes of other agents are announced again"
            );
        }
        if self.shared.status.change(|status| status.polling = None) {
            let _ = self.shared.emit_status();
        }
        self.shared.mailbox.announce(None);
    }

    /// Nothing is announced for now. One log line a reason.
    fn polls(&mut self, failure: &Failure) {
        if self.shared.mailbox.is_stopping() {
            return;
        }
        self.shared.status.counting.errors.fetch_add(1, Relaxed);
        if self.logged != Some(failure.kind) {
            self.logged = Some(failure.kind);
            tracing::warn!(
                redis = self.shared.status.get().address,
                channel = self.shared.keys.changes,
                poll_seconds = self.shared.options.poll.as_secs(),
                "cannot subscribe to changes of other agents, so this agent only polls for them: {failure}"
            );
        }
        if self.shared.status.change(|status| status.polling = Some(failure.text.clone())) {
            let _ = self.shared.emit_status();
        }
    }
}
