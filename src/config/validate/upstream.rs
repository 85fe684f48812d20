//! Settings of agent mode, and of a single query to a server.
//!
//! Must not check settings that other modes need as well.

use super::check::Check;
use crate::config::definition::Key;
use crate::config::error::SettingError;
use crate::config::secret::Secret;
use crate::config::settings::{Access, Mode, Upstream};
use crate::config::uri::AbsoluteUri;

impl Check<'_> {
    /// How a server is reached; `None` means that an error was reported.
    pub(super) fn access(&mut self) -> Option<Access> {
        let (api_key, streaming_uri) = (self.api_key(), self.uri(Key::StreamingUri));
        for (key, missing) in [
            (Key::ApiKey, !self.is_given(Key::ApiKey) && !self.is_given(Key::ApiKeyFile)),
            (Key::StreamingUri, !self.is_given(Key::StreamingUri)),
        ] {
            if missing {
                let name = key.definition().name;
                self.raw.push_missing(SettingError::missing(name, "is needed to query a server", "Set it"));
            }
        }
        self.check_key(api_key.as_ref());
        self.check_user(streaming_uri.as_ref());
        let (dial, sync) = (self.dial(), self.duration(Key::UpstreamSyncSeconds));
        let message_bytes_max = self.bytes(Key::LimitsBootstrapBytes);
        Some(Access { streaming_uri: streaming_uri?, api_key: api_key?, dial, message_bytes_max, sync })
    }

    /// Reports a key that cannot be sent in a header field.
    fn check_key(&mut self, api_key: Option<&Secret>) {
        if api_key.is_some_and(|key| !key.expose().bytes().all(|byte| byte.is_ascii_graphic())) {
            self.raw.errors.push(SettingError::missing(
                "ApiKey",
                "contains characters that no key of FeatBit has",
                "Copy the key of the relay proxy from FeatBit again",
            ));
        }
    }

    /// Reports a user and password in the address: they would have to be sent in the header field that carries the key.
    fn check_user(&mut self, uri: Option<&AbsoluteUri>) {
        if uri.is_some_and(|uri| uri.user_info().is_some()) {
            let name = Key::StreamingUri.definition().name;
            self.raw.errors.push(SettingError::at(
                name,
                self.raw.origin(Key::StreamingUri),
                "contains a user or password, which are never sent: the agent sends the ApiKey in their place",
                "Remove them. A gateway that requires a login must let the agent through by its address, or by a client \
                 certificate (Upstream__ClientCertificateFile)",
            ));
        }
    }

    pub(super) fn agent_mode(
        &mut self,
        streaming_uri: Option<AbsoluteUri>,
        api_key: Option<&Secret>,
        data_file: bool,
    ) -> Mode {
        let agent_id = self.text(Key::AgentId);
        let missing = [
            (Key::ApiKey, !self.is_given(Key::ApiKey) && !self.is_given(Key::ApiKeyFile)),
            (Key::AgentId, agent_id.is_none()),
            (Key::StreamingUri, !self.is_given(Key::StreamingUri)),
        ];
        for (key, missing) in missing {
            if missing {
                self.raw.push_missing(SettingError::missing(
                    key.definition().name,
                    "is needed in auto mode",
                    "Set it, or set Mode=offline",
                ));
            }
        }
        self.check_key(api_key);
        self.check_user(streaming_uri.as_ref());
        if data_file {
            self.raw.warnings.push(SettingError::missing(
                "DataFile",
                "is ignored in auto mode, where the data comes from the server",
                "Remove it, or set Mode=offline",
            ));
        }
        let errors = self.raw.errors.len();
        let (ping, silence) =
            (self.duration(Key::UpstreamPingSeconds), self.duration(Key::UpstreamSilenceSeconds));
        if silence <= ping && self.raw.errors.len() == errors {
            self.raw.errors.push(SettingError::at(
                Key::UpstreamSilenceSeconds.definition().name,
                self.raw.origin(Key::UpstreamSilenceSeconds),
                "is not longer than Upstream__PingSeconds, so every connection would be dropped",
                "Make it two or three times as long",
            ));
        }
        let resync = self.duration(Key::UpstreamResyncSeconds);
        // Parsed even if others are missing, so that all errors are reported together.
        let retry = self.duration(Key::UpstreamRetrySeconds);
        let sync = self.duration(Key::UpstreamSyncSeconds);
        let read_min_bytes_per_second = self.bytes(Key::UpstreamReadMinBytesPerSecond);
        let unknown_secret_resync = self.duration(Key::UpstreamUnknownSecretResyncSeconds);
        let status = self.duration(Key::UpstreamStatusSeconds);
        let (Some(agent_id), Some(streaming_uri)) = (agent_id, streaming_uri) else {
            return Mode::Offline;
        };
        Mode::Agent(Box::new(Upstream {
            agent_id,
            streaming_uri,
            retry,
            ping,
            silence,
            sync,
            read_min_bytes_per_second,
            resync: if resync.is_zero() { None } else { Some(resync) },
            unknown_secret_resync,
            status,
        }))
    }
}
