//! The server's URLs: for streaming and for registration.
//!
//! Must not show the key, which is part of the streaming URL.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::{AbsoluteUri, Secret};
use crate::protocol::from_relay::STREAM_TYPE;

const REGISTER: &str = "/api/public/agent/register";

/// The characters that are percent-encoded in a query: all but the unreserved ones (RFC 3986). FeatBit's keys consist of
/// unreserved characters.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A FeatBit server, and the credentials for it.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// The server's address.
    pub uri: AbsoluteUri,
    /// The relay proxy's key.
    pub key: Secret,
    /// The name under which the agent registers.
    pub agent_id: String,
}

impl Endpoint {
    /// The paths to try for a registration: with the path prefix of the address, if it has one, and without.
    pub fn register_paths(&self) -> Vec<String> {
        let prefix = self.uri.path();
        let mut paths = vec![format!("{prefix}{REGISTER}")];
        if !prefix.is_empty() {
            paths.push(REGISTER.to_owned());
        }
        paths
    }

    /// The `Host` field.
    pub fn host(&self) -> String {
        let host = self.uri.host();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self.uri.port() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }

    /// The URL of the WebSocket. It contains the key.
    pub fn stream_url(&self) -> String {
        let token = utf8_percent_encode(self.key.expose(), UNRESERVED);
        // Always `ws`: the connection is open already, with TLS if needed.
        format!("ws://{}{}/streaming?type={STREAM_TYPE}&token={token}", self.host(), self.uri.path())
    }
}

/// The address, without credentials.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(uri: &str, key: &str) -> Endpoint {
        let uri = AbsoluteUri::parse(uri, &["ws", "wss", "http", "https"]).unwrap();
        Endpoint { uri, key: Secret::new(key.into()), agent_id: "a".into() }
    }

    #[test]
    fn a_prefix_is_kept_and_registrations_are_tried_without_it_too() {
        let plain = endpoint("ws://els:5100", "rp-key_1");
        assert_eq!(plain.register_paths(), ["/api/public/agent/register"]);
        assert_eq!(plain.stream_url(), "ws://els:5100/streaming?type=relay-proxy&token=rp-key_1");
        let below = endpoint("wss://els.example/featbit/els/?x=1#y", "rp-key_1");
        assert_eq!(
            below.register_paths(),
            ["/featbit/els/api/public/agent/register", "/api/public/agent/register"]
        );
        assert_eq!(
            below.stream_url(),
            "ws://els.example/featbit/els/streaming?type=relay-proxy&token=rp-key_1"
        );
        assert_eq!(endpoint("https://[::1]:7/", "k").host(), "[::1]:7");
    }

    #[test]
    fn the_key_cannot_leave_its_place_and_is_not_shown() {
        let odd = endpoint("ws://me:password@els", "rp-a&type=server#x y");
        assert_eq!(
            odd.stream_url(),
            "ws://els/streaming?type=relay-proxy&token=rp-a%26type%3Dserver%23x%20y"
        );
        let shown = format!("{odd} {odd:?}");
        assert!(!shown.contains("rp-a") && !shown.contains("password"), "{shown}");
    }
}
