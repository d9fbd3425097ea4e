//! Antialiased bilinear resampling of 8-bit pictures, with Pillow's arithmetic.
//!
//! Pillow's `Image.resize(…, BILINEAR)` widens the triangle filter by the scale when it shrinks,
//! rounds the weights to 22 fractional bits, and runs a pass along each axis, the first of which
//! rounds to 8 bits. A separable filter gives each output pixel the same value whether its
//! neighbours are computed or not, so a part of the result (a centre crop) costs only that part.

use std::ops::Range;

use crate::isa::Isa;

#[cfg(target_arch = "x86_64")]
mod avx2;

/// Fractional bits of a weight: eight bits of pixel and two of headroom leave 22 of 32.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);
const CHANNELS: usize = 3;

/// The weights of one axis: which input positions make an output position, and how much of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taps {
    /// First input position of each output position.
    starts: Vec<usize>,
    /// `per_output` weights for each output position, zeros after the last one it has.
    weights: Vec<i32>,
    per_output: usize,
    /// How many positions the whole axis loses.
    shrunk_by: i64,
}

impl Taps {
    /// Weights that resize an axis of `input` positions to `output`, for the output positions of
    /// `range`.
    ///
    /// # Panics
    /// `input` or `output` is zero, or `range` leaves `0..output`.
    pub fn bilinear(input: usize, output: usize, range: Range<usize>) -> Self {
        assert!(input > 0 && output > 0, "an axis of {input} positions resized to {output}");
        assert!(
            range.start <= range.end && range.end <= output,
            "positions {range:?} of an axis of {output}"
        );
        let scale = input as f64 / output as f64;
        let support = scale.max(1.0);
        let sharpness = 1.0 / support;
        let windows: Vec<(usize, Vec<i32>)> = range
            .map(|position| {
                let center = (position as f64 + 0.5) * scale;
                let first = (center - support + 0.5).max(0.0) as usize;
                let end = ((center + support + 0.5) as usize).min(input);
                let triangle = |x: usize| {
                    let distance = (x as f64 - center + 0.5) * sharpness;
                    (1.0 - distance.abs()).max(0.0)
                };
                let total: f64 = (first..end).map(triangle).sum();
                let fixed = |x| (0.5 + triangle(x) / total * f64::from(1 << PRECISION_BITS)) as i32;
                (first, (first..end).map(fixed).collect())
            })
            .collect();
        let per_output = windows.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let shrunk_by = input as i64 - output as i64;
        let mut taps = Self { starts: Vec::new(), weights: Vec::new(), per_output, shrunk_by };
        for (first, weights) in windows {
            // Windows padded to one length keep inside the input, so kernels may read all of them.
            let start = first.min(input - per_output);
            let at = taps.weights.len() + first - start;
            taps.starts.push(start);
            taps.weights.resize(taps.weights.len() + per_output, 0);
            taps.weights[at..at + weights.len()].copy_from_slice(&weights);
        }
        taps
    }

    /// How many output positions there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The input positions that any output position needs.
    pub fn input_range(&self) -> Range<usize> {
        let start = self.starts.iter().min().copied().unwrap_or(0);
        let last = self.starts.iter().max().copied().unwrap_or(0);
        start..if self.is_empty() { start } else { last + self.per_output }
    }

    fn row(&self, position: usize) -> (usize, &[i32]) {
        let at = position * self.per_output;
        (self.starts[position], &self.weights[at..at + self.per_output])
    }
}

/// A picture of 8-bit red, green and blue, or a part of one.
#[derive(Clone, Copy, Debug)]
pub struct RgbView<'a> {
    data: &'a [u8],
    width: usize,
    height: usize,
    /// Bytes from one row to the next.
    stride: usize,
}

impl<'a> RgbView<'a> {
    /// `height` rows of `width` pixels, `stride` bytes apart.
    ///
    /// # Panics
    /// `data` is too short, or a row longer than the stride.
    pub fn new(data: &'a [u8], width: usize, height: usize, stride: usize) -> Self {
        assert!(width * CHANNELS <= stride, "rows of {width} pixels every {stride} bytes");
        let needed = if height == 0 { 0 } else { (height - 1) * stride + width * CHANNELS };
        assert!(data.len() >= needed, "{height} rows of {stride} bytes in {} bytes", data.len());
        Self { data, width, height, stride }
    }

    fn row(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.stride..y * self.stride + self.width * CHANNELS]
    }
}

/// Resizes `source` to `columns.len()` by `rows.len()` pixels, written to `out` row by row without
/// gaps.
///
/// # Panics
/// `columns` or `rows` reach outside `source`, or `out` is not `rows.len() * columns.len() * 3`
/// bytes long.
pub fn resize_rgb(isa: Isa, source: RgbView<'_>, columns: &Taps, rows: &Taps, out: &mut [u8]) {
    let row_bytes = columns.len() * CHANNELS;
    assert_eq!(out.len(), rows.len() * row_bytes, "bytes for the resized picture");
    if out.is_empty() {
        return;
    }
    let needed = rows.input_range();
    assert!(needed.end <= source.height, "rows {needed:?} of a picture {} high", source.height);
    let across = columns.input_range();
    assert!(across.end <= source.width, "columns {across:?} of a picture {} wide", source.width);

    let passes = Passes::new(isa, columns);
    if vertical_first(columns, rows) {
        let width = across.len() * CHANNELS;
        let mut line = vec![0; width];
        for (y, out) in out.chunks_exact_mut(row_bytes).enumerate() {
            let (start, weights) = rows.row(y);
            let lines = &source.data[start * source.stride + across.start * CHANNELS..];
            passes.vertical(lines, source.stride, weights, &mut line);
            passes.horizontal(&line, across.start, out);
        }
    } else {
        let mut between = vec![0; needed.len() * row_bytes];
        for (y, line) in needed.clone().zip(between.chunks_exact_mut(row_bytes)) {
            passes.horizontal(source.row(y), 0, line);
        }
        for (y, line) in out.chunks_exact_mut(row_bytes).enumerate() {
            let (start, weights) = rows.row(y);
            let lines = &between[(start - needed.start) * row_bytes..];
            passes.vertical(lines, row_bytes, weights, line);
        }
    }
}

/// Pillow 13 runs the vertical pass first where it removes more than twice what the other does.
/// (Earlier versions never do, which shows in single units of tall pictures.)
fn vertical_first(columns: &Taps, rows: &Taps) -> bool {
    rows.shrunk_by > 0 && rows.shrunk_by > 2 * columns.shrunk_by
}

enum Passes<'a> {
    Scalar(&'a Taps),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Columns),
}

impl<'a> Passes<'a> {
    fn new(isa: Isa, columns: &'a Taps) -> Self {
        match isa.without_tiles() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) => Self::Avx2(avx2::Columns::new(token, columns)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(token) => Self::Avx2(avx2::Columns::new(token.avx2(), columns)),
            _ => Self::Scalar(columns),
        }
    }

    /// One row from `source`, which begins with the pixel that the taps call `first`.
    fn horizontal(&self, source: &[u8], first: usize, out: &mut [u8]) {
        match self {
            Self::Scalar(columns) => horizontal_scalar(source, first, columns, out),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(columns) => columns.pass(source, first, out),
        }
    }

    /// One row from those that begin every `stride` bytes of `lines`.
    fn vertical(&self, lines: &[u8], stride: usize, weights: &[i32], out: &mut [u8]) {
        match self {
            Self::Scalar(_) => vertical_scalar(lines, stride, weights, out),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(columns) => avx2::vertical(columns.proof(), lines, stride, weights, out),
        }
    }
}

fn round(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

fn horizontal_scalar(source: &[u8], first: usize, taps: &Taps, out: &mut [u8]) {
    for (position, pixel) in out.chunks_exact_mut(CHANNELS).enumerate() {
        let (start, weights) = taps.row(position);
        let mut sums = [HALF; CHANNELS];
        let pixels = source[(start - first) * CHANNELS..].chunks_exact(CHANNELS);
        for (from, &weight) in pixels.zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(from) {
                *sum += i32::from(value) * weight;
            }
        }
        for (value, sum) in pixel.iter_mut().zip(sums) {
            *value = round(sum);
        }
    }
}

fn vertical_scalar(lines: &[u8], stride: usize, weights: &[i32], out: &mut [u8]) {
    for (x, value) in out.iter_mut().enumerate() {
        *value = weighted(lines[x..].iter().step_by(stride), weights);
    }
}

/// One output value from the values of its column.
fn weighted<'a>(column: impl Iterator<Item = &'a u8>, weights: &[i32]) -> u8 {
    let sum: i32 = column.zip(weights).map(|(&value, &weight)| i32::from(value) * weight).sum();
    round(HALF + sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed | 1;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect()
    }

    proptest! {
        #[test]
        fn every_isa_equals_the_scalar_passes(
            width in 1usize..70, height in 1usize..40, seed: u64,
            full in (1usize..60, 1usize..50), pad in 0usize..5, white: bool,
        ) {
            let stride = width * CHANNELS + pad;
            let mut data = noise(seed, stride * height);
            if white {
                data.fill(255);
            }
            let part = |n: usize| n / 4..n - n / 5;
            let columns = Taps::bilinear(width, full.0, part(full.0));
            let rows = Taps::bilinear(height, full.1, part(full.1));
            let mut expected = vec![0; columns.len() * rows.len() * CHANNELS];
            let view = RgbView::new(&data, width, height, stride);
            resize_rgb(Isa::Scalar, view, &columns, &rows, &mut expected);
            for isa in Isa::supported() {
                let mut found = vec![1; expected.len()];
                resize_rgb(isa, view, &columns, &rows, &mut found);
                prop_assert_eq!(&found, &expected, "{}", isa);
            }
            if white {
                prop_assert!(expected.iter().all(|&v| v == 255));
            }
        }

        #[test]
        fn a_part_of_the_result_is_that_part_of_the_whole(
            width in 1usize..50, height in 1usize..50, seed: u64, full in (2usize..40, 2usize..40),
        ) {
            let data = noise(seed, width * height * CHANNELS);
            let view = RgbView::new(&data, width, height, width * CHANNELS);
            let resize = |across: Range<usize>, down: Range<usize>| {
                let columns = Taps::bilinear(width, full.0, across);
                let rows = Taps::bilinear(height, full.1, down);
                let mut out = vec![0; columns.len() * rows.len() * CHANNELS];
                resize_rgb(Isa::detect(), view, &columns, &rows, &mut out);
                out
            };
            let whole = resize(0..full.0, 0..full.1);
            let (x, y) = (full.0 / 3, full.1 / 3);
            let part = resize(x..full.0, y..full.1);
            let row_bytes = (full.0 - x) * CHANNELS;
            for (row, line) in part.chunks_exact(row_bytes).enumerate() {
                let at = ((y + row) * full.0 + x) * CHANNELS;
                prop_assert_eq!(line, &whole[at..at + row_bytes]);
            }
        }
    }

    #[test]
    fn the_same_size_copies() {
        let data = noise(7, 5 * 4 * CHANNELS);
        let mut out = vec![0; data.len()];
        let (columns, rows) = (Taps::bilinear(5, 5, 0..5), Taps::bilinear(4, 4, 0..4));
        resize_rgb(Isa::detect(), RgbView::new(&data, 5, 4, 15), &columns, &rows, &mut out);
        assert_eq!(out, data);
    }

    #[test]
    #[should_panic(expected = "rows 0..4 of a picture 3 high")]
    fn a_picture_smaller_than_the_taps_is_refused() {
        let (columns, rows) = (Taps::bilinear(5, 5, 0..5), Taps::bilinear(4, 4, 0..4));
        let view = RgbView::new(&[0; 45], 5, 3, 15);
        resize_rgb(Isa::Scalar, view, &columns, &rows, &mut [0; 60]);
    }
}
