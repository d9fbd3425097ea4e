//! Normalizes and quantizes pixels.

use super::QParams8;
use super::elementwise::formula::Target;
use crate::f32;
use crate::pixels::{BLOCK, Entry, PixelView, Tables, map_each};
use crate::pool::Pool;

/// Lookup tables that normalize and quantize pixels: 256 entries for each channel.
///
/// The entries are those of [`f32::PixelTable`], quantized as PyTorch does it.
///
/// ```
/// use posterize_kernels::int8::{PixelTable, QParams8};
/// use posterize_kernels::pixels::{PixelOrder, PixelView};
/// use posterize_kernels::{Pool, f32};
///
/// let to = QParams8 { scale: 2.0 / 255.0, zero_point: 128 };
/// let table = PixelTable::new(&f32::PixelTable::new([0.5; 3], [0.5; 3]), to, 0, 255);
/// let pixel = PixelView::dense([1, 1, 1], PixelOrder::Rgb, &[0, 128, 255])?;
/// let mut input = [0; 3];
/// table.run(&Pool::new(1), pixel, &mut input);
/// // 1 / (2 / 255) is 127.49999 in f32, so -1 becomes -127, here and in PyTorch.
/// assert_eq!(input, [1, 129, 255]);
/// # Ok::<(), posterize_kernels::pixels::PixelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PixelTable {
    tables: Tables<u8>,
}

impl PixelTable {
    /// Makes the tables by quantizing the entries of those that normalize.
    ///
    /// # Panics
    /// If `qmin > qmax`, or the scale is not positive and finite.
    pub fn new(normalized: &f32::PixelTable, to: QParams8, qmin: u8, qmax: u8) -> Self {
        to.assert_valid();
        let target = Target::new(to.zero_point, qmin, qmax);
        let inverse = 1.0 / to.scale;
        Self { tables: normalized.tables.map(|x| target.round(x * inverse)) }
    }

    /// Maps pixels to the input of a network: `[N, H, W, 3]` in the order red, green, blue, or
    /// `[N, H, W, 1]`. A gray pixel's value is used for all three channels.
    ///
    /// # Panics
    /// If the output has another length, or the network has one channel and the pixels have three.
    pub fn run(&self, pool: &Pool, pixels: PixelView<'_>, output: &mut [u8]) {
        self.tables.run(pool, pixels, output);
    }
}

impl Entry for u8 {
    fn map<const BYTES: usize, const RED: usize, const GREEN: usize, const BLUE: usize>(
        tables: &[[Self; 256]; 3],
        pixels: &[u8],
        output: &mut [Self],
    ) {
        let places = [RED, GREEN, BLUE];
        let blocks = pixels.chunks_exact(BLOCK * BYTES);
        let rest = blocks.remainder();
        let (mapped, mapped_rest) = output.as_chunks_mut::<{ BLOCK * 3 }>();
        for (to, from) in mapped.iter_mut().zip(blocks) {
            // Load and store eight bytes at a time, so that lookups and not memory accesses bound
            // the speed.
            let mut words = [0; BYTES];
            for (word, from) in words.iter_mut().zip(from.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*from);
            }
            for (word, to) in to.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let mut mapped = 0;
                for i in 0..8 {
                    let (pixel, channel) = ((word * 8 + i) / 3, (word * 8 + i) % 3);
                    let byte = pixel * BYTES + places[channel];
                    let value = (words[byte / 8] >> (8 * (byte % 8)) & 0xFF) as usize;
                    mapped |= u64::from(tables[channel][value]) << (8 * i);
                }
                *to = mapped.to_le_bytes();
            }
        }
        map_each::<_, BYTES, RED, GREEN, BLUE>(tables, rest, mapped_rest);
    }
}
