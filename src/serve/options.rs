//! The settings for serving.

use crate::config::{Cors, Limits, Polling, Settings, Streaming};

use super::keys::Keys;

/// The settings for serving, in whole groups, so that a new setting of a group needs no change here.
#[derive(Clone, Debug)]
pub struct Options {
    /// A random name for this process, new at each start.
    pub instance: String,
    /// `agent` or `offline`.
    pub mode: &'static str,
    /// The keys of operators and downstream agents at the start.
    pub keys: Keys,
    /// Limits of time, size and number.
    pub limits: Limits,
    /// The streaming endpoint.
    pub streaming: Streaming,
    /// The polling endpoints.
    pub polling: Polling,
    /// Calls from browsers.
    pub cors: Cors,
    /// Path of the WebSocket echo, if there is one.
    pub echo_path: Option<String>,
    /// Whether metrics are served by the metrics port only.
    pub metrics_elsewhere: bool,
}

impl Options {
    /// The part of `settings` that serving needs. `instance`: the name of this process. `keys`: those at the start.
    pub fn new(settings: &Settings, keys: Keys, instance: String) -> Self {
        Self {
            instance,
            mode: settings.mode.as_str(),
            keys,
            limits: settings.limits.clone(),
            streaming: settings.streaming.clone(),
            polling: settings.polling.clone(),
            cors: settings.cors.clone(),
            echo_path: settings.echo_path.clone(),
            metrics_elsewhere: settings.metrics.is_some(),
        }
    }
}
