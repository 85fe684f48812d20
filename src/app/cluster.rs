//! The cluster's Redis: its worker, and what connects that to the data.
//!
//! Must not wait for Redis: an agent starts, serves and stops without it.

use std::sync::Arc;

use mio::Waker;

use crate::config::Settings;
use crate::persist::redis::connect::Connector;
use crate::persist::redis::{Options, State, Worker};
use crate::telemetry::metrics::{Metrics, Reader, RedisNumbers};

use super::error::StartError;

/// Starts the worker, if the settings name a Redis. It wakes the sync thread when there is something for it.
///
/// # Errors
/// If files of the settings cannot be used, or if there can be no more threads.
pub(super) fn start(
    settings: &Settings,
    instance: &str,
    waker: Arc<Waker>,
    metrics: &Metrics,
) -> Result<Option<Arc<Worker>>, StartError> {
    let Some(redis) = &settings.redis else { return Ok(None) };
    let connector = Connector::new(redis).map_err(StartError::Redis)?;
    let options = Options { poll: redis.poll, ..Options::new(&redis.key_prefix, instance) };
    let wake = move || {
        // If this fails, the sync thread looks within a minute.
        let _ = waker.wake();
    };
    let worker = Worker::start(Arc::new(connector), options, Box::new(wake))
        .map_err(|error| StartError::new("a thread cannot be started", error))?;
    let worker = Arc::new(worker);
    let shown = Arc::clone(&worker);
    metrics.show_redis(Reader::new(move || numbers(&shown)));
    Ok(Some(worker))
}

fn numbers(worker: &Worker) -> RedisNumbers {
    let status = worker.status();
    let counters = status.counters;
    RedisNumbers {
        connected: status.state == State::Connected,
        records: status.records,
        sequence: status.sequence,
        lag: status.lag,
        commands: counters.commands,
        records_read: counters.records_read,
        records_written: counters.records_written,
        announcements: counters.announcements,
        reconnects: counters.reconnects,
        errors: counters.errors,
        unreadable: counters.unreadable,
        overflows: counters.overflows,
    }
}
