//! Normalizes and quantizes the pixels of a decoded image.

use super::QParams8;
use super::elementwise::CHUNK;
use super::elementwise::formula::Target;
use crate::f32;
use crate::lengths::check_same_len;
use crate::pool::{Pool, SharedMut};

/// Lookup tables that normalize and quantize RGB pixels: 256 entries for each channel.
///
/// The entries are those of [`f32::PixelTable`], quantized as PyTorch does it.
///
/// ```
/// use posterize_kernels::int8::{PixelTable, QParams8};
/// use posterize_kernels::Pool;
///
/// let to = QParams8 { scale: 2.0 / 255.0, zero_point: 128 };
/// let table = PixelTable::new([0.5; 3], [0.5; 3], to, 0, 255);
/// let mut input = [0; 3];
/// table.run(&Pool::new(1), &[0, 128, 255], &mut input);
/// // 1 / (2 / 255) is 127.49999 in f32, so -1 becomes -127, here and in PyTorch.
/// assert_eq!(input, [1, 129, 255]);
/// ```
#[derive(Clone, Debug)]
pub struct PixelTable {
    tables: Box<[[u8; 256]; 3]>,
}

impl PixelTable {
    /// Makes the tables for red, green and blue from the arguments of
    /// `torchvision.transforms.Normalize`.
    ///
    /// # Panics
    /// If `qmin > qmax`, the scale is not positive and finite, or a standard deviation is zero or
    /// not finite.
    pub fn new(mean: [f32; 3], std: [f32; 3], to: QParams8, qmin: u8, qmax: u8) -> Self {
        to.assert_valid();
        let normalized = f32::PixelTable::new(mean, std);
        let target = Target::new(to.zero_point, qmin, qmax);
        let inverse = 1.0 / to.scale;
        let quantized = |values: [f32; 256]| values.map(|x| target.round(x * inverse));
        Self { tables: Box::new(normalized.values().map(quantized)) }
    }

    /// Maps RGB pixels `[…, 3]` to quantized values in the same order.
    ///
    /// # Panics
    /// If the lengths differ or are not multiples of 3.
    pub fn run(&self, pool: &Pool, rgb: &[u8], output: &mut [u8]) {
        check_same_len("the output", output.len(), "rgb", rgb.len());
        assert_eq!(rgb.len() % 3, 0, "rgb has {} values, not a multiple of 3", rgb.len());
        let output = SharedMut::new(output);
        // A multiple of eight pixels (24 bytes), so that every task but the last runs whole blocks
        // only.
        let chunk = CHUNK / 24 * 24;
        pool.run(rgb.len().div_ceil(chunk), &|task, _| {
            let range = task * chunk..rgb.len().min((task + 1) * chunk);
            // SAFETY: different tasks have ranges that do not overlap.
            let output = unsafe { output.slice(range.clone()) };
            self.map(&rgb[range], output);
        });
    }

    fn map(&self, rgb: &[u8], output: &mut [u8]) {
        let (pixels, rest) = rgb.as_chunks::<24>();
        let (mapped, mapped_rest) = output.as_chunks_mut::<24>();
        for (to, from) in mapped.iter_mut().zip(pixels) {
            // Load and store eight bytes at a time, so that lookups and not memory accesses bound
            // the speed.
            for (word, to) in to.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let from = from[word * 8..word * 8 + 8].try_into().map_or(0, u64::from_le_bytes);
                let mut mapped = 0;
                for i in 0..8 {
                    let table = &self.tables[(word * 8 + i) % 3];
                    mapped |= u64::from(table[(from >> (8 * i) & 0xFF) as usize]) << (8 * i);
                }
                *to = mapped.to_le_bytes();
            }
        }
        for (i, (to, &from)) in mapped_rest.iter_mut().zip(rest).enumerate() {
            *to = self.tables[i % 3][usize::from(from)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::int8::quantize;

    #[test]
    fn equals_normalizing_and_quantizing_in_f32() {
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let to = QParams8 { scale: 0.018_658_4, zero_point: 114 };
        let table = PixelTable::new(mean, std, to, 0, 255);
        for pixels in [0usize, 1, 7, 8, 9, 100, 6000] {
            let rgb = crate::int8::testing::bytes(pixels * 3, 5);
            let normalized: Vec<f32> = (0..rgb.len())
                .map(|i| (f32::from(rgb[i]) / 255.0 - mean[i % 3]) / std[i % 3])
                .collect();
            let mut expected = vec![0; rgb.len()];
            quantize(Isa::SCALAR, &Pool::new(1), to, 0, 255, &normalized, &mut expected);
            let mut output = vec![0; rgb.len()];
            table.run(&Pool::new(2), &rgb, &mut output);
            assert_eq!(output, expected, "{pixels} pixels");
        }
    }

    #[test]
    #[should_panic(expected = "rgb has 2 values, not a multiple of 3")]
    fn half_a_pixel_is_refused() {
        let to = QParams8 { scale: 1.0, zero_point: 0 };
        PixelTable::new([0.0; 3], [1.0; 3], to, 0, 255).run(&Pool::new(1), &[1, 2], &mut [0, 0]);
    }
}
