//! Starts usage events and shows them.
//!
//! Must not open a connection, nor read proxy variables, where no mode sends events.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::client::{Dialer, ProxyEnvironment};
use crate::config::Settings;
use crate::insights::{self, Needs, Running};
use crate::store::Snapshot;
use crate::telemetry::metrics::{Metrics, Reader};

use super::clock::wall_ms;
use super::error::StartError;

/// Starts the threads of usage events, and shows them in the metrics.
///
/// # Errors
/// If a folder, a key, a file of certificates or a thread cannot be had.
pub(super) fn start(
    settings: &Settings,
    snapshot: &Arc<ArcSwap<Snapshot>>,
    instance: &str,
    metrics: &Metrics,
) -> Result<Running, StartError> {
    let dialer = settings.events.sends().then(|| {
        let proxies = ProxyEnvironment::from_variables(std::env::vars_os());
        Dialer::new(settings.dial.clone(), &proxies).map_err(StartError::Settings)
    });
    let running = insights::start(Needs {
        events: &settings.events,
        dialer: dialer.transpose()?,
        snapshot: Arc::clone(snapshot),
        instance: instance.to_owned(),
        wall_ms,
    })
    .map_err(StartError::Events)?;
    let (handle, snapshot) = (running.handle.clone(), Arc::clone(snapshot));
    metrics.show_events(Reader::new(move || {
        let snapshot = snapshot.load_full();
        handle.numbers(wall_ms(), |id| snapshot.label_of(id))
    }));
    Ok(running)
}
