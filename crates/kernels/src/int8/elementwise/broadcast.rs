//! Addition, subtraction and multiplication of two quantized activations with broadcasting.

use super::binary::{Add, Mul};
use super::sub::Sub;
use crate::broadcast::{Broadcast, combine};
use crate::pool::Pool;

impl Add {
    /// Adds `a` and `b` with broadcasting; each pair of elements as [`Add::run`].
    ///
    /// `a` and `b` have the shapes that `plan` was made from, `output` has [`Broadcast::shape`].
    ///
    /// # Panics
    /// If the length of a slice differs from its shape.
    pub fn run_broadcast(
        &self,
        pool: &Pool,
        plan: &Broadcast,
        a: &[u8],
        b: &[u8],
        output: &mut [u8],
    ) {
        combine(self.isa, pool, plan, self.formula(), a, b, output);
    }
}

impl Sub {
    /// Subtracts `b` from `a` with broadcasting; each pair of elements as [`Sub::run`].
    ///
    /// `a` and `b` have the shapes that `plan` was made from, `output` has [`Broadcast::shape`].
    ///
    /// # Panics
    /// If the length of a slice differs from its shape.
    pub fn run_broadcast(
        &self,
        pool: &Pool,
        plan: &Broadcast,
        a: &[u8],
        b: &[u8],
        output: &mut [u8],
    ) {
        combine(self.isa, pool, plan, self.formula, a, b, output);
    }
}

impl Mul {
    /// Multiplies `a` and `b` with broadcasting; each pair of elements as [`Mul::run`].
    ///
    /// `a` and `b` have the shapes that `plan` was made from, `output` has [`Broadcast::shape`].
    ///
    /// # Panics
    /// If the length of a slice differs from its shape.
    ///
    /// ```
    /// use posterize_kernels::int8::{Mul, QParams8};
    /// use posterize_kernels::{Broadcast, Isa, Pool};
    ///
    /// // Squeeze-and-excitation: each channel of a `[1, 2, 1, 2]` image times its own factor.
    /// let pixels = QParams8 { scale: 0.5, zero_point: 10 };
    /// let gate = QParams8 { scale: 1.0 / 256.0, zero_point: 0 };
    /// let mul = Mul::new(Isa::detect(), pixels, gate, pixels, 0, 255);
    /// let plan = Broadcast::new(&[1, 2, 1, 2], &[1, 1, 1, 2])?;
    /// let mut output = [0; 4];
    /// mul.run_broadcast(&Pool::new(1), &plan, &[20, 20, 6, 6], &[128, 64], &mut output);
    /// assert_eq!(output, [15, 12, 8, 9]); // 2.5 rounds to the even 2
    /// # Ok::<(), posterize_kernels::BroadcastError>(())
    /// ```
    pub fn run_broadcast(
        &self,
        pool: &Pool,
        plan: &Broadcast,
        a: &[u8],
        b: &[u8],
        output: &mut [u8],
    ) {
        combine(self.isa, pool, plan, self.formula, a, b, output);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broadcast::testing::shapes;
    use crate::int8::{QParams8, testing};
    use crate::isa::Isa;
    use crate::reference;

    fn qparams() -> impl Strategy<Value = QParams8> {
        let scale = prop_oneof![1e-4_f32..0.2, (-12_i32..3).prop_map(|e| 2f32.powi(e))];
        let zero_point = prop_oneof![any::<u8>(), Just(0), Just(255)];
        (scale, zero_point).prop_map(|(scale, zero_point)| QParams8 { scale, zero_point })
    }

    type Reference = fn([QParams8; 2], QParams8, [u8; 2], [u8; 2]) -> u8;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn every_isa_equals_the_reference(
            [a_shape, b_shape] in shapes(), qa in qparams(), qb in qparams(), out in qparams(),
            ends in [any::<u8>(), any::<u8>()], threads in 1_usize..4, count in 1_usize..4,
            seed: u64,
        ) {
            let [min, max] = [ends[0].min(ends[1]) / 4, ends[0].max(ends[1])];
            let plan = Broadcast::new(&a_shape, &b_shape).expect("they broadcast");
            let [a_len, b_len] = plan.input_len();
            let [a, b] = [a_len, b_len].map(|len| testing::bytes(count * len, seed ^ len as u64));
            let expected = |f: Reference| -> Vec<u8> {
                let f = |a, b| f([qa, qb], out, [min, max], [a, b]);
                (0..count).flat_map(|i| {
                    let (a, b) = (&a[i * a_len..][..a_len], &b[i * b_len..][..b_len]);
                    reference::broadcast(plan.shape(), (&a_shape, a), (&b_shape, b), f)
                }).collect()
            };
            let expected = [reference::add, reference::sub, reference::mul].map(expected);
            let pool = Pool::new(threads);
            for isa in Isa::supported() {
                let mut results = [(); 3].map(|()| vec![1; count * plan.len()]);
                let [sum, difference, product] = &mut results;
                Add::new(isa, qa, qb, out, min, max).run_broadcast(&pool, &plan, &a, &b, sum);
                Sub::new(isa, qa, qb, out, min, max)
                    .run_broadcast(&pool, &plan, &a, &b, difference);
                Mul::new(isa, qa, qb, out, min, max).run_broadcast(&pool, &plan, &a, &b, product);
                prop_assert!(results == expected, "{}", isa);
            }
        }
    }

    #[test]
    fn every_pair_of_bytes_subtracts_as_the_reference() {
        let a: Vec<u8> = (0..=255).collect();
        let plan = Broadcast::new(&[256, 1], &[256]).unwrap();
        let pool = Pool::new(1);
        for (scale, zero_point) in [(0.037, 77), (0.5, 0), (1e-3, 255)] {
            let qa = QParams8 { scale, zero_point };
            let qb = QParams8 { scale: 0.02, zero_point: 131 };
            let out = QParams8 { scale: 0.05, zero_point: 99 };
            let expected =
                reference::broadcast(&[256, 256], (&[256, 1], &a), (&[256], &a), |a, b| {
                    reference::sub([qa, qb], out, [0, 255], [a, b])
                });
            let each = |f: &dyn Fn(usize) -> u8| (0..65536).map(f).collect::<Vec<u8>>();
            let (left, right) = (each(&|i| (i / 256) as u8), each(&|i| i as u8));
            for isa in Isa::supported() {
                let sub = Sub::new(isa, qa, qb, out, 0, 255);
                let mut output = vec![1; 65536];
                sub.run_broadcast(&pool, &plan, &a, &a, &mut output);
                assert!(output == expected, "{isa}");
                output.fill(1);
                sub.run(&pool, &left, &right, &mut output);
                assert!(output == expected, "{isa}");
            }
        }
    }
}
