//! Packs weights, biases and multipliers of depthwise convolutions for the vector kernels.

use crate::int8::accumulator::{accumulator_range, folded_bias};
use crate::int8::requantize::{Requantize, effective_multiplier, products_fit};
use crate::mem::Aligned;
use crate::reference;

/// Number of bytes that a kernel may read beyond the channels of a pixel outside the image: one
/// vector.
pub(crate) const OUTSIDE_SLACK: usize = 64;

/// Returns the weights of one channel, `[kh, kw]`.
pub(crate) fn window<'a>(conv: &reference::Conv2d<'a>, channel: usize) -> &'a [i8] {
    let taps = conv.geometry.taps_per_output();
    &conv.weight[channel * taps..][..taps]
}

/// Returns the bias of one channel with the input's zero point folded in.
pub(crate) fn bias(conv: &reference::Conv2d<'_>, channel: usize) -> i32 {
    folded_bias(window(conv, channel), conv.bias[channel], conv.input_zero_point)
}

/// Whether packing with saturation does all the clamping: the output's zero point is 0, its range
/// is `0..=255`, and no product overflows an i32.
pub(crate) fn saturation_clamps(conv: &reference::Conv2d<'_>) -> bool {
    let Requantize { zero_point, min, max, .. } = *conv.requantize;
    let fits = |channel: usize| {
        let window = window(conv, channel);
        let range = accumulator_range(window, conv.bias[channel], conv.input_zero_point);
        products_fit(range, conv.requantize.multiplier[channel])
    };
    (zero_point, min, max) == (0, 0, 255) && (0..conv.geometry.out_channels).all(fits)
}

/// The outputs of one vector of bytes: `channels` channels of each of `pixels` neighbouring pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first_channel: usize,
    /// At most `LANES / pixels`; further lanes are unused.
    pub(crate) channels: usize,
    pub(crate) pixels: usize,
}

/// The parameters of blocks of `LANES` bytes; weights of type `W` are interleaved in groups of
/// `TAPS` taps.
#[derive(Clone, Debug)]
pub(crate) struct Packed<W, const LANES: usize, const TAPS: usize> {
    pub(crate) blocks: Vec<Block>,
    /// `TAPS` weights for each lane, for each block, column and group of taps.
    pub(crate) weights: Vec<Aligned<[[W; TAPS]; LANES]>>,
    pub(crate) bias: Vec<Aligned<[i32; LANES]>>,
    pub(crate) multiplier: Vec<Aligned<[f32; LANES]>>,
}

impl<W: From<i8> + Copy, const LANES: usize, const TAPS: usize> Packed<W, LANES, TAPS> {
    /// Packs the parameters of `blocks`.
    ///
    /// `tap(kx, group, i)` is the row and column of tap `i` in a group of column `kx`; its weights
    /// are 0 where that lies outside the window.
    pub(crate) fn new(
        conv: &reference::Conv2d<'_>,
        blocks: Vec<Block>,
        tap: impl Fn(usize, usize, usize) -> [usize; 2],
    ) -> Self {
        let [kh, kw] = conv.geometry.kernel;
        // The channel at each position of the unpacked order; `None` for an unused lane.
        let channel = |block: &Block, position: usize| {
            let lane = in_channel_order::<LANES>(position);
            let channel = lane % (LANES / block.pixels);
            (channel < block.channels).then_some(block.first_channel + channel)
        };
        let mut weights = Vec::new();
        for (block, kx) in blocks.iter().flat_map(|b| (0..kw).map(move |kx| (b, kx))) {
            for group in 0..kh.div_ceil(TAPS) {
                weights.push(Aligned(std::array::from_fn(|position| {
                    std::array::from_fn(|i| {
                        let [ky, kx] = tap(kx, group, i);
                        channel(block, position)
                            .filter(|_| ky < kh && kx < kw)
                            .map_or(0, |channel| window(conv, channel)[ky * kw + kx])
                            .into()
                    })
                })));
            }
        }
        let bias = |block| {
            Aligned(std::array::from_fn(|position| {
                channel(block, position).map_or(0, |channel| self::bias(conv, channel))
            }))
        };
        let multiplier = |block| {
            Aligned(std::array::from_fn(|position| {
                channel(block, position).map_or(1.0, |channel| {
                    effective_multiplier(conv.requantize.multiplier[channel])
                })
            }))
        };
        Self {
            weights,
            bias: blocks.iter().map(bias).collect(),
            multiplier: blocks.iter().map(multiplier).collect(),
            blocks,
        }
    }
}

/// Returns which byte ends up in dword `position` when a vector of `LANES` bytes is unpacked to
/// words and those to dwords, which gives four vectors, low halves first, within 128-bit lanes.
fn in_channel_order<const LANES: usize>(position: usize) -> usize {
    let (vector, dword) = (position / (LANES / 4), position % (LANES / 4));
    16 * (dword / 4) + 4 * vector + dword % 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unpacked_order_contains_every_byte_once() {
        let mut order: Vec<usize> = (0..64).map(in_channel_order::<64>).collect();
        assert_eq!(order[..5], [0, 1, 2, 3, 16]);
        assert_eq!(order[16..18], [4, 5]);
        order.sort_unstable();
        assert_eq!(order, (0..64).collect::<Vec<_>>());
        assert_eq!(
            (0..10).map(in_channel_order::<32>).collect::<Vec<_>>()[3..],
            [3, 16, 17, 18, 19, 4, 5]
        );
    }
}
