//! What is packed for matrix kernels: a group's weights and what belongs to them.

use crate::int8::accumulator::{accumulator_range, folded_bias};
use crate::int8::requantize::products_fit;
use crate::reference;

/// One group's weights and what belongs to its columns: the right operand of a matrix product
/// whose columns are output channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'a> {
    /// `[columns, channels, taps]`.
    pub(crate) weight: &'a [i8],
    /// `[columns]`.
    pub(crate) bias: &'a [i32],
    /// `[columns]`.
    pub(crate) multiplier: &'a [f32],
    /// Output channels of the group.
    pub(crate) columns: usize,
    /// Input channels of the group.
    pub(crate) channels: usize,
    /// Taps of the window.
    pub(crate) taps: usize,
    /// The zero point of the input.
    pub(crate) input_zero_point: u8,
}

impl<'a> Operand<'a> {
    /// The weights of each group of a convolution without defects.
    pub(crate) fn groups(conv: &reference::Conv2d<'a>) -> Vec<Self> {
        let geometry = &conv.geometry;
        let columns = geometry.out_channels / geometry.groups;
        let channels = geometry.in_channels / geometry.groups;
        let taps = geometry.kernel[0] * geometry.kernel[1];
        (0..geometry.groups)
            .map(|group| {
                let weights = columns * channels * taps;
                Self {
                    weight: &conv.weight[group * weights..][..weights],
                    bias: &conv.bias[group * columns..][..columns],
                    multiplier: &conv.requantize.multiplier[group * columns..][..columns],
                    columns,
                    channels,
                    taps,
                    input_zero_point: conv.input_zero_point,
                }
            })
            .collect()
    }

    /// One weight.
    pub(crate) fn at(&self, column: usize, tap: usize, channel: usize) -> i8 {
        self.weight[(column * self.channels + channel) * self.taps + tap]
    }

    /// The weights of one column.
    pub(crate) fn column(&self, column: usize) -> &'a [i8] {
        let len = self.channels * self.taps;
        &self.weight[column * len..][..len]
    }

    /// The weights of one column as bytes in the order of the rows that it meets: `[taps, channels]`.
    #[allow(dead_code, reason = "only kernels written for an instruction set use it")]
    pub(crate) fn write_row(&self, column: usize, row: &mut Vec<u8>) {
        let weights = self.column(column);
        row.clear();
        if self.taps == 1 {
            row.extend(weights.iter().map(|&w| w as u8));
            return;
        }
        for tap in 0..self.taps {
            row.extend(weights[tap..].iter().step_by(self.taps).map(|&w| w as u8));
        }
    }

    /// The bias of `column` with the zero point folded into it.
    pub(crate) fn folded_bias(&self, column: usize) -> i32 {
        folded_bias(self.column(column), self.bias[column], self.input_zero_point)
    }

    /// Whether no input makes a product of accumulator and multiplier overflow an i32.
    #[allow(dead_code, reason = "only kernels written for an instruction set use it")]
    pub(crate) fn products_fit(&self) -> bool {
        (0..self.columns).all(|column| {
            let weight = self.column(column);
            let range = accumulator_range(weight, self.bias[column], self.input_zero_point);
            products_fit(range, self.multiplier[column])
        })
    }
}
