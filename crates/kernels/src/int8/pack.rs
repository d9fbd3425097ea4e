//! The operands that int8 matrix kernels pack: the weights, biases and multipliers of a group.

use crate::int8::accumulator::{accumulator_range, folded_bias};
use crate::int8::requantize::products_fit;
use crate::reference;

/// The right operand of a matrix product: the weights, biases and multipliers of one group, whose
/// columns are its output channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'a> {
    /// `[columns, channels, taps]`.
    pub(crate) weight: &'a [i8],
    /// `[columns]`.
    pub(crate) bias: &'a [i32],
    /// `[columns]`.
    pub(crate) multiplier: &'a [f32],
    /// Number of output channels of the group.
    pub(crate) columns: usize,
    /// Number of input channels of the group.
    pub(crate) channels: usize,
    /// Number of taps of the window.
    pub(crate) taps: usize,
    /// The zero point of the input.
    pub(crate) input_zero_point: u8,
}

impl<'a> Operand<'a> {
    /// Returns the operand of each group of a convolution without defects.
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

    /// Returns one weight.
    pub(crate) fn at(&self, column: usize, tap: usize, channel: usize) -> i8 {
        self.weight[(column * self.channels + channel) * self.taps + tap]
    }

    /// Returns the weights of one column, `[channels, taps]`.
    pub(crate) fn column(&self, column: usize) -> &'a [i8] {
        let len = self.channels * self.taps;
        &self.weight[column * len..][..len]
    }

    /// Writes the weights of one column in the order of an im2row row, `[taps, channels]`, as
    /// bytes.
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

    /// Returns the bias of `column` with the input's zero point folded in.
    pub(crate) fn folded_bias(&self, column: usize) -> i32 {
        folded_bias(self.column(column), self.bias[column], self.input_zero_point)
    }

    /// Whether no product of an accumulator and its multiplier overflows an i32, for any input.
    #[allow(dead_code, reason = "only kernels written for an instruction set use it")]
    pub(crate) fn products_fit(&self) -> bool {
        (0..self.columns).all(|column| {
            let weight = self.column(column);
            let range = accumulator_range(weight, self.bias[column], self.input_zero_point);
            products_fit(range, self.multiplier[column])
        })
    }
}
