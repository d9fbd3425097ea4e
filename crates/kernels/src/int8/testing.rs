//! Random inputs for tests of int8 kernels.

/// Returns `len` bytes derived from `seed` by SplitMix64; about one in eight is 0 and one in eight
/// 255.
///
/// With contents that depend on a seed only, proptest shrinks shapes and not contents.
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
