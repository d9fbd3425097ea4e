//! Normalizes pixels.

use crate::pixels::{Entry, PixelView, Tables, map_each};
use crate::pool::Pool;

/// Returns the normalized values of the 256 values that a pixel can have in one channel.
///
/// The entries are computed in f32 as torchvision would: `v / 255` (`ToTensor`), minus the mean,
/// divided by the standard deviation (`Normalize`).
///
/// ```
/// assert_eq!(posterize_kernels::f32::pixel_values(0.5, 0.5)[51], -0.6);
/// ```
///
/// # Panics
/// If the mean is not finite, or the standard deviation is zero or not finite.
pub fn pixel_values(mean: f32, std: f32) -> [f32; 256] {
    assert!(
        std.is_finite() && std != 0.0 && mean.is_finite(),
        "mean {mean:?} must be finite and std {std:?} finite and not zero"
    );
    std::array::from_fn(|v| (v as f32 / 255.0 - mean) / std)
}

/// Lookup tables that normalize pixels: the [`pixel_values`] of each channel.
///
/// ```
/// use posterize_kernels::Pool;
/// use posterize_kernels::f32::PixelTable;
/// use posterize_kernels::pixels::{PixelOrder, PixelView};
///
/// let table = PixelTable::new([0.5; 3], [0.5; 3]);
/// let pixel = PixelView::dense([1, 1, 1], PixelOrder::Bgr, &[255, 51, 0])?;
/// let mut input = [0.0; 3];
/// table.run(&Pool::new(1), pixel, &mut input);
/// assert_eq!(input, [-1.0, -0.6, 1.0]);
/// # Ok::<(), posterize_kernels::pixels::PixelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PixelTable {
    pub(crate) tables: Tables<f32>,
}

impl PixelTable {
    /// Makes the tables for red, green and blue from the arguments of
    /// `torchvision.transforms.Normalize`.
    ///
    /// # Panics
    /// As [`pixel_values`].
    pub fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        let channel = |channel: usize| pixel_values(mean[channel], std[channel]);
        Self { tables: Tables::Rgb(Box::new(std::array::from_fn(channel))) }
    }

    /// Makes the table of a network of one channel.
    ///
    /// # Panics
    /// As [`pixel_values`].
    pub fn gray(mean: f32, std: f32) -> Self {
        Self { tables: Tables::Gray(Box::new(pixel_values(mean, std))) }
    }

    /// Maps pixels to the input of a network: `[N, H, W, 3]` in the order red, green, blue, or
    /// `[N, H, W, 1]`. A gray pixel's value is used for all three channels.
    ///
    /// # Panics
    /// If the output has another length, or the network has one channel and the pixels have three.
    pub fn run(&self, pool: &Pool, pixels: PixelView<'_>, output: &mut [f32]) {
        self.tables.run(pool, pixels, output);
    }
}

impl Entry for f32 {
    fn map<const BYTES: usize, const RED: usize, const GREEN: usize, const BLUE: usize>(
        tables: &[[Self; 256]; 3],
        pixels: &[u8],
        output: &mut [Self],
    ) {
        map_each::<_, BYTES, RED, GREEN, BLUE>(tables, pixels, output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "mean 0.5 must be finite and std 0.0 finite and not zero")]
    fn a_standard_deviation_of_zero_is_refused() {
        PixelTable::gray(0.5, 0.0);
    }
}
