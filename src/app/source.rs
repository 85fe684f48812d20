//! Creates the sources of data that the settings name.

use crate::client::{Dialer, ProxyEnvironment};
use crate::config::Settings;
use crate::ingest::Following;
use crate::protocol::status::SyncState;
use crate::sync::file::DataFile;
use crate::sync::upstream::{Opener, Upstream};
use crate::sync::{Poller, Source};
use crate::telemetry::metrics::Metrics;

use super::clock::wall_ms;
use super::error::StartError;

/// The sources of data, not started yet.
pub(super) fn of(
    settings: &Settings,
    poller: &mut Poller,
    following: &Following,
    metrics: &Metrics,
    own: &str,
) -> Result<Vec<Box<dyn Source>>, StartError> {
    let Some(upstream) = settings.mode.upstream() else {
        let file = settings.data_file.as_ref().map(|file| -> Box<dyn Source> {
            Box::new(DataFile::new(file.path.clone(), file.poll, settings.limits.bootstrap_bytes))
        });
        return Ok(file.into_iter().collect());
    };
    let proxies = ProxyEnvironment::from_variables(std::env::vars_os());
    let dialer = Dialer::new(settings.dial.clone(), &proxies).map_err(StartError::Settings)?;
    if let Some(warning) = dialer.warning(wall_ms() / 1000) {
        tracing::warn!("{warning}");
    }
    if let Some(proxy) = dialer.proxy_of(&upstream.streaming_uri) {
        tracing::info!(%proxy, "connections to the server go through a proxy");
    }
    let Some(access) = settings.access() else { return Ok(Vec::new()) };
    let opener = Opener::new(access, upstream.agent_id.clone(), dialer);
    following.update(|status| {
        status.state = SyncState::Starting;
        status.upstream = Some(upstream.streaming_uri.to_string());
    });
    let upstream = Upstream::new(opener, upstream, poller, metrics, own.to_owned(), wall_ms)
        .map_err(|error| StartError::new("a poller cannot be opened", error))?;
    Ok(vec![Box::new(upstream)])
}
