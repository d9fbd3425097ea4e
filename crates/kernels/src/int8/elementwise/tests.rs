use proptest::prelude::*;

use super::*;
use crate::int8::{QParams8, testing};
use crate::isa::Isa;
use crate::reference;

fn qparams() -> impl Strategy<Value = QParams8> {
    let scale = prop_oneof![1e-4f32..0.2, (-12i32..3).prop_map(|e| 2f32.powi(e)), 1e-30f32..1e-20];
    let zero_point = prop_oneof![any::<u8>(), Just(0), Just(255)];
    (scale, zero_point).prop_map(|(scale, zero_point)| QParams8 { scale, zero_point })
}

fn range() -> impl Strategy<Value = [u8; 2]> {
    prop_oneof![Just([0, 255]), [any::<u8>(), any::<u8>()].prop_map(|[a, b]| [a.min(b), a.max(b)])]
}

/// Every pair of values and 13 more, so that the last chunk and the last vector are incomplete.
fn pairs() -> [Vec<u8>; 2] {
    let count = 65536 + 13;
    [(0..count).map(|i| i as u8).collect(), (0..count).map(|i| (i / 256) as u8).collect()]
}

proptest! {
    #[test]
    fn quantize_equals_the_reference(
        to in qparams(), range in range(), len in 0usize..200, threads in 1usize..4, seed: u64,
    ) {
        let input: Vec<f32> = testing::bytes(len, seed)
            .iter()
            .zip(testing::bytes(len, !seed))
            .map(|(&whole, kind)| {
                let near = (f32::from(whole) - f32::from(to.zero_point)) * to.scale;
                match kind % 16 {
                    0 => f32::NAN,
                    1 => f32::INFINITY,
                    2 => f32::NEG_INFINITY,
                    3 => near * 1e12,
                    4..8 => near,
                    8..12 => near + to.scale * 0.5,
                    _ => near + to.scale * f32::from(kind) / 256.0,
                }
            })
            .collect();
        let [qmin, qmax] = range;
        let expected: Vec<u8> =
            input.iter().map(|&x| reference::quantize(to, qmin, qmax, x)).collect();
        for isa in Isa::supported() {
            let mut output = vec![1; len];
            quantize(isa, &Pool::new(threads), to, qmin, qmax, &input, &mut output);
            prop_assert_eq!(&output, &expected, "{}", isa);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn sums_and_products_equal_the_reference(
        a in qparams(), b in qparams(), output in qparams(), range in range(), threads in 1usize..4,
    ) {
        let [qa, qb] = pairs();
        let [min, max] = range;
        let expected = |f: fn([QParams8; 2], QParams8, [u8; 2], [u8; 2]) -> u8| -> Vec<u8> {
            qa.iter().zip(&qb).map(|(&qa, &qb)| f([a, b], output, range, [qa, qb])).collect()
        };
        let [sum, product] = [expected(reference::add), expected(reference::mul)];
        let pool = Pool::new(threads);
        for isa in Isa::supported() {
            let mut out = vec![0; qa.len()];
            Add::new(isa, a, b, output, min, max).run(&pool, &qa, &qb, &mut out);
            prop_assert!(out == sum, "sum on {}", isa);
            Mul::new(isa, a, b, output, min, max).run(&pool, &qa, &qb, &mut out);
            prop_assert!(out == product, "product on {}", isa);
        }
    }

    #[test]
    fn one_sided_kernels_equal_the_reference(
        from in qparams(), to in qparams(), range in range(), threads in 1usize..4,
    ) {
        let [q, _] = pairs();
        let [min, max] = range;
        let pool = Pool::new(threads);
        let real: Vec<f32> = q.iter().map(|&q| reference::dequantize(from, q)).collect();
        let again: Vec<u8> =
            q.iter().map(|&q| reference::requantize_u8(from, to, range, q)).collect();
        let mut out = vec![0; q.len()];
        requantize_u8(&pool, from, to, range, &q, &mut out);
        prop_assert!(out == again, "requantize");
        for isa in Isa::supported() {
            let mut x = vec![f32::NAN; q.len()];
            dequantize(isa, &pool, from, &q, &mut x);
            prop_assert!(x == real, "dequantize on {}", isa);
            clamp(isa, &pool, min, max, &q, &mut out);
            prop_assert!(out.iter().zip(&q).all(|(&to, &from)| to == from.clamp(min, max)));
        }
    }
}

#[test]
fn quantizing_dequantized_values_gives_them_back() {
    let qparams = QParams8 { scale: 0.037, zero_point: 77 };
    let q: Vec<u8> = (0..=255).collect();
    let (mut x, mut back) = (vec![0.0; 256], vec![0; 256]);
    let (isa, pool) = (Isa::detect(), Pool::new(1));
    dequantize(isa, &pool, qparams, &q, &mut x);
    quantize(isa, &pool, qparams, 0, 255, &x, &mut back);
    assert_eq!(back, q);
}

#[test]
#[should_panic(expected = "scale 0 is not a positive number")]
fn a_scale_of_zero_is_refused() {
    let to = QParams8 { scale: 0.0, zero_point: 0 };
    quantize(Isa::SCALAR, &Pool::new(1), to, 0, 255, &[1.0], &mut [0]);
}
