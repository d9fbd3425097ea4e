//! Writes pictures as JPEG.

use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};

use crate::data::Picture;
use crate::error::{Error, Result};

impl Picture {
    /// Encodes the picture as a baseline JPEG whose colours have half the resolution (4:2:0).
    ///
    /// `quality` is from 1 to 100, as in Pillow's `save(…, quality=…)`; other values are clamped.
    ///
    /// ```
    /// use posterize::data::Picture;
    ///
    /// let grey = Picture::new(40, 30, vec![128; 40 * 30 * 3])?;
    /// let jpeg = grey.to_jpeg(75)?;
    /// let decoded = Picture::decode("grey.jpg", &jpeg)?;
    /// assert_eq!((decoded.width(), decoded.height(), decoded.data()[0]), (40, 30, 128));
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if a side is longer than 65,535 pixels.
    pub fn to_jpeg(&self, quality: u8) -> Result<Vec<u8>> {
        let (width, height) = (self.width(), self.height());
        let failed = |problem: String| {
            Error::Argument(format!(
                "a picture of {width} x {height} pixels cannot be a JPEG: {problem}"
            ))
        };
        if width.max(height) > usize::from(u16::MAX) {
            return Err(failed(format!("expected sides of at most {} pixels", u16::MAX)));
        }
        Encoder::new(self.data(), width, height, PixelFormat::Rgb)
            .quality(quality.clamp(1, 100))
            .subsampling(Subsampling::S420)
            .optimize_huffman(true)
            .encode()
            .map_err(|error| failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with a gradient, whose sides are no multiples of a block's.
    fn gradient() -> Picture {
        let (width, height) = (53, 37);
        let values = (0..height).flat_map(|y| (0..width).map(move |x| [4 * x, 6 * y, 2 * (x + y)]));
        let data = values.flatten().map(|value| value as u8).collect();
        Picture::new(width, height, data).unwrap()
    }

    #[test]
    fn a_decoded_picture_is_close_to_the_encoded_one() {
        let picture = gradient();
        let error = |quality| {
            let jpeg = picture.to_jpeg(quality).unwrap();
            let decoded = Picture::decode("gradient.jpg", &jpeg).unwrap();
            assert_eq!((decoded.width(), decoded.height()), (53, 37));
            let pairs = picture.data().iter().zip(decoded.data());
            let sum: u64 = pairs.map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
            (sum as f64 / picture.data().len() as f64, jpeg.len())
        };
        let [(fine, large), (coarse, small)] = [error(95), error(20)];
        assert!(fine < 2.0 && fine < coarse && coarse < 12.0, "{fine} {coarse}");
        assert!(small < large && large < picture.data().len(), "{small} {large}");
    }

    #[test]
    fn a_picture_that_is_too_large_is_an_error() {
        let wide = Picture::new(65_536, 1, vec![0; 3 * 65_536]).unwrap();
        let error = wide.to_jpeg(75).unwrap_err().to_string();
        assert!(error.contains("65536 x 1 pixels cannot be a JPEG: expected sides"), "{error}");
    }
}
