//! The one request that carries events to the server.
//!
//! Must not change a byte of an event, and must not pass on any header of an SDK's request: only the secret is of the SDK.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::client::http;
use crate::config::AbsoluteUri;
use crate::insights::events::Batch;
use crate::protocol::insight::{SENDER_FIELD, sender_name};
use crate::protocol::secret::Secret;

/// Where servers take events.
const TRACK: &str = "/api/public/insight/track";

/// How hard bodies are compressed: events repeat themselves so much that more effort saves little.
const LEVEL: u32 = 4;

/// Where events are sent, and by whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    uri: AbsoluteUri,
    path: String,
    host: String,
    /// Tells the name of this process, so that an agent whose own events come back to it notices.
    sender: String,
}

impl Target {
    /// The server at `uri`, for the process with this name.
    pub fn new(uri: AbsoluteUri, instance: &str) -> Self {
        let path = format!("{}{TRACK}", uri.path());
        let name = uri.host();
        let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
        let host = uri.port().map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
        Self { uri, path, host, sender: sender_name(instance) }
    }

    /// The server.
    pub fn uri(&self) -> &AbsoluteUri {
        &self.uri
    }

    /// The server's host and port, for log lines.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The bytes of the request that brings this body.
    pub fn request(&self, secret: &Secret, body: &Body) -> Vec<u8> {
        let mut fields = vec![
            ("Authorization", secret.as_str()),
            ("User-Agent", "featbit-agent"),
            ("Content-Type", "application/json; charset=utf-8"),
            (SENDER_FIELD, self.sender.as_str()),
        ];
        if body.is_gzip {
            fields.push(("Content-Encoding", "gzip"));
        }
        let request = http::Request {
            method: "POST",
            target: &self.path,
            host: &self.host,
            fields: &fields,
            body: &body.bytes,
        };
        request.to_bytes()
    }
}

/// A body: one JSON array.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    bytes: Vec<u8>,
    is_gzip: bool,
    /// How long the array is.
    plain_bytes: usize,
}

impl Body {
    /// All events of the batches, in order and unchanged.
    pub fn of(batches: &[Batch], gzip: bool) -> Self {
        let plain_bytes = 2 + texts(batches).map(|text| text.len() + 1).sum::<usize>().saturating_sub(1);
        if gzip && let Ok(bytes) = compressed(batches) {
            return Self { bytes, is_gzip: true, plain_bytes };
        }
        let mut bytes = Vec::with_capacity(plain_bytes);
        // Writing into a vector cannot fail.
        let _ = write(batches, &mut bytes);
        Self { bytes, is_gzip: false, plain_bytes }
    }

    /// How long the array is, before compression.
    pub fn plain_bytes(&self) -> usize {
        self.plain_bytes
    }
}

fn compressed(batches: &[Batch]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    write(batches, &mut encoder)?;
    encoder.finish()
}

fn write(batches: &[Batch], into: &mut impl Write) -> io::Result<()> {
    into.write_all(b"[")?;
    for (index, text) in texts(batches).enumerate() {
        if index > 0 {
            into.write_all(b",")?;
        }
        into.write_all(text)?;
    }
    into.write_all(b"]")
}

/// What is between the brackets, by batch.
fn texts(batches: &[Batch]) -> impl Iterator<Item = &[u8]> {
    batches.iter().map(|batch| &batch.events.text()[..]).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insights::sender::tests::batch;
    use proptest::prelude::*;
    use std::io::Read;

    fn target(uri: &str) -> Target {
        Target::new(AbsoluteUri::parse(uri, &["http", "https"]).unwrap(), "agent7")
    }

    #[test]
    fn a_request_has_these_fields_and_no_other() {
        let batches = [batch(&["{\"user\":{}}", "1"]), batch::<&str>(&[]), batch(&["[2]"])];
        let body = Body::of(&batches, false);
        let bytes = target("http://els:5100/below/").request(&batches[0].secret, &body);
        let expected = format!(
            "POST /below/api/public/insight/track HTTP/1.1\r\nHost: els:5100\r\nAuthorization: {}\r\n\
             User-Agent: featbit-agent\r\nContent-Type: application/json; charset=utf-8\r\n\
             X-FeatBit-User-Agent: featbit-agent/agent7\r\nContent-Length: 19\r\n\r\n[{{\"user\":{{}}}},1,[2]]",
            batches[0].secret.as_str()
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        let body = Body::of(&batches, true);
        let bytes = target("http://els:5100/below/").request(&batches[0].secret, &body);
        let head = String::from_utf8_lossy(&bytes);
        assert!(head.contains("\r\nContent-Encoding: gzip\r\nContent-Length: "), "{head}");
    }

    #[test]
    fn the_address_decides_path_and_host() {
        for (uri, path, host) in [
            ("http://els", "/api/public/insight/track", "els"),
            ("https://els:8443/", "/api/public/insight/track", "els:8443"),
            ("http://me:password@els/a/b?x#y", "/a/b/api/public/insight/track", "els"),
            ("http://[::1]:5100", "/api/public/insight/track", "[::1]:5100"),
        ] {
            let target = target(uri);
            assert_eq!((target.path.as_str(), target.host()), (path, host));
        }
    }

    proptest! {
        #[test]
        fn the_body_is_the_array_of_all_events_whether_compressed_or_not(
            given in prop::collection::vec(prop::collection::vec("[a-zäß,\"]{1,9}", 0..4), 0..5),
        ) {
            let batches: Vec<Batch> = given.iter().map(|texts| batch(texts)).collect();
            let expected = format!("[{}]", given.concat().join(","));
            let plain = Body::of(&batches, false);
            prop_assert_eq!(&plain.bytes, expected.as_bytes());
            prop_assert_eq!(plain.plain_bytes(), expected.len());
            let gzip = Body::of(&batches, true);
            prop_assert!(gzip.is_gzip && !plain.is_gzip);
            prop_assert_eq!(gzip.plain_bytes(), expected.len());
            let mut inflated = String::new();
            flate2::read::GzDecoder::new(&gzip.bytes[..]).read_to_string(&mut inflated).unwrap();
            prop_assert_eq!(inflated, expected);
        }
    }
}
