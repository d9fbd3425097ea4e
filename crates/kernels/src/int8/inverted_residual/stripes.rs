//! Computes the stripes of an inverted residual block.

use std::ops::Range;

use super::tiling::Tiling;
use crate::int8::depthwise::Depthwise;
use crate::int8::elementwise::Add;
use crate::int8::gemm::Gemm;
use crate::pool::workers::Workers;
use crate::pool::{Pool, SharedMut, part};

/// The layers of a block, and its tiling.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) expand: Option<&'a Gemm>,
    pub(super) depthwise: &'a Depthwise,
    pub(super) project: &'a Gemm,
    pub(super) add: Option<&'a Add>,
    pub(super) tiling: &'a Tiling,
}

impl Block<'_> {
    /// Computes a batch. Each task is an image, or a part of the rows of an image.
    pub(super) fn run(
        &self,
        pool: &Pool,
        batch: usize,
        input: &[u8],
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        let shape = &self.tiling.shape;
        let ([h, w], [oh, ow]) = (shape.size, shape.output_size);
        let (image, output_row) = (h * w * shape.inputs, ow * shape.outputs);
        let parts = self.tiling.parts(pool.threads(), batch);
        let output = SharedMut::new(output);
        let scratch = Workers::new(scratch, self.tiling.thread_bytes());
        pool.run(batch * parts, &|task, worker| {
            let (n, index) = (task / parts, task % parts);
            let rows = part(oh, parts, index);
            // SAFETY: each worker runs one task at a time, and each has its own part.
            let scratch = unsafe { scratch.part(worker) };
            let first = (n * oh + rows.start) * output_row;
            // SAFETY: tasks differ in their image or rows, so their outputs do not overlap.
            let output = unsafe { output.slice(first..first + rows.len() * output_row) };
            self.run_stripes(rows, &input[n * image..][..image], output, scratch);
        });
    }

    /// Computes output `rows` of an image into `output`, one stripe after another.
    fn run_stripes(&self, rows: Range<usize>, image: &[u8], output: &mut [u8], scratch: &mut [u8]) {
        let tiling = self.tiling;
        let (ring, rest) = scratch.split_at_mut(tiling.ring_bytes());
        let (filtered, projected) = rest.split_at_mut(tiling.filtered_bytes());
        let stripe_bytes = tiling.rows * tiling.shape.output_size[1] * tiling.shape.outputs;
        let mut expanded = 0;
        for (start, output) in
            rows.clone().step_by(tiling.rows).zip(output.chunks_mut(stripe_bytes))
        {
            let stripe = start..(start + tiling.rows).min(rows.end);
            let under = tiling.shape.input_rows(&stripe);
            self.expand(expanded.max(under.start)..under.end, image, ring);
            expanded = under.end.max(expanded);
            self.filter(stripe.clone(), image, ring, filtered);
            self.project(stripe, image, filtered, output, projected);
        }
    }

    /// Expands input `rows` into the ring.
    fn expand(&self, rows: Range<usize>, image: &[u8], ring: &mut [u8]) {
        let Some(expand) = self.expand else { return };
        let tiling = self.tiling;
        let (inputs, hidden) = (tiling.shape.inputs, tiling.shape.hidden);
        let w = tiling.shape.size[1];
        let mut start = rows.start;
        while start < rows.end {
            // As many rows as are contiguous in the ring.
            let slot = start % tiling.ring_rows;
            let len = (rows.end - start).min(tiling.ring_rows - slot);
            let input = &image[start * w * inputs..][..len * w * inputs];
            let output = &mut ring[slot * w * hidden..][..len * w * hidden];
            expand.run_pixels(input, output);
            start += len;
        }
    }

    /// Computes the depthwise convolution for the rows of a stripe.
    fn filter(&self, stripe: Range<usize>, image: &[u8], ring: &[u8], filtered: &mut [u8]) {
        let tiling = self.tiling;
        let ([h, w], [_, ow]) = (tiling.shape.size, tiling.shape.output_size);
        let row = w * tiling.shape.hidden;
        for (y, output) in stripe.zip(filtered.chunks_exact_mut(ow * tiling.shape.hidden)) {
            let input = |ky| {
                let y = self.depthwise.input_row(y, ky, h)?;
                let (rows, y) = match self.expand {
                    Some(_) => (ring, y % tiling.ring_rows),
                    None => (image, y),
                };
                Some(&rows[y * row..][..row])
            };
            self.depthwise.run_row(w, input, output);
        }
    }

    /// Projects a stripe, and adds the input of the block if it has an addition.
    fn project(
        &self,
        stripe: Range<usize>,
        image: &[u8],
        filtered: &[u8],
        output: &mut [u8],
        projected: &mut [u8],
    ) {
        let shape = &self.tiling.shape;
        let width = shape.output_size[1];
        let filtered = &filtered[..stripe.len() * width * shape.hidden];
        let Some(add) = self.add else {
            return self.project.run_pixels(filtered, output);
        };
        let projected = &mut projected[..output.len()];
        self.project.run_pixels(filtered, projected);
        let input = &image[stripe.start * width * shape.inputs..][..output.len()];
        add.run_here(input, projected, output);
    }
}
