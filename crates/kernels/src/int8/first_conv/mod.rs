//! int8 convolution with at most four input channels, such as the first one of a network.
//!
//! With so few channels, the taps of a window row, which are contiguous in `[N, H, W, C]` memory,
//! are what a product instruction sums over.
//!
//! The unit of work is a tile: some neighbouring outputs of one row. Its window rows are read in
//! groups of four bytes (`vpdpbusd`, AVX-512) or in pairs widened to 16 bits (`vpmaddwd`, AVX2),
//! each of which is broadcast and multiplied with a vector of output channels. In the last group,
//! taps beyond the width of the window have weight 0. Tiles at the edges are copied to the stack
//! with their padding.

#[allow(dead_code, reason = "only kernels written for an instruction set use it")]
pub(crate) mod kernel;
#[allow(dead_code, reason = "only kernels written for an instruction set use it")]
pub(crate) mod pack;

use self::kernel::{MAX_BYTES, MAX_ROWS, Row, RowKernel};
use super::conv_kernel::{ConvKernel, Inputs};
use super::requantize::Requantize;
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::pool::{Pool, SharedMut};
use crate::reference;

/// A convolution with few input channels, with its weights packed for one instruction set.
#[derive(Debug)]
pub(crate) struct FirstConv {
    geometry: Conv2dGeometry,
    input_zero_point: u8,
    /// A row of zero points, which is read for rows in the padding.
    outside: [u8; MAX_BYTES],
    requantize: Requantize,
    kernel: Box<dyn RowKernel>,
}

impl FirstConv {
    /// Packs a convolution without defects; `None` if no kernel supports it.
    pub(crate) fn new(isa: Isa, conv: &reference::Conv2d<'_>) -> Option<Self> {
        let geometry = conv.geometry;
        let few = geometry.groups == 1
            && geometry.in_channels <= 4
            && geometry.dilation[1] == 1
            && geometry.kernel[0] <= MAX_ROWS;
        let kernel = few.then(|| isa.backend().first_conv(conv))??;
        Some(Self {
            geometry,
            input_zero_point: conv.input_zero_point,
            outside: [conv.input_zero_point; MAX_BYTES],
            requantize: conv.requantize.clone(),
            kernel,
        })
    }
}

impl ConvKernel for FirstConv {
    fn scratch_len(&self, _threads: usize, _batch: usize, _size: [usize; 2]) -> usize {
        0
    }

    fn run(
        &self,
        pool: &Pool,
        (batch, size): (usize, [usize; 2]),
        Inputs { input, .. }: Inputs<'_>,
        output: &mut [u8],
        _scratch: &mut [u8],
    ) {
        let [h, w] = size;
        let g = &self.geometry;
        let (ic, oc) = (g.in_channels, g.out_channels);
        let [oh, ow] = g.output_size(size).expect("the window fits the input");
        let output = SharedMut::new(output);
        pool.run(batch * oh, &|task, _| {
            let (n, y) = (task / oh, task % oh);
            let image = &input[n * h * w * ic..][..h * w * ic];
            let mut rows = [None; MAX_ROWS];
            for (ky, row) in rows[..g.kernel[0]].iter_mut().enumerate() {
                let y = (y * g.stride[0] + ky * g.dilation[0]).checked_sub(g.padding.top);
                *row = y.filter(|&y| y < h).map(|y| &image[y * w * ic..][..w * ic]);
            }
            let row = Row {
                geometry: g,
                requantize: &self.requantize,
                input_zero_point: self.input_zero_point,
                outside: &self.outside,
                rows: &rows[..g.kernel[0]],
            };
            // SAFETY: each task writes only its own row of the output.
            let output = unsafe { output.slice(task * ow * oc..(task + 1) * ow * oc) };
            self.kernel.run_row(&row, output);
        });
    }

    fn name(&self) -> &'static str {
        self.kernel.name()
    }
}

#[cfg(test)]
mod tests;
