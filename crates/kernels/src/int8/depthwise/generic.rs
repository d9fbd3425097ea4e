//! Depthwise kernels for any window and instruction set, vectorized over channels by the compiler.

#![expect(
    clippy::inline_always,
    reason = "without inlining, the code would not be compiled for the caller's target features"
)]

use super::kernel::Row;
use super::pack;
use crate::geometry::Padding;
use crate::int8::elementwise::formula::Target;
use crate::int8::requantize;
use crate::int8::vectorize::{Loop, vectorize};
use crate::isa::Isa;
use crate::reference;

/// Maximum number of channels computed together, whose accumulators are on the stack.
const BLOCK: usize = 64;

/// Weights as `[kh · kw, channels]`, so that the channels of a tap are contiguous.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    weights: Vec<i16>,
    bias: Vec<i32>,
}

impl Packed {
    pub(super) fn new(conv: &reference::Conv2d<'_>) -> Self {
        let [kh, kw] = conv.geometry.kernel;
        let channels = conv.geometry.out_channels;
        let weights = (0..kh * kw)
            .flat_map(|tap| (0..channels).map(move |channel| (tap, channel)))
            .map(|(tap, channel)| pack::window(conv, channel)[tap].into())
            .collect();
        Self { weights, bias: (0..channels).map(|channel| pack::bias(conv, channel)).collect() }
    }

    pub(super) fn run_row<'a>(
        &self,
        isa: Isa,
        row: Row<'_>,
        rows: impl Fn(usize) -> Option<&'a [u8]>,
        output: &mut [u8],
    ) {
        let channels = self.bias.len();
        let g = row.geometry;
        if g.kernel == [1, 1]
            && g.stride[1] == 1
            && g.padding == Padding::default()
            && let Some(input) = rows(0)
        {
            return vectorize(isa, Scale { packed: self, row, input, output });
        }
        for (x, output) in output.chunks_exact_mut(channels).enumerate() {
            for (block, output) in output.chunks_mut(BLOCK).enumerate() {
                let first = block * BLOCK;
                vectorize(isa, Pixel { packed: self, row, rows: &rows, x, first, output });
            }
        }
    }
}

/// Computes an output row of a 1x1 window without padding: each value times the weight of its channel,
/// plus the bias. A batch norm that is not folded into another layer is such a convolution.
struct Scale<'p> {
    packed: &'p Packed,
    row: Row<'p>,
    input: &'p [u8],
    output: &'p mut [u8],
}

impl Loop for Scale<'_> {
    #[inline(always)]
    fn run(self) {
        let Packed { weights, bias } = self.packed;
        let r = self.row.requantize;
        let target = Target::new(r.zero_point, r.min, r.max);
        let pixels = self.input.chunks_exact(bias.len());
        for (output, input) in self.output.chunks_exact_mut(bias.len()).zip(pixels) {
            let channels = weights.iter().zip(bias).zip(&r.multiplier);
            for ((q, &x), ((&weight, &bias), &multiplier)) in
                output.iter_mut().zip(input).zip(channels)
            {
                let accumulator = bias.wrapping_add(i32::from(x) * i32::from(weight));
                *q = target.round(accumulator as f32 * multiplier);
            }
        }
    }
}

/// Computes at most [`BLOCK`] channels of one output pixel.
struct Pixel<'p, F> {
    packed: &'p Packed,
    row: Row<'p>,
    rows: &'p F,
    x: usize,
    first: usize,
    output: &'p mut [u8],
}

impl<'a, F: Fn(usize) -> Option<&'a [u8]>> Loop for Pixel<'_, F> {
    #[inline(always)]
    fn run(self) {
        let Self { packed, row, rows, x, first, output } = self;
        let all = packed.bias.len();
        let count = output.len();
        let g = row.geometry;
        let mut accumulators = [0; BLOCK];
        let accumulators = &mut accumulators[..count];
        accumulators.copy_from_slice(&packed.bias[first..first + count]);
        let mut weights = packed.weights.chunks_exact(all);
        for ky in 0..g.kernel[0] {
            let input_row = rows(ky);
            for kx in 0..g.kernel[1] {
                let column = (x * g.stride[1] + kx * g.dilation[1])
                    .checked_sub(g.padding.left)
                    .filter(|&column| column < row.width);
                let pixel = match (input_row, column) {
                    (Some(input_row), Some(column)) => &input_row[column * all..][..all],
                    _ => &row.outside[..all],
                };
                let Some(weights) = weights.next() else { unreachable!("fewer weights than taps") };
                let taps = pixel[first..first + count].iter().zip(&weights[first..first + count]);
                for (accumulator, (&q, &weight)) in accumulators.iter_mut().zip(taps) {
                    *accumulator = accumulator.wrapping_add(i32::from(q) * i32::from(weight));
                }
            }
        }
        let r = row.requantize;
        let multipliers = &r.multiplier[first..first + count];
        for ((q, &accumulator), &multiplier) in
            output.iter_mut().zip(&*accumulators).zip(multipliers)
        {
            *q = requantize(accumulator, multiplier, r.zero_point, r.min, r.max);
        }
    }
}
