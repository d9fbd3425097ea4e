//! The definition of an int8 convolution.

use crate::geometry::Conv2dGeometry;
use crate::int8::accumulator;
use crate::int8::requantize::Requantize;
use crate::lengths::{Lengths, check_len};

/// An int8 convolution of any grouping, NHWC.
///
/// `y[n, oy, ox, o] = requantize(Σ (x[n, iy, ix, i] − zero_point) · w[o, i, ky, kx] + bias[o])`
/// over the input channels `i` of the group and the taps `(ky, kx)`, where
/// `iy = oy · stride + ky · dilation − padding` and taps outside the input contribute nothing
/// (they hold the zero point).
#[derive(Clone, Copy, Debug)]
pub struct Conv2d<'a> {
    /// Channels, window and padding.
    pub geometry: Conv2dGeometry,
    /// `[out_channels, in_channels / groups, kh, kw]`, symmetric.
    pub weight: &'a [i8],
    /// `[out_channels]`, at the scale of the accumulators.
    pub bias: &'a [i32],
    /// The zero point of the input.
    pub input_zero_point: u8,
    /// How accumulators become outputs.
    pub requantize: &'a Requantize,
}

impl Conv2d<'_> {
    /// What is wrong with its shapes and numbers, in words; `None` where nothing is. No input
    /// overflows an accumulator of a convolution without defects.
    pub fn defect(&self) -> Option<String> {
        let g = &self.geometry;
        if let Err(error) = g.validate() {
            return Some(error.to_string());
        }
        if self.bias.len() != g.out_channels {
            let biases = self.bias.len();
            return Some(format!("{biases} biases for {} output channels", g.out_channels));
        }
        let zero_point = self.input_zero_point;
        accumulator::defect(
            self.weight,
            self.bias,
            g.taps_per_output(),
            zero_point,
            self.requantize,
        )
    }

    /// Convolves `input`, `[batch, h, w, in_channels]`, into `[batch, oh, ow, out_channels]`.
    pub fn run(&self, batch: usize, size: [usize; 2], input: &[u8]) -> Vec<u8> {
        let accumulators = self.accumulate(batch, size, input);
        let channels = self.geometry.out_channels;
        accumulators
            .iter()
            .enumerate()
            .map(|(i, &accumulator)| self.requantize.apply(i % channels, accumulator))
            .collect()
    }

    /// The exact accumulators, `[batch, oh, ow, out_channels]`, before requantization.
    pub fn accumulate(&self, batch: usize, size: [usize; 2], input: &[u8]) -> Vec<i32> {
        let g = &self.geometry;
        let [h, w] = size;
        let lengths = Lengths::of_conv2d(g, batch, size);
        let [oh, ow] = lengths.output_size();
        let [kh, kw] = g.kernel;
        let (group_in, group_out) = (g.in_channels / g.groups, g.out_channels / g.groups);
        check_len("the input", input.len(), &lengths.input);
        assert_eq!(self.weight.len(), g.out_channels * g.taps_per_output(), "weight is OIHW");
        assert_eq!(self.bias.len(), g.out_channels, "one bias a channel");

        let mut output = Vec::with_capacity(batch * oh * ow * g.out_channels);
        for n in 0..batch {
            for oy in 0..oh {
                for ox in 0..ow {
                    for o in 0..g.out_channels {
                        let mut sum = i64::from(self.bias[o]);
                        for ky in 0..kh {
                            let y = (oy * g.stride[0] + ky * g.dilation[0])
                                .checked_sub(g.padding.top)
                                .filter(|&y| y < h);
                            for kx in 0..kw {
                                let x = (ox * g.stride[1] + kx * g.dilation[1])
                                    .checked_sub(g.padding.left)
                                    .filter(|&x| x < w);
                                let (Some(y), Some(x)) = (y, x) else { continue };
                                let pixel = ((n * h + y) * w + x) * g.in_channels;
                                for i in 0..group_in {
                                    let value = input[pixel + o / group_out * group_in + i];
                                    let value = i64::from(value) - i64::from(self.input_zero_point);
                                    let weight =
                                        self.weight[((o * group_in + i) * kh + ky) * kw + kx];
                                    sum += value * i64::from(weight);
                                }
                            }
                        }
                        output.push(i32::try_from(sum).expect("the accumulator fits into an i32"));
                    }
                }
            }
        }
        output
    }
}
