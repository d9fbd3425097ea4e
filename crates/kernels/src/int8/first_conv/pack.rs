//! Packs weights, biases and multipliers of first convolutions for the vector kernels.

use crate::int8::accumulator::folded_bias;
use crate::mem::Aligned;
use crate::reference;

/// Parameters of blocks of `CHANNELS` output channels; each row of the window is in groups of
/// `TAPS` bytes.
#[derive(Clone, Debug)]
pub(crate) struct Packed<W, const CHANNELS: usize, const TAPS: usize> {
    /// `TAPS` weights for each channel, for each block, window row and group.
    pub(crate) weights: Vec<Aligned<[[W; TAPS]; CHANNELS]>>,
    pub(crate) bias: Vec<Aligned<[i32; CHANNELS]>>,
    pub(crate) multiplier: Vec<Aligned<[f32; CHANNELS]>>,
}

impl<W: From<i8> + Copy, const CHANNELS: usize, const TAPS: usize> Packed<W, CHANNELS, TAPS> {
    pub(crate) fn new(conv: &reference::Conv2d<'_>) -> Self {
        let g = &conv.geometry;
        let [kh, kw] = g.kernel;
        let taps = g.taps_per_output();
        let blocks = 0..g.out_channels.div_ceil(CHANNELS);
        // `None` for a lane beyond the last channel.
        let channel = |block: usize, lane: usize| {
            Some(block * CHANNELS + lane).filter(|&channel| channel < g.out_channels)
        };
        // Tap `tap` of a window row is channel `tap % in_channels` of pixel `tap / in_channels`.
        let weight_at = |channel: usize, ky: usize, tap: usize| {
            let (kx, input) = (tap / g.in_channels, tap % g.in_channels);
            if kx < kw { conv.weight[channel * taps + (input * kh + ky) * kw + kx] } else { 0 }
        };
        let bias_at = |channel: usize| {
            let weights = &conv.weight[channel * taps..][..taps];
            folded_bias(weights, conv.bias[channel], conv.input_zero_point)
        };
        let mut weights = Vec::new();
        for (block, ky) in blocks.clone().flat_map(|block| (0..kh).map(move |ky| (block, ky))) {
            for group in 0..(kw * g.in_channels).div_ceil(TAPS) {
                weights.push(Aligned(std::array::from_fn(|lane| {
                    std::array::from_fn(|tap| {
                        let weight = |channel| weight_at(channel, ky, group * TAPS + tap);
                        channel(block, lane).map_or(0, weight).into()
                    })
                })));
            }
        }
        let bias =
            |block| Aligned(std::array::from_fn(|lane| channel(block, lane).map_or(0, bias_at)));
        let multiplier = |block| {
            Aligned(std::array::from_fn(|lane| {
                channel(block, lane).map_or(1.0, |channel| conv.requantize.multiplier[channel])
            }))
        };
        Self {
            weights,
            bias: blocks.clone().map(bias).collect(),
            multiplier: blocks.map(multiplier).collect(),
        }
    }
}
