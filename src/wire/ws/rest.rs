//! Drops what a peer sends after it was sent a close frame (RFC 6455 section 7.1), frame by frame, up to the peer's own close
//! frame.
//!
//! Must not keep a payload or check the protocol: also a peer that was closed for a violation sends frames with lengths.

use super::frame::MAX_CONTROL_PAYLOAD_BYTES;

/// The longest header without its mask.
const HEADER_BYTES_MAX: usize = 10;

/// A final close frame without reserved bits.
const CLOSE: u8 = 0x88;

/// Finds the peer's close frame in the input that is dropped.
#[derive(Debug, Default)]
pub struct Rest {
    /// Bytes of the current frame that are still to come.
    left: u64,
    /// The part of the next header that has arrived.
    header: [u8; HEADER_BYTES_MAX],
    held: u8,
    /// The current frame is the peer's close frame.
    closes: bool,
}

impl Rest {
    /// Starts with a frame of which `left` bytes are still to come.
    pub fn after(left: u64) -> Self {
        Self { left, ..Self::default() }
    }

    /// Drops bytes. Returns whether they complete the peer's close frame; anything after that has no meaning.
    pub fn drop(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let passed = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            self.left -= passed as u64;
            bytes = &bytes[passed..];
            if self.left > 0 {
                return false;
            }
            if self.closes {
                return true;
            }
            let Some((first, others)) = bytes.split_first() else { return false };
            self.header[usize::from(self.held)] = *first;
            self.held += 1;
            bytes = others;
            self.begin_frame();
        }
    }

    /// Begins a frame if its header is complete.
    fn begin_frame(&mut self) {
        let [first, second, long @ ..] = &self.header;
        let (long_bytes, short) = match second & 0x7F {
            _ if self.held < 2 => return,
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        if usize::from(self.held) < 2 + long_bytes {
            return;
        }
        let long = long[..long_bytes].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        self.left = (short + long).saturating_add(mask);
        // In input that is not frames, this is very unlikely to match by chance.
        self.closes = *first == CLOSE && usize::from(second & 0x7F) <= MAX_CONTROL_PAYLOAD_BYTES;
        self.held = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Rest;

    fn frame(first: u8, mask: bool, length: usize) -> Vec<u8> {
        let masked = if mask { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match length {
            0..126 => bytes.push(masked | length as u8),
            126..0x1_0000 => {
                bytes.push(masked | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        // A mask and a payload that look like close frames.
        bytes.extend(
            [0x88, 0x80, 0x88, 0x80].repeat(length / 4 + 2).iter().take(length + usize::from(masked) / 32),
        );
        bytes
    }

    proptest! {
        #[test]
        fn the_close_frame_is_found_after_any_frames_however_they_are_cut(
            frames in prop::collection::vec((any::<u8>(), any::<bool>(), prop_oneof![0usize..300, 65_000usize..66_000]), 0..6),
            reason in 0usize..124,
            mask: bool,
            left in 0u64..100,
            cuts in prop::collection::vec(1usize..20_000, 1..20),
        ) {
            let mut bytes = vec![0x88; left as usize];
            for (first, mask, length) in frames {
                // A close frame can be no other.
                let first = if first == 0x88 { 0x81 } else { first };
                bytes.extend(frame(first, mask, length));
            }
            bytes.extend(frame(0x88, mask, reason));
            let mut rest = Rest::after(left);
            let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
            while at < bytes.len() {
                let end = (at + cuts.next().unwrap_or(1)).min(bytes.len());
                prop_assert_eq!(rest.drop(&bytes[at..end]), end == bytes.len());
                at = end;
            }
            prop_assert!(rest.drop(b"more"), "what comes after it has no meaning");
        }

        #[test]
        fn any_bytes_are_dropped(bytes: Vec<u8>, more: Vec<u8>) {
            let mut rest = Rest::default();
            rest.drop(&bytes);
            rest.drop(&more);
        }
    }

    #[test]
    fn a_close_frame_that_is_none_is_a_frame_like_others() {
        for bytes in
            [&[0x08, 0x80, 1, 2, 3, 4][..], &[0xC8, 0x80, 1, 2, 3, 4], &[0x88, 0xFE, 0, 0, 1, 2, 3, 4]]
        {
            assert!(!Rest::default().drop(bytes), "{bytes:x?}");
        }
        let endless = [0x82, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        let mut rest = Rest::default();
        assert!(!rest.drop(&endless) && !rest.drop(&[0x88, 0x80, 1, 2, 3, 4]));
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Rest>() <= 24, "{}", size_of::<Rest>());
    }
}
