//! Lookup tables for functions of one u8 activation.

use std::ops::Range;

use super::qparams::QParams8;
use crate::isa::Isa;
use crate::lengths::check_same_len;
use crate::pool::{Pool, SharedMut};
use crate::reference;

/// Elements of one task.
const TASK: usize = 32 * 1024;

/// A lookup table for a function of one u8 activation: its output for each of the 256 inputs.
///
/// Any function of one element (sigmoid, hard-swish, requantization, …) can be computed this way,
/// exactly and at the same speed: `output = table[input]`.
///
/// ```
/// use posterize_kernels::f32::Unary;
/// use posterize_kernels::int8::{QParams8, Table};
/// use posterize_kernels::{Isa, Pool};
///
/// let from = QParams8 { scale: 0.5, zero_point: 128 };
/// let to = QParams8 { scale: 1.0 / 256.0, zero_point: 0 };
/// let sigmoid = Table::new(from, to, |x| Unary::Sigmoid.apply(x));
/// let mut q = [0; 3];
/// sigmoid.run(Isa::detect(), &Pool::new(1), &[0, 128, 255], &mut q);
/// assert_eq!(q, [0, 128, 255]); // sigmoid(63.5) / scale is 256, which saturates
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    values: [u8; 256],
}

impl Table {
    /// Makes the table of `quantize(f(dequantize(q)))`, with outputs in `0..=255`.
    ///
    /// `dequantize(q) = (q − from.zero_point) · from.scale` and `quantize(x) =
    /// clamp(round_half_even(x · (1 / to.scale)) + to.zero_point, 0, 255)` round as
    /// [`dequantize`](super::dequantize) and [`quantize`](super::quantize). A NaN becomes 255.
    ///
    /// # Panics
    /// If a scale is not positive and finite.
    pub fn new(from: QParams8, to: QParams8, f: impl Fn(f32) -> f32) -> Self {
        from.assert_valid();
        to.assert_valid();
        let value = |x| reference::quantize(to, 0, u8::MAX, f(x));
        Self { values: from.values().map(value) }
    }

    /// Makes a table from its outputs for the inputs 0 to 255, for instance those of
    /// [`requantize_table`](super::requantize_table).
    pub fn from_values(values: [u8; 256]) -> Self {
        Self { values }
    }

    /// The outputs for the inputs 0 to 255.
    pub fn values(&self) -> &[u8; 256] {
        &self.values
    }

    /// Returns the output for the input `q`.
    pub fn apply(&self, q: u8) -> u8 {
        self.values[usize::from(q)]
    }

    /// Applies the table to each element: `output[i] = table[input[i]]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn run(&self, isa: Isa, pool: &Pool, input: &[u8], output: &mut [u8]) {
        check_same_len("the output", output.len(), "the input", input.len());
        let output = SharedMut::new(output);
        for_each_task(pool, output.len(), |range| {
            // SAFETY: different tasks have ranges that do not overlap.
            let output = unsafe { output.slice(range.clone()) };
            self.run_here(isa, &input[range], output);
        });
    }

    /// Applies the table to each element of `values` in place.
    pub fn run_in_place(&self, isa: Isa, pool: &Pool, values: &mut [u8]) {
        let values = SharedMut::new(values);
        for_each_task(pool, values.len(), |range| {
            // SAFETY: different tasks have ranges that do not overlap.
            let values = unsafe { values.slice(range) };
            let (len, at) = (values.len(), values.as_mut_ptr());
            // SAFETY: `at` is valid for reads and writes of `len` bytes; source and target are the
            // same.
            unsafe { self.look_up(isa, at, at, len) };
        });
    }

    /// Applies the table to each element as [`Self::run`] does, on the calling thread.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn run_here(&self, isa: Isa, input: &[u8], output: &mut [u8]) {
        check_same_len("the output", output.len(), "the input", input.len());
        // SAFETY: both slices have `output.len()` elements, and they cannot overlap.
        unsafe { self.look_up(isa, input.as_ptr(), output.as_mut_ptr(), output.len()) };
    }

    /// Applies the table to `len` bytes.
    ///
    /// # Safety
    /// As for [`Backend::look_up`](crate::backend::Backend::look_up).
    unsafe fn look_up(&self, isa: Isa, from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: the caller guarantees what `Backend::look_up` requires.
        unsafe { isa.backend().look_up(&self.values, from, to, len) };
    }
}

/// Calls `work` with ranges that together cover `0..len`.
fn for_each_task(pool: &Pool, len: usize, work: impl Fn(Range<usize>) + Sync) {
    pool.run(len.div_ceil(TASK), &|task, _| work(task * TASK..len.min((task + 1) * TASK)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::int8::{dequantize, quantize, requantize_table, testing};

    fn qparams() -> impl Strategy<Value = QParams8> {
        let scale = prop_oneof![1e-4_f32..0.2, (-12_i32..3).prop_map(|e| 2f32.powi(e))];
        (scale, any::<u8>()).prop_map(|(scale, zero_point)| QParams8 { scale, zero_point })
    }

    proptest! {
        #[test]
        fn every_isa_looks_up_the_same(
            len in prop_oneof![0_usize..300, 65_400_usize..65_700], skip in 0_usize..70,
            threads in 1_usize..4, seed: u64,
        ) {
            let values: [u8; 256] = testing::bytes(256, seed).try_into().expect("256 bytes");
            let table = Table::from_values(values);
            // `testing::bytes` prefers the extremes; these inputs cover all bytes.
            let input: Vec<u8> = (0..len + skip)
                .map(|i| (i as u8).wrapping_mul(167).wrapping_add((seed >> 7) as u8))
                .collect();
            let expected: Vec<u8> = input.iter().map(|&q| values[usize::from(q)]).collect();
            let pool = Pool::new(threads);
            for isa in Isa::supported() {
                let mut output = vec![1; len + 2];
                table.run(isa, &pool, &input[skip..], &mut output[1..=len]);
                prop_assert_eq!(&output[1..=len], &expected[skip..], "{}", isa);
                prop_assert_eq!([output[0], output[len + 1]], [1, 1], "{}", isa);
                let mut in_place = input.clone();
                table.run_in_place(isa, &pool, &mut in_place[skip..]);
                prop_assert_eq!(&in_place[..skip], &input[..skip], "{}", isa);
                prop_assert_eq!(&in_place[skip..], &expected[skip..], "{}", isa);
            }
        }

        #[test]
        fn a_table_quantizes_what_the_function_makes_of_dequantized_values(
            from in qparams(), to in qparams(),
        ) {
            let (isa, pool) = (Isa::detect(), Pool::new(1));
            let q: Vec<u8> = (0..=255).collect();
            let functions: [fn(f32) -> f32; 4] = [|x| x, |x| x * x, |x| 1.0 / x, f32::sqrt];
            for f in functions {
                let mut x = vec![0.0; 256];
                dequantize(isa, &pool, from, &q, &mut x);
                for x in &mut x {
                    *x = f(*x);
                }
                let mut expected = vec![0; 256];
                quantize(isa, &pool, to, 0, 255, &x, &mut expected);
                prop_assert_eq!(Table::new(from, to, f).values().to_vec(), expected);
            }
            let same = Table::new(from, to, |x| x);
            prop_assert_eq!(same, Table::from_values(requantize_table(from, to, [0, 255])));
        }
    }

    #[test]
    #[should_panic(expected = "the output has 4 elements, but the input has 3")]
    fn inputs_and_outputs_of_different_lengths_are_refused() {
        let table = Table::from_values([0; 256]);
        table.run(Isa::detect(), &Pool::new(1), &[0; 3], &mut [0; 4]);
    }
}
