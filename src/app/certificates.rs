//! The thread that watches the TLS files.

use crossbeam::channel::{RecvTimeoutError, bounded};

use crate::config::Settings;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::Certificates;

use super::clock::wall_ms;
use super::error::StartError;
use super::signals::OnHangup;

/// Loads the certificates of the `https` addresses; `None` if there is none.
pub(super) fn load(settings: &Settings, metrics: &Metrics) -> Result<Option<Certificates>, StartError> {
    let Some(tls) = &settings.tls else { return Ok(None) };
    Certificates::load(tls, metrics.tls()).map(Some).map_err(StartError::Settings)
}

/// Checks the files until the process ends, and loads them at once on SIGHUP.
pub(super) fn watch(
    mut certificates: Certificates,
    settings: &Settings,
    on_hangup: &OnHangup,
) -> Result<(), StartError> {
    let Some(poll) = settings.tls.as_ref().map(|tls| tls.poll) else { return Ok(()) };
    let (hangup, hangups) = bounded(1);
    on_hangup.add("the TLS files are read again", move || {
        // If one is already waiting, it covers this one too.
        let _ = hangup.try_send(());
    });
    let watch = move || {
        loop {
            certificates.look(wall_ms() / 1000);
            match hangups.recv_timeout(poll) {
                Ok(()) => certificates.reload(wall_ms() / 1000),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    let started = std::thread::Builder::new().name("certificates".into()).spawn(watch);
    started.map(drop).map_err(|error| StartError::new("a thread cannot be started", error))
}
