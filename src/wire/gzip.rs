//! Bodies that are compressed with gzip (RFC 1952).

use std::fmt;
use std::io::Read;

use flate2::read::MultiGzDecoder;

/// Why a compressed body cannot be used. Its text is for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GzipError {
    /// It is not gzip, or it is cut off.
    Broken,
    /// It is larger than allowed once it is decompressed.
    TooLarge,
}

impl fmt::Display for GzipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GzipError::Broken => "the body is not valid gzip, as its Content-Encoding says",
            GzipError::TooLarge => "the decompressed body is larger than allowed",
        })
    }
}

/// Decompresses a whole body to at most `bytes_max` bytes. No more than that is ever held in memory.
pub fn decompress(bytes: &[u8], bytes_max: u64) -> Result<Vec<u8>, GzipError> {
    let mut text = Vec::new();
    let mut decoder = MultiGzDecoder::new(bytes).take(bytes_max.saturating_add(1));
    decoder.read_to_end(&mut text).map_err(|_| GzipError::Broken)?;
    if text.len() as u64 > bytes_max { Err(GzipError::TooLarge) } else { Ok(text) }
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
    fn decompresses_up_to_the_limit_and_not_a_byte_more() {
        let text = vec![b'a'; 100_000];
        let compressed = gzip(&text);
        assert!(compressed.len() < 1000, "a small body that becomes a large one");
        assert_eq!(decompress(&compressed, 100_000), Ok(text));
        assert_eq!(decompress(&compressed, 99_999), Err(GzipError::TooLarge));
    }

    #[test]
    fn rejects_a_broken_body() {
        let compressed = gzip(b"hello, hello, hello");
        assert_eq!(decompress(&compressed[..compressed.len() - 1], 100), Err(GzipError::Broken));
        assert_eq!(decompress(b"{}", 100), Err(GzipError::Broken));
    }
}
