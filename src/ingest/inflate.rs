//! Bodies that come compressed.

use std::fmt;
use std::io::Read;

use flate2::read::MultiGzDecoder;

/// Why a compressed body could not be unfolded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateFault {
    /// It is not gzip, or cut off.
    Broken,
    /// It unfolds to more than allowed.
    TooLarge,
}

impl InflateFault {
    /// The HTTP status that says so.
    pub fn status(self) -> u16 {
        match self {
            InflateFault::Broken => 400,
            InflateFault::TooLarge => 413,
        }
    }
}

impl fmt::Display for InflateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InflateFault::Broken => "the body is not valid gzip, as its Content-Encoding says",
            InflateFault::TooLarge => "the unfolded body is larger than allowed",
        })
    }
}

/// Unfolds a gzip body (RFC 1952) of at most `bytes_max`.
pub fn inflate(bytes: &[u8], bytes_max: u64) -> Result<Vec<u8>, InflateFault> {
    let mut unfolded = Vec::new();
    let mut decoder = MultiGzDecoder::new(bytes).take(bytes_max.saturating_add(1));
    decoder.read_to_end(&mut unfolded).map_err(|_| InflateFault::Broken)?;
    if unfolded.len() as u64 > bytes_max { Err(InflateFault::TooLarge) } else { Ok(unfolded) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn unfolds_up_to_the_limit_and_not_a_byte_more() {
        let text = vec![b'a'; 100_000];
        let folded = gzip(&text);
        assert!(folded.len() < 1000, "a small body that unfolds to a large one");
        assert_eq!(inflate(&folded, 100_000), Ok(text));
        assert_eq!(inflate(&folded, 99_999), Err(InflateFault::TooLarge));
    }

    #[test]
    fn says_that_a_body_is_broken() {
        let folded = gzip(b"hello, hello, hello");
        assert_eq!(inflate(&folded[..folded.len() - 1], 100), Err(InflateFault::Broken));
        assert_eq!(inflate(b"{}", 100), Err(InflateFault::Broken));
    }
}
