//! The first convolution of a network: few input channels (the colours), so few that the taps of a
//! window row, neighbours in NHWC memory, are what a product instruction sums up.
//!
//! A tile of neighbouring outputs of one row is the unit of work. Its window rows are read in
//! groups of four bytes (`vpdpbusd`, AVX-512) or pairs widened to 16 bits (`vpmaddwd`, AVX2), each
//! broadcast against a vector of output channels; the taps beyond the window's width in the last
//! group have weight zero. Tiles at the edges are copied to the stack with their padding.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod pack;

use super::Requantize;
use super::conv2d::{ConvKernel, Inputs};
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::pool::{Pool, SharedMut};
use crate::reference;

/// Rows of a window, at most.
const MOST_ROWS: usize = 11;

/// Bytes of the window rows of a tile, at most.
const MOST_BYTES: usize = 1024;

/// The kernel for a convolution over few input channels, where there is one.
pub(super) fn specialised(isa: Isa, conv: &reference::Conv2d<'_>) -> Option<Box<dyn ConvKernel>> {
    FirstConv::covers(isa, &conv.geometry).then(|| Box::new(FirstConv::new(isa, conv)) as _)
}

/// A convolution over few input channels with its weights packed for one instruction set.
#[derive(Clone, Debug)]
pub(crate) struct FirstConv {
    geometry: Conv2dGeometry,
    input_zero_point: u8,
    /// A tile's row of zero points, for rows in the padding.
    outside: [u8; MOST_BYTES],
    requantize: Requantize,
    kernel: Kernel,
}

#[derive(Clone, Debug)]
enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx2(crate::isa::Avx2, avx2::Packed),
    #[cfg(target_arch = "x86_64")]
    Avx512(crate::isa::Avx512Vnni, avx512::Packed),
}

/// What a kernel needs to know about one row of the output.
struct Row<'a> {
    geometry: &'a Conv2dGeometry,
    requantize: &'a Requantize,
    input_zero_point: u8,
    outside: &'a [u8],
    /// The input rows under the window, `[width, in_channels]`; `None` in the padding.
    rows: &'a [Option<&'a [u8]>],
}

impl FirstConv {
    /// Whether there is a kernel for this convolution on this instruction set.
    pub(crate) fn covers(isa: Isa, geometry: &Conv2dGeometry) -> bool {
        let few = geometry.groups == 1
            && geometry.in_channels <= 4
            && geometry.dilation[1] == 1
            && geometry.kernel[0] <= MOST_ROWS;
        let bytes = |pixels, taps| geometry.kernel[0] * tile_bytes(geometry, pixels, taps);
        few && match isa.without_tiles() {
            Isa::Scalar => false,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => bytes(avx2::PIXELS, 2) <= MOST_BYTES,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(_) => bytes(avx512::PIXELS, 4) <= MOST_BYTES,
            _ => false,
        }
    }

    /// Packs a convolution without defects.
    ///
    /// # Panics
    /// When there is no kernel; see [`Self::covers`].
    pub(crate) fn new(isa: Isa, conv: &reference::Conv2d<'_>) -> Self {
        let geometry = conv.geometry;
        assert!(Self::covers(isa, &geometry), "no first convolution on {isa}: {geometry:?}");
        let kernel = match isa.without_tiles() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(token) => Kernel::Avx512(token, pack::Packed::new(conv)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) => Kernel::Avx2(token, pack::Packed::new(conv)),
            _ => unreachable!("`covers` admits no other instruction set"),
        };
        Self {
            geometry,
            input_zero_point: conv.input_zero_point,
            outside: [conv.input_zero_point; MOST_BYTES],
            requantize: conv.requantize.clone(),
            kernel,
        }
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
            let mut rows = [None; MOST_ROWS];
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
            // SAFETY: each task writes its own row of the output.
            let output = unsafe { output.slice(task * ow * oc..(task + 1) * ow * oc) };
            match &self.kernel {
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx2(token, packed) => avx2::run_row(*token, packed, &row, output),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512(token, packed) => avx512::run_row(*token, packed, &row, output),
            }
        });
    }

    fn name(&self) -> &'static str {
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(..) => "first_conv_avx2",
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(..) => "first_conv_avx512vnni",
        }
    }
}

/// Bytes of one window row of a tile of `pixels` outputs, read in groups of `taps`.
fn tile_bytes(geometry: &Conv2dGeometry, pixels: usize, taps: usize) -> usize {
    let ic = geometry.in_channels;
    (pixels - 1) * geometry.stride[1] * ic + (geometry.kernel[1] * ic).next_multiple_of(taps)
}

impl Row<'_> {
    /// Where in its row the window of output `x` begins, in bytes; negative in the padding.
    fn first_byte(&self, x: usize) -> isize {
        let g = self.geometry;
        ((x * g.stride[1]) as isize - g.padding.left as isize) * g.in_channels as isize
    }

    /// Copies `to.len()` bytes of an input row from byte `first` on, zero points where it has none.
    fn copy(&self, row: Option<&[u8]>, first: isize, to: &mut [u8]) {
        to.fill(self.input_zero_point);
        let Some(row) = row else { return };
        let skip = to.len().min((-first).max(0) as usize);
        let from = row.get(first.max(0) as usize..).unwrap_or_default();
        let count = from.len().min(to.len() - skip);
        to[skip..skip + count].copy_from_slice(&from[..count]);
    }
}

#[cfg(test)]
mod tests;
