//! What an evaluated picture goes through before the network sees it.

use posterize_kernels::f32::pixel_values;
use posterize_kernels::isa::Isa;
use posterize_kernels::resample::{Taps, resize_rgb};
use serde::{Deserialize, Serialize};

use super::Picture;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Evaluation preprocessing: torchvision's `Resize(resize)`, `CenterCrop(crop)`, `ToTensor()`,
/// `Normalize(mean, std)` over Pillow. A saved model carries it.
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
    /// The shorter side after resizing, in pixels.
    pub resize: usize,
    /// The sides of the centre crop, in pixels.
    pub crop: usize,
    /// What is subtracted from red, green and blue (in 0..1).
    pub mean: [f32; 3],
    /// What red, green and blue are divided by after that.
    pub std: [f32; 3],
}

impl Default for Preprocessing {
    fn default() -> Self {
        Self::imagenet()
    }
}

impl Preprocessing {
    /// Resize 256, centre crop 224, ImageNet's mean and standard deviation.
    pub fn imagenet() -> Self {
        Self { resize: 256, crop: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    }

    /// Checks that the sizes and the standard deviations can be worked with.
    ///
    /// # Errors
    /// A size is zero or over 16,384; a mean is not finite, or a standard deviation not a positive
    /// finite number.
    pub fn validate(&self) -> Result<()> {
        const LARGEST: usize = 1 << 14;
        for (what, size) in [("resize", self.resize), ("crop", self.crop)] {
            if !(1..=LARGEST).contains(&size) {
                return Err(Error::Argument(format!(
                    "preprocessing: {what} is {size}; expected 1 to {LARGEST} pixels"
                )));
            }
        }
        let usable = self.mean.iter().all(|m| m.is_finite())
            && self.std.iter().all(|s| s.is_finite() && *s > 0.0);
        if !usable {
            return Err(Error::Argument(format!(
                "preprocessing: mean {:?}, std {:?}; expected finite numbers, std above zero",
                self.mean, self.std
            )));
        }
        Ok(())
    }

    /// Resizes and crops: the result has `crop` by `crop` pixels. Only what the crop needs is
    /// resized; each of its pixels has the value that resizing the whole picture gives.
    ///
    /// # Panics
    /// The sizes are zero; see [`Preprocessing::validate`].
    pub fn apply(&self, picture: &Picture) -> Picture {
        let size = resized(self.resize, [picture.height(), picture.width()]);
        let [down, across] = size.map(|side| Window::center(side, self.crop));
        resize_and_crop(picture, size, &down, &across, self.crop)
    }

    /// Crops as a normalised batch of shape `[N, 3, H, W]`, channels last in memory.
    ///
    /// # Errors
    /// There is no picture, or they have several sizes.
    pub fn tensor(&self, crops: &[Picture]) -> Result<Tensor> {
        let first = crops.first().ok_or_else(|| Error::shape("batch", "there is no picture"))?;
        let (width, height) = (first.width(), first.height());
        if let Some(other) = crops.iter().find(|p| (p.width(), p.height()) != (width, height)) {
            return Err(Error::shape(
                "batch",
                format!(
                    "one picture has {height} x {width} pixels, another {} x {}",
                    other.height(),
                    other.width()
                ),
            ));
        }
        let normalize = Normalize::new(self.mean, self.std);
        let mut data = Vec::with_capacity(crops.len() * first.data().len());
        for crop in crops {
            normalize.extend(&mut data, crop.data());
        }
        Tensor::channels_last([crops.len(), 3, height, width], data)
    }
}

/// torchvision's `Resize(size)`: the shorter side becomes `size`, the longer keeps the ratio,
/// rounded down. `[H, W]` to `[H, W]`.
pub(super) fn resized(size: usize, [height, width]: [usize; 2]) -> [usize; 2] {
    let (short, long) = (height.min(width), height.max(width));
    let long = (size as u128 * long as u128 / short as u128) as usize;
    if height <= width { [size, long] } else { [long, size] }
}

/// Resizes a picture to `[H, W]` and keeps the `crop` by `crop` pixels that the windows say, zeros
/// around them. Only what is kept is resized.
pub(super) fn resize_and_crop(
    picture: &Picture,
    [resized_height, resized_width]: [usize; 2],
    down: &Window,
    across: &Window,
    crop: usize,
) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let columns = Taps::bilinear(width, resized_width, across.kept.clone());
    let rows = Taps::bilinear(height, resized_height, down.kept.clone());
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

/// One axis of a crop: which positions are kept, and how many zeros go before them.
pub(super) struct Window {
    kept: std::ops::Range<usize>,
    before: usize,
}

impl Window {
    /// torchvision's `CenterCrop`: pads with zeros where `size` is smaller than `crop`, and rounds
    /// half a pixel to even.
    fn center(size: usize, crop: usize) -> Self {
        if size < crop {
            return Self { kept: 0..size, before: (crop - size) / 2 };
        }
        let first = ((size - crop) as f64 / 2.0).round_ties_even() as usize;
        Self { kept: first..first + crop, before: 0 }
    }

    /// The `crop` positions from `first` on, counted with `padding` zeros on both sides of `size`.
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

/// torchvision's `ToTensor` and `Normalize`: one table of 256 values for each channel.
pub struct Normalize(Box<[[f32; 256]; 3]>);

impl Normalize {
    pub(super) fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        let table = |channel: usize| pixel_values(mean[channel], std[channel]);
        Self(Box::new([table(0), table(1), table(2)]))
    }

    /// Appends the normalised values of `pixels` (`[…, 3]`).
    pub(super) fn extend(&self, values: &mut Vec<f32>, pixels: &[u8]) {
        let [red, green, blue] = &*self.0;
        values.extend(pixels.as_chunks().0.iter().flat_map(|&[r, g, b]| {
            [red[usize::from(r)], green[usize::from(g)], blue[usize::from(b)]]
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_torchvision() {
        assert_eq!(resized(256, [375, 500]), [256, 341]);
        assert_eq!(resized(256, [500, 333]), [384, 256]);
        assert_eq!(resized(256, [256, 256]), [256, 256]);
        assert_eq!(resized(8, [1, 1_000_000]), [8, 8_000_000]);
    }

    #[test]
    fn the_centre_rounds_half_a_pixel_to_even_as_python_does() {
        let first = |size| Window::center(size, 224).kept.start;
        assert_eq!([first(341), first(343), first(256), first(224)], [58, 60, 16, 0]);
        let narrow = Window::center(5, 8);
        assert_eq!((narrow.kept, narrow.before), (0..5, 1));
    }

    #[test]
    fn a_sliver_resized_to_millions_of_pixels_costs_only_its_crop() {
        let sliver = Picture::new(60_000, 1, vec![9; 180_000]).unwrap();
        let crop = Preprocessing::imagenet().apply(&sliver);
        assert!(crop.data().iter().all(|&v| v == 9));
    }

    #[test]
    fn impossible_settings_are_refused() {
        let good = Preprocessing::imagenet();
        assert!(good.validate().is_ok());
        assert!(Preprocessing { crop: 0, ..good.clone() }.validate().is_err());
        assert!(Preprocessing { resize: 1 << 20, ..good.clone() }.validate().is_err());
        assert!(Preprocessing { std: [1.0, 0.0, 1.0], ..good.clone() }.validate().is_err());
        assert!(Preprocessing { mean: [f32::NAN; 3], ..good }.validate().is_err());
    }
}
