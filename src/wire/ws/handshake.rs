//! The answer to a WebSocket upgrade (RFC 6455 section 4.2.2).
//!
//! Must not look at the request: `http1` decides whether it is a valid upgrade.

use tungstenite::handshake::derive_accept_key;

/// Whether `key` is a valid `Sec-WebSocket-Key`: 24 characters of base64 for 16 bytes (RFC 6455 section 4.1). Unused bits of
/// the last character may be set, as in other servers.
pub fn is_key(key: &str) -> bool {
    let Some(digits) = key.strip_suffix("==") else { return false };
    digits.len() == 22
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// Appends the whole `101 Switching Protocols` answer for a request with the given `Sec-WebSocket-Key`, with one more
/// header field if there is one.
pub fn accept_response(key: &str, field: Option<(&str, &str)>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(derive_accept_key(key.as_bytes()).as_bytes());
    if let Some((name, value)) = field {
        for part in ["\r\n", name, ": ", value] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::{accept_response, is_key};

    #[test]
    fn answers_the_rfc_example() {
        let mut out = Vec::new();
        accept_response("dGhlIHNhbXBsZSBub25jZQ==", Some(("A", "b")), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 101 "));
        assert!(text.ends_with("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nA: b\r\n\r\n"));
    }

    #[test]
    fn a_key_is_16_bytes_in_base64() {
        assert!(is_key("dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(is_key("++++//////AAAAzzzz9999=="));
        for key in
            ["", "==", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===", "dGhlIHNhbXBsZSBub25j", "x"]
        {
            assert!(!is_key(key), "{key}");
        }
        assert!(!is_key("dGhlIHNhbXBsZSBub25j-Q=="));
        assert!(!is_key("dGhlIHNhbXBsZSBub25jé=="));
        assert!(!is_key("dGhlIHNhbXBsZSBub2 jZQ=="));
    }
}
