//! Inputs for the tests of kernels.

/// `len` bytes that `seed` determines, about an eighth of them 0 and an eighth 255.
///
/// Shapes are what proptest should shrink; contents follow from one number (SplitMix64).
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let byte = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        match z >> 61 {
            0 => 0,
            1 => 255,
            _ => (z >> 40) as u8,
        }
    };
    std::iter::repeat_with(byte).take(len).collect()
}
