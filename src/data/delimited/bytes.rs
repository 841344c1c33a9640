//! Which bytes of 64 equal a given one.

use wide::u8x16;

/// Bytes looked at together; a bit each in a mask.
pub(super) const CHUNK: usize = 64;

/// A bit for each byte of a chunk that equals this one.
#[inline]
pub(super) fn equal(chunk: &[u8; CHUNK], byte: u8) -> u64 {
    let quarter = |bytes: &[u8; 16]| u64::from(u8x16::new(*bytes).simd_eq(u8x16::splat(byte)).to_bitmask());
    chunk.as_chunks().0.iter().zip(0..).fold(0, |mask, (bytes, at)| mask | quarter(bytes) << (16 * at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_equal_byte_has_its_bit(bytes in prop::array::uniform32(0_u8..4), byte in 0_u8..4, high in 0_u8..2) {
            let chunk: [u8; CHUNK] = [bytes.map(|byte| byte | high << 7), bytes].concat().try_into().unwrap();
            let expected = (0..CHUNK).fold(0, |mask, at| mask | u64::from(chunk[at] == byte) << at);
            prop_assert_eq!(equal(&chunk, byte), expected);
        }
    }
}
