//! Recognizes peers that use another protocol on an HTTP/1 port.
//!
//! Must not serve them: it only recognizes the protocol, so that the peer gets an error in its own protocol.

/// A protocol whose first bytes differ from HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// HTTP/2 with prior knowledge (RFC 9113 section 3.3).
    Http2,
    /// The PROXY protocol of HAProxy, version 1 or 2, before the request.
    Proxy,
    /// TLS.
    Tls,
}

/// The first bytes of version 2 of the PROXY protocol, as many as distinguish it from HTTP.
const PROXY_2: &[u8] = b"\r\n\r\n\0";

/// An empty SETTINGS frame, then GOAWAY with HTTP_1_1_REQUIRED (RFC 9113 sections 6.5, 6.8, 7).
const USE_HTTP_1: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x14\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0Duse HTTP/1.1";

/// The alert `protocol_version`, fatal (RFC 8446 section 6).
const NO_TLS: &[u8] = b"\x15\x03\x01\0\x02\x02\x46";

impl Foreign {
    /// The protocol that begins with `bytes`; `None` if they may begin an HTTP/1 request.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"PRI * HTTP/2") {
            Some(Foreign::Http2)
        } else if is_proxy(bytes) {
            Some(Foreign::Proxy)
        } else if bytes.starts_with(b"\x16\x03") {
            Some(Foreign::Tls)
        } else {
            None
        }
    }

    /// The answer, in the peer's protocol, that tells it to use another one; `None` if the answer is an HTTP/1 response, which
    /// the client behind the proxy reads.
    pub fn answer(self) -> Option<&'static [u8]> {
        match self {
            Foreign::Http2 => Some(USE_HTTP_1),
            Foreign::Tls => Some(NO_TLS),
            Foreign::Proxy => None,
        }
    }
}

/// Whether a connection begins with the PROXY protocol.
fn is_proxy(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PROXY ") || bytes.starts_with(PROXY_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_known_by_their_first_bytes() {
        for (bytes, foreign) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], Some(Foreign::Http2)),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Some(Foreign::Proxy)),
            (b"PROXY UNKNOWN\r\n", Some(Foreign::Proxy)),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C", Some(Foreign::Proxy)),
            (b"\x16\x03\x01\x02\0\x01", Some(Foreign::Tls)),
            (b"PRI / HTTP/1.1\r\n", None),
            (b"\r\n\r\nGET / HTTP/1.1\r\n", None),
            (b"", None),
        ] {
            assert_eq!(Foreign::of(bytes), foreign, "{bytes:?}");
        }
    }

    #[test]
    fn http_2_is_told_in_whole_frames() {
        let (settings, goaway) = USE_HTTP_1.split_at(9);
        assert_eq!((settings[2], settings[3]), (0, 4));
        assert_eq!((usize::from(goaway[2]), goaway[3]), (goaway.len() - 9, 7));
        assert_eq!(goaway[13..17], [0, 0, 0, 0x0D]);
    }
}
