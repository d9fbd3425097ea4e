//! Reference implementation of an int8 convolution.

use crate::geometry::Conv2dGeometry;
use crate::int8::accumulator;
use crate::int8::requantize::Requantize;
use crate::lengths::{Lengths, check_len};

/// An int8 convolution with any number of groups, on `[N, H, W, C]` activations.
///
/// `y[n, oy, ox, o] = requantize(Σ (x[n, iy, ix, i] − zero_point) · w[o, i, ky, kx] + bias[o])`,
/// where the sum is over the input channels `i` of the group of `o` and the taps `(ky, kx)`, and
/// `iy = oy · stride + ky · dilation − padding`, likewise `ix`. Taps in the padding contribute
/// nothing: padding is the zero point.
///
/// ```
/// use posterize_kernels::Conv2dGeometry;
/// use posterize_kernels::int8::Requantize;
/// use posterize_kernels::reference::Conv2d;
///
/// let requantize = Requantize { multiplier: vec![0.5], zero_point: 10, min: 0, max: 255 };
/// let conv = Conv2d {
///     geometry: Conv2dGeometry::pointwise(2, 1),
///     weight: &[3, -1],
///     bias: &[4],
///     input_zero_point: 128,
///     requantize: &requantize,
/// };
/// assert_eq!(conv.accumulate(1, [1, 1], &[138, 130]), [10 * 3 - 2 + 4]);
/// assert_eq!(conv.run(1, [1, 1], &[138, 130]), [32 / 2 + 10]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Conv2d<'a> {
    /// Channels, window, stride and padding.
    pub geometry: Conv2dGeometry,
    /// Weights, `[out_channels, in_channels / groups, kh, kw]`, with zero point 0.
    pub weight: &'a [i8],
    /// Biases, `[out_channels]`, with scale `scale_input · scale_weight`.
    pub bias: &'a [i32],
    /// The zero point of the input.
    pub input_zero_point: u8,
    /// How accumulators are converted to outputs.
    pub requantize: &'a Requantize,
}

impl Conv2d<'_> {
    /// Describes what is wrong with the shapes and numbers; `None` where nothing is.
    ///
    /// Without a defect no input overflows an i32 accumulator.
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

    /// Convolves `input`, `[N, H, W, in_channels]` with N = `batch` and `[H, W]` = `size`, and
    /// returns `[N, OH, OW, out_channels]`.
    ///
    /// # Panics
    /// If the window does not fit into the padded input, a slice has another length than its shape,
    /// or an accumulator overflows an i32.
    pub fn run(&self, batch: usize, size: [usize; 2], input: &[u8]) -> Vec<u8> {
        let accumulators = self.accumulate(batch, size, input);
        let channels = self.geometry.out_channels;
        accumulators
            .iter()
            .enumerate()
            .map(|(i, &accumulator)| self.requantize.apply(i % channels, accumulator))
            .collect()
    }

    /// Returns the exact accumulators before requantization, `[N, OH, OW, out_channels]`.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub fn accumulate(&self, batch: usize, size: [usize; 2], input: &[u8]) -> Vec<i32> {
        let g = &self.geometry;
        let [h, w] = size;
        let lengths = Lengths::of_conv2d(g, batch, size);
        let [oh, ow] = lengths.output_size();
        let [kh, kw] = g.kernel;
        let (group_in, group_out) = (g.in_channels / g.groups, g.out_channels / g.groups);
        check_len("the input", input.len(), &lengths.input);
        let taps = [g.out_channels, group_in, kh, kw];
        check_len("the weight", self.weight.len(), &taps);
        check_len("the bias", self.bias.len(), &[g.out_channels]);

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
                        output.push(i32::try_from(sum).expect("an accumulator overflows an i32"));
                    }
                }
            }
        }
        output
    }
}
