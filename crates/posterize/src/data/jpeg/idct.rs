//! The inverse cosine transform of libjpeg-turbo, to the bit.

/// The order of coefficients in a file: `ZIGZAG[k]` is where the one of number k belongs.
pub(super) const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Fractional bits of the constants, and of what the first pass leaves to the second.
const CONST_BITS: u32 = 13;
const PASS1_BITS: u32 = 2;

/// Eight values through the transform of Loeffler, Ligtenberg and Moschytz (1989), with 11
/// multiplications: `jidctint` of libjpeg. Values beyond 16 bits wrap and saturate where
/// libjpeg-turbo's vector instructions do; valid files have none.
fn transform(values: [i16; 8], shift: u32) -> [i16; 8] {
    const F0_298: i32 = 2446;
    const F0_390: i32 = 3196;
    const F0_541: i32 = 4433;
    const F0_765: i32 = 6270;
    const F0_899: i32 = 7373;
    const F1_175: i32 = 9633;
    const F1_501: i32 = 12299;
    const F1_847: i32 = 15137;
    const F1_961: i32 = 16069;
    const F2_053: i32 = 16819;
    const F2_562: i32 = 20995;
    const F3_072: i32 = 25172;
    let [i0, i1, i2, i3, i4, i5, i6, i7] = values.map(i32::from);
    let wrapping = |sum: i32| i32::from(sum as i16);

    let even2 = i2 * F0_541 + i6 * (F0_541 - F1_847);
    let even3 = i2 * (F0_541 + F0_765) + i6 * F0_541;
    let even0 = wrapping(i0 + i4) << CONST_BITS;
    let even1 = wrapping(i0 - i4) << CONST_BITS;
    let even = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];

    let (z3, z4) = (wrapping(i7 + i3), wrapping(i5 + i1));
    let w3 = z3 * (F1_175 - F1_961) + z4 * F1_175;
    let w4 = z3 * F1_175 + z4 * (F1_175 - F0_390);
    let odd = [
        i7 * -F0_899 + i1 * (F1_501 - F0_899) + w4,
        i5 * -F2_562 + i3 * (F3_072 - F2_562) + w3,
        i5 * (F2_053 - F2_562) + i3 * -F2_562 + w4,
        i7 * (F0_298 - F0_899) + i1 * -F0_899 + w3,
    ];
    let scaled = |value: i32| {
        let rounded = value.wrapping_add(1 << (shift - 1)) >> shift;
        rounded.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    };
    let mut out = [0; 8];
    for k in 0..4 {
        out[k] = scaled(even[k].wrapping_add(odd[k]));
        out[7 - k] = scaled(even[k].wrapping_sub(odd[k]));
    }
    out
}

/// The 64 samples of a block, row by row, of its coefficients in zigzag order.
pub(super) fn inverse(coefficients: &[i16; 64], steps: &[u16; 64]) -> [u8; 64] {
    let mut block = [0_i16; 64];
    for ((at, coefficient), step) in ZIGZAG.into_iter().zip(coefficients).zip(steps) {
        block[at] = coefficient.wrapping_mul(*step as i16);
    }
    let flat = ZIGZAG.iter().zip(coefficients).all(|(at, value)| *at < 8 || *value == 0);
    for x in 0..8 {
        let column = std::array::from_fn(|y| block[8 * y + x]);
        let column = if flat {
            [column[0] << PASS1_BITS; 8]
        } else {
            transform(column, CONST_BITS - PASS1_BITS)
        };
        for (y, value) in column.into_iter().enumerate() {
            block[8 * y + x] = value;
        }
    }
    let mut samples = [0; 64];
    for (row, samples) in block.as_chunks::<8>().0.iter().zip(samples.as_chunks_mut::<8>().0) {
        *samples = transform(*row, CONST_BITS + PASS1_BITS + 3)
            .map(|value| (value.clamp(-128, 127) + 128) as u8);
    }
    samples
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{FRAC_1_SQRT_2, PI};

    use super::*;

    /// T.81, A.3.3, in floating point.
    fn reference(coefficients: &[i16; 64], steps: &[u16; 64]) -> [f64; 64] {
        let scale = |k: usize| if k == 0 { FRAC_1_SQRT_2 } else { 1.0 };
        std::array::from_fn(|at| {
            let (y, x) = (at / 8, at % 8);
            let wave = |k: usize, at: usize| ((2 * at + 1) as f64 * k as f64 * PI / 16.0).cos();
            let terms = ZIGZAG.iter().zip(coefficients).zip(steps).map(|((at, value), step)| {
                let (v, u) = (at / 8, at % 8);
                scale(u) * scale(v) * f64::from(*value) * f64::from(*step) * wave(u, x) * wave(v, y)
            });
            terms.sum::<f64>() / 4.0 + 128.0
        })
    }

    #[test]
    fn samples_are_those_of_the_formula() {
        let mut state = 1_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        for _ in 0..500 {
            let steps = std::array::from_fn(|_| 1 + random() as u16 % 30);
            let coefficients = std::array::from_fn(|k| {
                let limit = 200 / (1 + k as i32);
                (random() as i32 % (2 * limit + 1) - limit) as i16
            });
            let found = inverse(&coefficients, &steps);
            for (found, expected) in found.iter().zip(reference(&coefficients, &steps)) {
                assert!((f64::from(*found) - expected.clamp(0.0, 255.0)).abs() < 1.0);
            }
        }
    }

    #[test]
    fn a_zigzag_visits_every_place() {
        let mut places = ZIGZAG;
        places.sort_unstable();
        assert!(places.into_iter().eq(0..64));
    }
}
