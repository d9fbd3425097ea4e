//! The preprocessing of pictures for evaluation.

use std::fmt;

use posterize_kernels::isa::Isa;
use posterize_kernels::resample::{Taps, resize_rgb};
use serde::{Deserialize, Serialize};

use super::pixel_tables::PixelTables;
use super::resize::height_and_width;
use super::{ChannelOrder, Interpolation, Picture, Resize};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The preprocessing for evaluation; torchvision's `Resize(resize, interpolation)`, `CenterCrop(crop)`,
/// `ToTensor()` and `Normalize(mean, std)` of a Pillow image, whose channels may be put into another
/// order before they are normalized.
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
    /// The size after resizing, in pixels.
    pub resize: Resize,
    /// The height and width of the center crop, in pixels.
    #[serde(with = "height_and_width")]
    pub crop: [usize; 2],
    /// The filter of the resizing.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// The order of the network's channels.
    #[serde(default, skip_serializing_if = "ChannelOrder::is_rgb")]
    pub channels: ChannelOrder,
    /// The mean of each channel, in the network's order, where pixels are in 0 to 1. It is subtracted.
    pub mean: [f32; 3],
    /// The standard deviation of each channel, in the network's order, by which the difference is
    /// divided.
    pub std: [f32; 3],
}

/// Prints all fields: `resize 256 (bilinear), centre crop 224, mean [0.485, 0.456, 0.406],
/// std [0.229, 0.224, 0.225]`.
impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resize, crop, interpolation, channels, mean, std } = self;
        write!(f, "resize {resize} ({interpolation}), centre crop {}, ", size_text(*crop))?;
        if !channels.is_rgb() {
            write!(f, "channels {channels}, ")?;
        }
        write!(f, "mean {mean:?}, std {std:?}")
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
            resize: Resize::Shorter(256),
            crop: [224; 2],
            interpolation: Interpolation::Bilinear,
            channels: ChannelOrder::Rgb,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    /// Sets the length of the shorter side after resizing, and the height and width of a square crop,
    /// in pixels.
    ///
    /// ```
    /// use posterize::data::{Preprocessing, Resize};
    /// let preprocessing = Preprocessing::imagenet().with_sizes(272, 240);
    /// assert_eq!((preprocessing.resize, preprocessing.crop), (Resize::Shorter(272), [240, 240]));
    /// ```
    #[must_use]
    pub const fn with_sizes(mut self, resize: usize, crop: usize) -> Self {
        self.resize = Resize::Shorter(resize);
        self.crop = [crop; 2];
        self
    }

    /// Sets a square crop in pixels, and `resize` to floor(crop / ratio), as timm does for a model's
    /// `crop_pct`.
    ///
    /// ```
    /// use posterize::data::{Preprocessing, Resize};
    /// let preprocessing = Preprocessing::imagenet().with_crop_ratio(224, 0.9)?;
    /// assert_eq!((preprocessing.resize, preprocessing.crop), (Resize::Shorter(248), [224, 224]));
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if `ratio` is not above 0 and at most 1.
    pub fn with_crop_ratio(self, crop: usize, ratio: f64) -> Result<Self> {
        if !(ratio > 0.0 && ratio <= 1.0) {
            return Err(Error::Argument(format!(
                "preprocessing: the crop ratio is {ratio}; expected a number above 0 and at most 1"
            )));
        }
        Ok(self.with_sizes((crop as f64 / ratio).floor() as usize, crop))
    }

    /// Checks that all fields are in range.
    ///
    /// # Errors
    /// Returns an error if a side of `resize` or `crop` is not in `1..=16384`, if a mean is not finite, or if
    /// a standard deviation is not finite and positive.
    pub fn validate(&self) -> Result<()> {
        const MAX_SIZE: usize = 1 << 14;
        for (what, [height, width]) in [("resize", self.resize.smallest()), ("crop", self.crop)] {
            if ![height, width].iter().all(|side| (1..=MAX_SIZE).contains(side)) {
                return Err(Error::Argument(format!(
                    "preprocessing: {what} is {}; expected 1 to {MAX_SIZE} pixels",
                    size_text([height, width])
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

    /// Resizes a picture and returns the center crop of `crop` pixels.
    ///
    /// Only the pixels of the crop are computed. They have the same values as if the whole picture
    /// was resized.
    ///
    /// # Panics
    /// Panics if `resize` or `crop` is zero; see [`Preprocessing::validate`].
    pub fn apply(&self, picture: &Picture) -> Picture {
        let size @ [height, width] = self.resize.of([picture.height(), picture.width()]);
        let [down, across] =
            [Window::center(height, self.crop[0]), Window::center(width, self.crop[1])];
        resize_and_crop(picture, self.interpolation, size, &down, &across, self.crop)
    }

    /// Converts pictures to a normalized batch of shape `[N, 3, H, W]`, channels last in memory.
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
        let tables = PixelTables::new(self.channels, self.mean, self.std);
        let mut data = Vec::with_capacity(crops.len() * first.data().len());
        for crop in crops {
            tables.extend(&mut data, crop.data());
        }
        Tensor::channels_last([crops.len(), 3, height, width], data)
    }
}

/// Prints a height and a width: `224`, or `48x192`.
fn size_text([height, width]: [usize; 2]) -> String {
    if height == width { height.to_string() } else { Resize::Exact([height, width]).to_string() }
}

/// Resizes a picture to `[H, W]` and returns the crop of `crop` (`[H, W]`) pixels that the two windows
/// select, padded with zeros. Only the selected pixels are computed.
pub(super) fn resize_and_crop(
    picture: &Picture,
    interpolation: Interpolation,
    [resized_height, resized_width]: [usize; 2],
    down: &Window,
    across: &Window,
    crop @ [crop_height, crop_width]: [usize; 2],
) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let filter = interpolation.filter();
    let columns = Taps::new(filter, width, resized_width, across.kept.clone());
    let rows = Taps::new(filter, height, resized_height, down.kept.clone());
    let mut part = vec![0; columns.len() * rows.len() * 3];
    let whole = picture.part(0, 0, height, width);
    resize_rgb(Isa::detect(), whole, &columns, &rows, &mut part);
    let data =
        if [rows.len(), columns.len()] == crop { part } else { pad(&part, across, down, crop) };
    Picture::new(crop_width, crop_height, data).expect("the crop has its size")
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

fn pad(part: &[u8], across: &Window, down: &Window, [height, width]: [usize; 2]) -> Vec<u8> {
    let mut data = vec![0; height * width * 3];
    let row_bytes = across.kept.len() * 3;
    for (y, row) in part.chunks_exact(row_bytes).enumerate() {
        let at = ((down.before + y) * width + across.before) * 3;
        data[at..at + row_bytes].copy_from_slice(row);
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_picture_is_stretched_to_an_exact_size() {
        let columns = (0..30 * 20).flat_map(|i| [(i % 30 * 8) as u8, 0, 7]).collect();
        let picture = Picture::new(30, 20, columns).unwrap();
        let wide = Preprocessing {
            resize: Resize::Exact([4, 60]),
            crop: [4, 60],
            interpolation: Interpolation::Nearest,
            ..Preprocessing::imagenet()
        };
        let found = wide.apply(&picture);
        assert_eq!((found.width(), found.height()), (60, 4));
        let expected: Vec<u8> = (0..4 * 60).flat_map(|i| [(i % 60 / 2 * 8) as u8, 0, 7]).collect();
        assert_eq!(found.data(), expected);
        assert_eq!(wide.tensor(&[found]).unwrap().shape(), [1, 3, 4, 60]);
    }

    #[test]
    fn square_sizes_and_rgb_are_stored_as_before() {
        let json = |preprocessing: &Preprocessing| serde_json::to_value(preprocessing).unwrap();
        let imagenet = json(&Preprocessing::imagenet());
        assert_eq!((&imagenet["resize"], &imagenet["crop"]), (&256.into(), &224.into()));
        assert_eq!(imagenet.get("channels"), None);
        let wide = Preprocessing {
            resize: Resize::Exact([48, 192]),
            crop: [48, 192],
            channels: ChannelOrder::Bgr,
            ..Preprocessing::imagenet()
        };
        assert_eq!(serde_json::from_value::<Preprocessing>(json(&wide)).unwrap(), wide);
        assert_eq!(
            wide.to_string(),
            "resize 48x192 (bilinear), centre crop 48x192, channels BGR, mean [0.485, 0.456, 0.406], \
             std [0.229, 0.224, 0.225]"
        );
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let good = Preprocessing::imagenet();
        assert!(good.validate().is_ok());
        assert!(good.clone().with_sizes(256, 0).validate().is_err());
        assert!(good.clone().with_sizes(1 << 20, 224).validate().is_err());
        let flat = Preprocessing { resize: Resize::Exact([48, 0]), ..good.clone() };
        assert!(flat.validate().unwrap_err().to_string().contains("resize is 48x0"));
        assert!(Preprocessing { std: [1.0, 0.0, 1.0], ..good.clone() }.validate().is_err());
        assert!(Preprocessing { mean: [f32::NAN; 3], ..good }.validate().is_err());
    }
}
