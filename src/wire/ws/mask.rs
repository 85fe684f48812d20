//! Masking of payloads (RFC 6455 section 5.3).
//!
//! Must not allocate or copy: a payload is unmasked in place.

/// Applies `key` to `payload` in place. Masking and unmasking are the same operation.
///
/// Works on words of eight bytes, so that the compiler can use vector instructions.
pub fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word_key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ word_key).to_ne_bytes();
    }
    // The rest starts at a multiple of eight, hence at the key's first byte.
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::unmask;
    use proptest::prelude::*;

    /// The plain twin: RFC 6455's own formula.
    fn unmask_byte_by_byte(payload: &mut [u8], key: [u8; 4]) {
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[index % 4];
        }
    }

    proptest! {
        #[test]
        fn equals_the_byte_by_byte_twin(
            payload in prop::collection::vec(any::<u8>(), 0..300),
            key: [u8; 4],
            offset in 0usize..9,
        ) {
            let offset = offset.min(payload.len());
            let (mut fast, mut plain) = (payload.clone(), payload.clone());
            unmask(&mut fast[offset..], key);
            unmask_byte_by_byte(&mut plain[offset..], key);
            prop_assert_eq!(&fast, &plain);
            unmask(&mut fast[offset..], key);
            prop_assert_eq!(fast, payload);
        }
    }
}
