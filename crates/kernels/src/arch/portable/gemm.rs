//! The portable matrix-product kernel, which computes one dot product at a time.

use std::ops::Range;

use crate::int8::gemm::kernel::{Output, Packed, Rows};
use crate::int8::pack::Operand;
use crate::int8::requantize::Requantize;

/// Number of columns of a panel, the unit in which columns are divided between threads.
const PANEL: usize = 16;

/// Packed weights, one row for each column of the operand.
#[derive(Debug)]
pub(super) struct Weights {
    requantize: Requantize,
    bias: Vec<i32>,
    /// `[columns, taps, channels]`.
    weight: Vec<i8>,
    taps: usize,
    channels: usize,
}

impl Weights {
    pub(super) fn new(operand: &Operand<'_>, requantize: &Requantize) -> Self {
        let &Operand { columns, channels, taps, .. } = operand;
        let weight = (0..columns)
            .flat_map(|column| (0..taps).map(move |tap| (column, tap)))
            .flat_map(|(column, tap)| (0..channels).map(move |k| operand.at(column, tap, k)))
            .collect();
        Self {
            requantize: Requantize {
                multiplier: operand.multiplier.to_vec(),
                ..requantize.clone()
            },
            bias: (0..columns).map(|column| operand.folded_bias(column)).collect(),
            weight,
            taps,
            channels,
        }
    }
}

impl Packed for Weights {
    fn panels(&self) -> usize {
        self.bias.len().div_ceil(PANEL)
    }

    fn block_rows(&self) -> usize {
        16
    }

    unsafe fn multiply(&self, rows: &Rows<'_>, panels: Range<usize>, output: Output, _: &mut [u8]) {
        for column in panels.start * PANEL..(panels.end * PANEL).min(self.bias.len()) {
            let weight = &self.weight[column * self.taps * self.channels..];
            for i in 0..rows.len {
                let mut sum = self.bias[column];
                for (tap, weight) in weight.chunks_exact(self.channels).take(self.taps).enumerate()
                {
                    let row = rows.taps[tap * rows.capacity + i];
                    // SAFETY: the caller guarantees that each pointer is valid for reads of as many
                    // bytes as the packed operand has channels.
                    let row = unsafe { std::slice::from_raw_parts(row, self.channels) };
                    // The sum wraps, because the folded bias may be what brings it back into range.
                    sum = row
                        .iter()
                        .zip(weight)
                        .fold(sum, |sum, (&x, &w)| sum.wrapping_add(i32::from(x) * i32::from(w)));
                }
                // SAFETY: the caller guarantees that this output is valid for writes.
                unsafe {
                    if output.accumulators {
                        output.accumulator(i, column).write(sum);
                    } else {
                        output.at(i, column).write(self.requantize.apply(column, sum));
                    }
                }
            }
        }
    }
}
