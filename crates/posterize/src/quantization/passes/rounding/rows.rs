//! Samples of what a layer reads: rows of its im2row matrix at positions that are drawn at random.

use posterize_kernels::{Conv2dGeometry, Pool};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::ops::Op;

/// The smallest and the largest number of samples of a layer.
const SAMPLES: [usize; 2] = [1024, 4096];

/// The number of samples for each weight of an output channel.
const SAMPLES_OF_WEIGHT: usize = 4;

/// The sampled positions of a layer's output, and the windows that it reads there.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) geometry: Conv2dGeometry,
    input: [usize; 2],
    output: [usize; 2],
    /// `(picture · H + y) · W + x` of every sample, in ascending order.
    positions: Vec<usize>,
}

impl Rows {
    /// Draws the samples of a layer over `pictures` inputs of a shape; `None` if that does not fit it.
    ///
    /// The positions are divided into as many ranges of the same length as there are samples, and one is
    /// drawn from each.
    pub(super) fn draw(op: &Op, shape: &[usize], pictures: usize, seed: [u64; 2]) -> Option<Self> {
        let (geometry, input) = match (op, shape) {
            (Op::Conv2d(conv), &[_, _, h, w]) => (conv.geometry([h, w]), [h, w]),
            (Op::Linear(linear), &[_, features]) if features == linear.in_features => {
                (Conv2dGeometry::pointwise(features, linear.out_features), [1, 1])
            }
            _ => return None,
        };
        let output = geometry.output_size(input)?;
        let all = pictures * output[0] * output[1];
        let wanted = SAMPLES_OF_WEIGHT.saturating_mul(geometry.taps_per_output());
        let samples = wanted.clamp(SAMPLES[0], SAMPLES[1]).min(all);
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed[0].to_le_bytes());
        key[8..16].copy_from_slice(&seed[1].to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(key);
        let start = |sample: usize| (sample as u128 * all as u128 / samples as u128) as usize;
        let positions = (0..samples).map(|sample| {
            let range = start(sample)..start(sample + 1);
            range.start + (random.next_u64() % range.len() as u64) as usize
        });
        Some(Self { geometry, input, output, positions: positions.collect() })
    }

    /// Returns the number of samples.
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// Returns the number of values of a sample: those of all groups.
    pub(super) fn width(&self) -> usize {
        self.geometry.groups * self.geometry.taps_per_output()
    }

    /// Returns what the layer reads, `[samples, groups, C / groups · kh · kw]`, from the inputs
    /// `[pictures, H, W, C]`.
    pub(super) fn gather(&self, pool: &Pool, values: &[u8], pictures: usize, zero: u8) -> Vec<u8> {
        let mut rows = vec![zero; self.len() * self.width()];
        let picture = values.len() / pictures;
        pool.for_each_chunk_mut(&mut rows, self.width(), &|sample, row| {
            let position = self.positions[sample];
            let index = position / (self.output[0] * self.output[1]);
            self.row(&values[index * picture..][..picture], position, row);
        });
        rows
    }

    /// Writes the window of one position of a picture.
    fn row(&self, picture: &[u8], position: usize, row: &mut [u8]) {
        let Conv2dGeometry { stride, dilation, padding, kernel: [kh, kw], in_channels, .. } =
            self.geometry;
        let ([h, w], [oh, ow]) = (self.input, self.output);
        let (y, x) = (position / ow % oh, position % ow);
        for ky in 0..kh {
            let Some(iy) = inside(y * stride[0] + ky * dilation[0], padding.top, h) else {
                continue;
            };
            for kx in 0..kw {
                let Some(ix) = inside(x * stride[1] + kx * dilation[1], padding.left, w) else {
                    continue;
                };
                let pixel = &picture[(iy * w + ix) * in_channels..][..in_channels];
                let taps = row[ky * kw + kx..].iter_mut().step_by(kh * kw);
                taps.zip(pixel).for_each(|(to, &from)| *to = from);
            }
        }
    }
}

/// Returns the position without the padding before it, if it is within the input.
fn inside(at: usize, padding: usize, size: usize) -> Option<usize> {
    at.checked_sub(padding).filter(|&at| at < size)
}
