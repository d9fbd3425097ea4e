//! Lookup tables for pixels, and the loops that apply them.

use super::order::PixelOrder;
use super::view::PixelView;
use crate::lengths::check_len;
use crate::pool::{Pool, SharedMut, part};

/// Number of pixels that are mapped at once; the pixels of a task are a multiple of it.
pub(crate) const BLOCK: usize = 8;

/// Values of one task.
const TASK: usize = 16 * 1024;

/// The lookup tables of a network's input, one for each channel.
#[derive(Clone, Debug)]
pub(crate) enum Tables<T> {
    /// Red, green and blue, for a network of three channels.
    Rgb(Box<[[T; 256]; 3]>),
    /// Gray, for a network of one channel.
    Gray(Box<[T; 256]>),
}

/// A type of table entries.
pub(crate) trait Entry: Copy + Send + Sync {
    /// Maps pixels of `BYTES` bytes to three channels. `RED`, `GREEN` and `BLUE` are the indices of
    /// the colours' bytes in a pixel.
    fn map<const BYTES: usize, const RED: usize, const GREEN: usize, const BLUE: usize>(
        tables: &[[Self; 256]; 3],
        pixels: &[u8],
        output: &mut [Self],
    );
}

/// Implements [`Entry::map`] pixel by pixel.
pub(crate) fn map_each<
    T: Copy,
    const BYTES: usize,
    const RED: usize,
    const GREEN: usize,
    const BLUE: usize,
>(
    [red, green, blue]: &[[T; 256]; 3],
    pixels: &[u8],
    output: &mut [T],
) {
    let to = output.as_chunks_mut::<3>().0;
    for (to, from) in to.iter_mut().zip(pixels.as_chunks::<BYTES>().0) {
        *to = [
            red[usize::from(from[RED])],
            green[usize::from(from[GREEN])],
            blue[usize::from(from[BLUE])],
        ];
    }
}

impl<T: Entry> Tables<T> {
    /// Returns the tables with `entry` applied to every entry.
    pub(crate) fn map<U>(&self, entry: impl Fn(T) -> U) -> Tables<U> {
        match self {
            Self::Rgb(tables) => Tables::Rgb(Box::new(tables.map(|table| table.map(&entry)))),
            Self::Gray(table) => Tables::Gray(Box::new(table.map(entry))),
        }
    }

    /// Number of channels of the network's input.
    fn channels(&self) -> usize {
        match self {
            Self::Rgb(_) => 3,
            Self::Gray(_) => 1,
        }
    }

    /// Maps pixels to values `[N, H, W, C]`.
    ///
    /// # Panics
    /// If the output has another length, or the tables are for one channel and the pixels have three.
    pub(crate) fn run(&self, pool: &Pool, pixels: PixelView<'_>, output: &mut [T]) {
        let (count, channels) = (pixels.pixels(), self.channels());
        check_len("the output", output.len(), &[count, channels]);
        if let Self::Gray(_) = self {
            let order = pixels.order();
            assert!(
                order == PixelOrder::Gray,
                "{order} pixels for a network with one channel, which needs gray pixels"
            );
        }

        let stretches = pixels.stretches();
        let blocks = count.div_ceil(BLOCK);
        let tasks = blocks.div_ceil(TASK / (3 * BLOCK));
        let output = SharedMut::new(output);
        pool.run(tasks, &|task, _| {
            let blocks = part(blocks, tasks, task);
            let mut range = blocks.start * BLOCK..count.min(blocks.end * BLOCK);
            // SAFETY: different tasks have ranges that do not overlap.
            let mut output = unsafe { output.slice(range.start * channels..range.end * channels) };
            while !range.is_empty() {
                let (count, from) = stretches.next(&range);
                let (to, rest) = output.split_at_mut(count * channels);
                self.map_stretch(pixels.order(), from, to);
                output = rest;
                range.start += count;
            }
        });
    }

    /// Maps pixels without gaps.
    fn map_stretch(&self, order: PixelOrder, from: &[u8], to: &mut [T]) {
        match self {
            Self::Rgb(tables) => match order {
                PixelOrder::Rgb => T::map::<3, 0, 1, 2>(tables, from, to),
                PixelOrder::Bgr => T::map::<3, 2, 1, 0>(tables, from, to),
                PixelOrder::Rgba => T::map::<4, 0, 1, 2>(tables, from, to),
                PixelOrder::Bgra => T::map::<4, 2, 1, 0>(tables, from, to),
                PixelOrder::Gray => T::map::<1, 0, 0, 0>(tables, from, to),
            },
            Self::Gray(table) => {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = table[usize::from(from)];
                }
            }
        }
    }
}
