//! From the pixels of a decoded picture to a normalised f32 input.

use super::split::part;
use crate::pool::{Pool, SharedMut};

/// Values that a task is worth handing over for.
const TASK: usize = 16 * 1024;

/// What normalization makes of each value of each colour: 256 entries a channel.
///
/// The entries are computed in f32 as torchvision would: `v / 255` (`ToTensor`), minus the mean,
/// divided by the standard deviation (`Normalize`).
///
/// ```
/// use posterize_kernels::f32::PixelTable;
/// use posterize_kernels::Pool;
///
/// let table = PixelTable::new([0.5; 3], [0.5; 3]);
/// let mut input = [0.0; 3];
/// table.run(&Pool::new(1), &[0, 51, 255], &mut input);
/// assert_eq!(input, [-1.0, -0.6, 1.0]);
/// ```
#[derive(Clone, Debug)]
pub struct PixelTable {
    values: Box<[[f32; 256]; 3]>,
}

impl PixelTable {
    /// Tables for red, green and blue with the means and standard deviations of `Normalize`.
    ///
    /// # Panics
    /// When a mean is not finite, or a standard deviation is zero or not finite.
    pub fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        assert!(
            std.iter().all(|s| s.is_finite() && *s != 0.0) && mean.iter().all(|m| m.is_finite()),
            "normalization with mean {mean:?} and standard deviation {std:?}"
        );
        let entry = |channel: usize, v: usize| (v as f32 / 255.0 - mean[channel]) / std[channel];
        let values = |channel| std::array::from_fn(|v| entry(channel, v));
        Self { values: Box::new(std::array::from_fn(values)) }
    }

    /// The entries for red, green and blue.
    pub fn values(&self) -> &[[f32; 256]; 3] {
        &self.values
    }

    /// Maps pixels `[…, 3]` in RGB order to the input of a network in the same order.
    ///
    /// # Panics
    /// When the lengths differ or are no multiple of 3.
    pub fn run(&self, pool: &Pool, rgb: &[u8], output: &mut [f32]) {
        assert_eq!(rgb.len(), output.len(), "pixels: one output for each value");
        assert_eq!(rgb.len() % 3, 0, "pixels have three channels, {} values do not", rgb.len());
        let pixels = rgb.len() / 3;
        let tasks = if pool.threads() == 1 { 1 } else { rgb.len().div_ceil(TASK) };
        let output = SharedMut::new(output);
        pool.run(tasks, &|task, _| {
            let pixels = part(pixels, tasks, task);
            let range = pixels.start * 3..pixels.end * 3;
            // SAFETY: the ranges of the tasks are disjoint.
            let output = unsafe { output.slice(range.clone()) };
            self.map(&rgb[range], output);
        });
    }

    fn map(&self, rgb: &[u8], output: &mut [f32]) {
        let [red, green, blue] = &*self.values;
        let to = output.as_chunks_mut::<3>().0;
        for (to, &[r, g, b]) in to.iter_mut().zip(rgb.as_chunks::<3>().0) {
            *to = [red[usize::from(r)], green[usize::from(g)], blue[usize::from(b)]];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_normalizing_value_by_value_for_any_number_of_threads() {
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let table = PixelTable::new(mean, std);
        for pixels in [0usize, 1, 256, 20_000] {
            let rgb: Vec<u8> = (0..pixels * 3).map(|i| (i / 3 + i % 3 * 85) as u8).collect();
            let expected: Vec<f32> = (0..rgb.len())
                .map(|i| (f32::from(rgb[i]) / 255.0 - mean[i % 3]) / std[i % 3])
                .collect();
            for threads in [1, 3] {
                let mut output = vec![f32::NAN; rgb.len()];
                table.run(&Pool::new(threads), &rgb, &mut output);
                assert!(output.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }
}
