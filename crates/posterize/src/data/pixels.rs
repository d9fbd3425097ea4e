//! Converts decoded pixels to RGB as Pillow's `convert("RGB")` does.

/// How the samples of a picture are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).
    pub(super) channels: usize,
    pub(super) depth: Depth,
    /// Whether the high byte of 16 bits comes first.
    pub(super) is_big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Eight,
    /// 16 bits, of which the high byte counts.
    High,
    /// 16 bits, clamped to 255: what Pillow does with 16-bit grey without alpha.
    Clamped,
}

impl Layout {
    /// Bytes of a pixel.
    pub(super) fn bytes(self) -> usize {
        self.channels * if self.depth == Depth::Eight { 1 } else { 2 }
    }

    /// Returns red, green and blue of a pixel of [`bytes`](Self::bytes) bytes.
    fn pixel(self, pixel: &[u8]) -> [u8; 3] {
        let wide = |channel: usize| {
            let bytes = [pixel[2 * channel], pixel[2 * channel + 1]];
            if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
        };
        let sample = |channel: usize| match self.depth {
            Depth::Eight => pixel[channel],
            Depth::High => (wide(channel) >> 8) as u8,
            Depth::Clamped => wide(channel).min(255) as u8,
        };
        if self.channels < 3 { [sample(0); 3] } else { [sample(0), sample(1), sample(2)] }
    }

    /// Converts as many pixels as `rgb` has.
    pub(super) fn convert(self, pixels: &[u8], rgb: &mut [u8]) {
        let rgb = rgb.as_chunks_mut::<3>().0;
        for (rgb, pixel) in rgb.iter_mut().zip(pixels.chunks_exact(self.bytes())) {
            *rgb = self.pixel(pixel);
        }
    }

    /// Converts in place pixels of at least three bytes.
    #[cfg(any(feature = "webp", feature = "bmp", feature = "pnm", test))]
    pub(super) fn convert_in_place(self, pixels: &mut Vec<u8>) {
        let bytes = self.bytes();
        assert!(bytes >= 3, "a pixel must not grow");
        let count = pixels.len() / bytes;
        if bytes > 3 || self.channels < 3 {
            for at in 0..count {
                let rgb = self.pixel(&pixels[at * bytes..][..bytes]);
                pixels[at * 3..][..3].copy_from_slice(&rgb);
            }
        }
        pixels.truncate(count * 3);
        pixels.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_conversions_give_the_same_pixels() {
        for depth in [Depth::Eight, Depth::High, Depth::Clamped] {
            for channels in 1..=4 {
                let layout = Layout { channels, depth, is_big_endian: channels % 2 == 0 };
                let mut pixels: Vec<u8> =
                    (0..layout.bytes() * 7).map(|i| (i * 89 % 256) as u8 * (i as u8 % 2)).collect();
                let mut rgb = vec![0; 21];
                layout.convert(&pixels, &mut rgb);
                if layout.bytes() >= 3 {
                    layout.convert_in_place(&mut pixels);
                    assert_eq!(pixels, rgb, "{layout:?}");
                }
            }
        }
    }

    #[test]
    fn wide_samples_are_halved_or_clamped() {
        let mut rgb = [0; 6];
        let grey = [0, 200, 1, 7];
        let layout = |depth, is_big_endian| Layout { channels: 1, depth, is_big_endian };
        layout(Depth::Clamped, true).convert(&grey, &mut rgb);
        assert_eq!(rgb, [200, 200, 200, 255, 255, 255]);
        layout(Depth::High, true).convert(&grey, &mut rgb);
        assert_eq!(rgb, [0, 0, 0, 1, 1, 1]);
        layout(Depth::High, false).convert(&grey, &mut rgb);
        assert_eq!(rgb, [200, 200, 200, 7, 7, 7]);
    }
}
