//! The normalization of 8-bit pixels by tables.

use posterize_kernels::f32::pixel_values;

use super::ChannelOrder;

/// The normalized value of each pixel value, for each channel.
pub(super) struct PixelTables {
    /// In the network's order.
    tables: Box<[[f32; 256]; 3]>,
    channels: ChannelOrder,
}

impl PixelTables {
    /// Computes the tables of torchvision's `ToTensor` and `Normalize`.
    pub(super) fn new(channels: ChannelOrder, mean: [f32; 3], std: [f32; 3]) -> Self {
        let table = |channel: usize| pixel_values(mean[channel], std[channel]);
        Self { tables: Box::new([table(0), table(1), table(2)]), channels }
    }

    /// Appends the normalized values of RGB `pixels` (`[…, 3]`).
    pub(super) fn extend(&self, values: &mut Vec<f32>, pixels: &[u8]) {
        let [first, second, third] = &*self.tables;
        let normalized = |[a, b, c]: [u8; 3]| {
            [first[usize::from(a)], second[usize::from(b)], third[usize::from(c)]]
        };
        let pixels = pixels.as_chunks().0.iter();
        match self.channels {
            ChannelOrder::Rgb => values.extend(pixels.flat_map(|&pixel| normalized(pixel))),
            ChannelOrder::Bgr => {
                values.extend(pixels.flat_map(|&[r, g, b]| normalized([b, g, r])));
            }
        }
    }
}
