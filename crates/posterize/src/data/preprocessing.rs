//! The preprocessing of pictures for evaluation.

use std::fmt;

use posterize_kernels::f32::pixel_values;
use posterize_kernels::isa::Isa;
use posterize_kernels::resample::{Taps, resize_rgb};
use serde::{Deserialize, Serialize};

use super::{Interpolation, Picture};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The preprocessing for evaluation; torchvision's `Resize(resize, interpolation)`, `CenterCrop(crop)`,
/// `ToTensor()` and `Normalize(mean, std)` of a Pillow image.
///
/// A saved model includes its preprocessing.
///
/// ```
/// use posterize::data::{Picture, Preprocessing};
/// let grey = Picture::new(500, 375, vec![124; 500 * 375 * 3])?;
/// let preprocessing = Preprocessing::imagenet();
/// let crop = preprocessing.apply(&grey);
/// assert_eq!((crop.width(), crop.height()), (224, 224));
/// let x = preprocessing.tensor(&[crop])?;
/// assert_eq!(x.shape(), [1, 3, 224, 224]);
/// assert!((x.data()[0] - (124.0 / 255.0 - 0.485) / 0.229).abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// The length of the shorter side after resizing, in pixels.
    pub resize: usize,
    /// The width and height of the center crop, in pixels.
    pub crop: usize,
    /// The filter of the resizing.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// The mean of red, green and blue, where pixels are in 0 to 1. It is subtracted.
    pub mean: [f32; 3],
    /// The standard deviation of red, green and blue, by which the difference is divided.
    pub std: [f32; 3],
}

/// Prints all fields: `resize 256 (bilinear), centre crop 224, mean [0.485, 0.456, 0.406],
/// std [0.229, 0.224, 0.225]`.
impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resize, crop, interpolation, mean, std } = self;
        write!(
            f,
            "resize {resize} ({interpolation}), centre crop {crop}, mean {mean:?}, std {std:?}"
        )
    }
}

impl Default for Preprocessing {
    fn default() -> Self {
        Self::imagenet()
    }
}

impl Preprocessing {
    /// Returns torchvision's preprocessing for ImageNet: resize to 256, crop 224, ImageNet's mean
    /// and standard deviation.
    pub fn imagenet() -> Self {
        Self {
            resize: 256,
            crop: 224,
            interpolation: Interpolation::Bilinear,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    /// Sets the crop in pixels, and `resize` to floor(crop / ratio), as timm does for a model's
    /// `crop_pct`.
    ///
    /// ```
    /// use posterize::data::Preprocessing;
    /// let preprocessing = Preprocessing::imagenet().with_crop_ratio(224, 0.9)?;
    /// assert_eq!((preprocessing.resize, preprocessing.crop), (248, 224));
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if `ratio` is not above 0 and at most 1.
    pub fn with_crop_ratio(mut self, crop: usize, ratio: f64) -> Result<Self> {
        if !(ratio > 0.0 && ratio <= 1.0) {
            return Err(Error::Argument(format!(
                "preprocessing: the crop ratio is {ratio}; expected a number above 0 and at most 1"
            )));
        }
        self.crop = crop;
        self.resize = (crop as f64 / ratio).floor() as usize;
        Ok(self)
    }

    /// Checks that all fields are in range.
    ///
    /// # Errors
    /// Returns an error if `resize` or `crop` is not in `1..=16384`, if a mean is not finite, or if
    /// a standard deviation is not finite and positive.
    pub fn validate(&self) -> Result<()> {
        const MAX_SIZE: usize = 1 << 14;
        for (what, size) in [("resize", self.resize), ("crop", self.crop)] {
            if !(1..=MAX_SIZE).contains(&size) {
                return Err(Error::Argument(format!(
                    "preprocessing: {what} is {size}; expected 1 to {MAX_SIZE} pixels"
                )));
            }
        }
        let usable = self.mean.iter().all(|m| m.is_finite())
            && self.std.iter().all(|s| s.is_finite() && *s > 0.0);
        if !usable {
            return Err(Error::Argument(format!(
                "preprocessing: mean is {:?} and std is {:?}; expected finite numbers, std above 0",
                self.mean, self.std
            )));
        }
        Ok(())
    }

    /// Resizes a picture and returns the center crop of `crop` by `crop` pixels.
    ///
    /// Only the pixels of the crop are computed. They have the same values as if the whole picture
    /// was resized.
    ///
    /// # Panics
    /// Panics if `resize` or `crop` is zero; see [`Preprocessing::validate`].
    pub fn apply(&self, picture: &Picture) -> Picture {
        let size = resized(self.resize, [picture.height(), picture.width()]);
        let [down, across] = size.map(|side| Window::center(side, self.crop));
        resize_and_crop(picture, self.interpolation, size, &down, &across, self.crop)
    }

    /// Converts pictures to a normalized batch of shape `[N, 3, H, W]`, channels last.
    ///
    /// # Errors
    /// Returns an error if there is no picture, or if they have different sizes.
    pub fn tensor(&self, crops: &[Picture]) -> Result<Tensor> {
        let first = crops
            .first()
            .ok_or_else(|| Error::shape("batch", "found no picture; expected at least one"))?;
        let (width, height) = (first.width(), first.height());
        if let Some(other) = crops.iter().find(|p| (p.width(), p.height()) != (width, height)) {
            return Err(Error::shape(
                "batch",
                format!(
                    "expected pictures of one size, found {width} x {height} and {} x {} pixels",
                    other.width(),
                    other.height()
                ),
            ));
        }
        let tables = pixel_tables(self.mean, self.std);
        let mut data = Vec::with_capacity(crops.len() * first.data().len());
        for crop in crops {
            extend_normalized(&mut data, crop.data(), &tables);
        }
        Tensor::channels_last([crops.len(), 3, height, width], data)
    }
}

/// Returns the size `[H, W]` after torchvision's `Resize(size)`: the shorter side is `size`, the
/// longer one keeps the aspect ratio and is rounded down.
pub(super) fn resized(size: usize, [height, width]: [usize; 2]) -> [usize; 2] {
    let (short, long) = (height.min(width), height.max(width));
    let long = (size as u128 * long as u128 / short as u128) as usize;
    if height <= width { [size, long] } else { [long, size] }
}

/// Resizes a picture to `[H, W]` and returns the crop of `crop` by `crop` pixels that the two
/// windows select, padded with zeros. Only the selected pixels are computed.
pub(super) fn resize_and_crop(
    picture: &Picture,
    interpolation: Interpolation,
    [resized_height, resized_width]: [usize; 2],
    down: &Window,
    across: &Window,
    crop: usize,
) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let filter = interpolation.filter();
    let columns = Taps::new(filter, width, resized_width, across.kept.clone());
    let rows = Taps::new(filter, height, resized_height, down.kept.clone());
    let mut part = vec![0; columns.len() * rows.len() * 3];
    let whole = picture.part(0, 0, height, width);
    resize_rgb(Isa::detect(), whole, &columns, &rows, &mut part);
    let data = if (columns.len(), rows.len()) == (crop, crop) {
        part
    } else {
        pad(&part, across, down, crop)
    };
    Picture::new(crop, crop, data).expect("the crop has its size")
}

/// A crop along one axis.
pub(super) struct Window {
    /// The positions of the resized picture that are kept.
    kept: std::ops::Range<usize>,
    /// The number of zeros before them.
    before: usize,
}

impl Window {
    /// Returns the window of torchvision's `CenterCrop`. The first position is rounded half to
    /// even. If `size` is smaller than `crop`, the crop is padded with zeros.
    fn center(size: usize, crop: usize) -> Self {
        if size < crop {
            return Self { kept: 0..size, before: (crop - size) / 2 };
        }
        let first = ((size - crop) as f64 / 2.0).round_ties_even() as usize;
        Self { kept: first..first + crop, before: 0 }
    }

    /// Returns the window of `crop` positions from `first` on, where `size` positions are padded
    /// with `padding` zeros on both sides.
    #[cfg(feature = "data")]
    pub(super) fn padded(size: usize, padding: usize, first: usize, crop: usize) -> Self {
        let inside = |position: usize| position.saturating_sub(padding).min(size);
        Self {
            kept: inside(first)..inside(first + crop),
            before: padding.saturating_sub(first).min(crop),
        }
    }
}

fn pad(part: &[u8], across: &Window, down: &Window, crop: usize) -> Vec<u8> {
    let mut data = vec![0; crop * crop * 3];
    let row_bytes = across.kept.len() * 3;
    for (y, row) in part.chunks_exact(row_bytes).enumerate() {
        let at = ((down.before + y) * crop + across.before) * 3;
        data[at..at + row_bytes].copy_from_slice(row);
    }
    data
}

/// The normalized value of each pixel value, for each channel.
pub(super) type PixelTables = [[f32; 256]; 3];

/// Computes the tables of torchvision's `ToTensor` and `Normalize`.
pub(super) fn pixel_tables(mean: [f32; 3], std: [f32; 3]) -> Box<PixelTables> {
    let table = |channel: usize| pixel_values(mean[channel], std[channel]);
    Box::new([table(0), table(1), table(2)])
}

/// Appends the normalized values of `pixels` (`[…, 3]`).
pub(super) fn extend_normalized(values: &mut Vec<f32>, pixels: &[u8], tables: &PixelTables) {
    let [red, green, blue] = tables;
    values.extend(
        pixels.as_chunks().0.iter().flat_map(|&[r, g, b]| {
            [red[usize::from(r)], green[usize::from(g)], blue[usize::from(b)]]
        }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resized_sizes_equal_torchvisions() {
        assert_eq!(resized(256, [375, 500]), [256, 341]);
        assert_eq!(resized(256, [500, 333]), [384, 256]);
        assert_eq!(resized(256, [256, 256]), [256, 256]);
        assert_eq!(resized(8, [1, 1_000_000]), [8, 8_000_000]);
    }

    #[test]
    fn the_center_crop_rounds_half_to_even_as_torchvision_does() {
        let first = |size| Window::center(size, 224).kept.start;
        assert_eq!([first(341), first(343), first(256), first(224)], [58, 60, 16, 0]);
        let narrow = Window::center(5, 8);
        assert_eq!((narrow.kept, narrow.before), (0..5, 1));
    }

    #[test]
    fn a_picture_of_one_row_is_resized_only_within_its_crop() {
        // The whole resized picture would have 256 x 15,360,000 pixels.
        let row = Picture::new(60_000, 1, vec![9; 180_000]).unwrap();
        let crop = Preprocessing::imagenet().apply(&row);
        assert!(crop.data().iter().all(|&v| v == 9));
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let good = Preprocessing::imagenet();
        assert!(good.validate().is_ok());
        assert!(Preprocessing { crop: 0, ..good.clone() }.validate().is_err());
        assert!(Preprocessing { resize: 1 << 20, ..good.clone() }.validate().is_err());
        assert!(Preprocessing { std: [1.0, 0.0, 1.0], ..good.clone() }.validate().is_err());
        assert!(Preprocessing { mean: [f32::NAN; 3], ..good }.validate().is_err());
    }
}
