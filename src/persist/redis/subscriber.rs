//! Listens for announcements of other agents, on a connection and a thread of its own.
//!
//! Must not read data: it only tells the worker's thread. What it misses, polling finds.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use redis::RedisError;

use super::backoff::Backoff;
use super::dial::{Dial, Failure};
use super::shared::Shared;
use super::text::Announcement;

/// How long one wait for a message lasts: a stop takes at most this long.
const LISTEN: Duration = Duration::from_millis(250);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// After this long without a message, the connection is checked.
const QUIET: Duration = Duration::from_secs(15);
/// How long to wait after a refusal: polling works meanwhile.
const REFUSED: Duration = Duration::from_secs(60);

/// Subscribes, again and again, until the worker stops. `random` draws for the pauses.
pub(super) fn run(shared: &Shared, dial: &dyn Dial, random: impl Fn() -> u64) {
    let mut backoff = Backoff::new(shared.options.retry_first, shared.options.retry_last);
    let mut logged = None;
    let mut lost = false;
    while !shared.mailbox.wait_connected() {
        let failure = match dial.subscribe() {
            Ok(mut connection) => match listen(shared, &mut connection, &mut backoff, &mut logged, &mut lost)
            {
                Ok(()) => return,
                Err(error) => dial.explain(&error),
            },
            Err(failure) => failure,
        };
        let pause = backoff.failed(failure.refused, random());
        let pause =
            if failure.refused { pause.max(REFUSED.min(shared.options.retry_last * 2)) } else { pause };
        // A connection that was lost once is opened again, and the worker's thread looks whether its own is lost too.
        if failure.refused || std::mem::replace(&mut lost, true) {
            polls(shared, &failure, &mut logged);
        }
        shared.mailbox.announce(None);
        if shared.mailbox.pause(Instant::now() + pause) {
            return;
        }
    }
}

/// Hands announcements on. Returns without an error when the worker stops.
fn listen(
    shared: &Shared,
    connection: &mut redis::Connection,
    backoff: &mut Backoff,
    logged: &mut Option<&'static str>,
    lost: &mut bool,
) -> Result<(), RedisError> {
    connection.set_write_timeout(Some(ANSWER))?;
    connection.set_read_timeout(Some(ANSWER))?;
    // `PubSub::subscribe` takes an error for an answer.
    connection
        .send_packed_command(&redis::cmd("SUBSCRIBE").arg(&shared.keys.changes).get_packed_command())?;
    connection.recv_response()?.extract_error()?;
    let mut channel = connection.as_pubsub();
    channel.set_read_timeout(Some(LISTEN))?;
    backoff.reset();
    *lost = false;
    subscribed(shared, logged);
    let mut heard = Instant::now();
    while !shared.mailbox.is_stopping() {
        match channel.get_message() {
            Ok(message) => {
                heard = Instant::now();
                hand_on(shared, message.get_payload_bytes());
            }
            Err(error) if error.is_timeout() => {
                if heard.elapsed() >= QUIET {
                    channel.set_read_timeout(Some(ANSWER))?;
                    channel.ping::<redis::Value>()?;
                    channel.set_read_timeout(Some(LISTEN))?;
                    heard = Instant::now();
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn hand_on(shared: &Shared, message: &[u8]) {
    let announcement = Announcement::parse(message);
    if announcement.as_ref().is_some_and(|announced| announced.instance == shared.options.instance) {
        return;
    }
    shared.status.counting.announcements.fetch_add(1, Relaxed);
    shared.mailbox.announce(announcement);
}

/// Announcements come now. What came before is found by one look.
fn subscribed(shared: &Shared, logged: &mut Option<&'static str>) {
    if logged.take().is_some() {
        tracing::info!(redis = shared.status.get().address, "changes of other agents are announced again");
    }
    let changed = shared.status.change(|status| status.polling = None);
    if changed {
        let _ = shared.emit_status();
    }
    shared.mailbox.announce(None);
}

/// Nothing is announced for now. One log line a reason.
fn polls(shared: &Shared, failure: &Failure, logged: &mut Option<&'static str>) {
    if shared.mailbox.is_stopping() {
        return;
    }
    shared.status.counting.errors.fetch_add(1, Relaxed);
    if *logged != Some(failure.kind) {
        *logged = Some(failure.kind);
        tracing::warn!(
            redis = shared.status.get().address,
            channel = shared.keys.changes,
            poll_seconds = shared.options.poll.as_secs(),
            "cannot subscribe to changes of other agents, so this agent only polls for them: {failure}"
        );
    }
    if shared.status.change(|status| status.polling = Some(failure.text.clone())) {
        let _ = shared.emit_status();
    }
}
