//! Transforms of pictures for training and evaluation.

use posterize_kernels::isa::Isa;
use posterize_kernels::resample::{Taps, resize_rgb};

use super::pixel_tables::PixelTables;
use super::random::{Purpose, Random};
use super::{ChannelOrder, Interpolation, Picture, Preprocessing, RandomCrop, Resize};
use crate::error::{Error, Result};

/// A training augmentation; torchvision's `RandomResizedCrop(crop, scale, ratio, interpolation)`,
/// `RandomHorizontalFlip(flip)`, `ToTensor()` and `Normalize(mean, std)`.
///
/// The random choices depend only on the seed, the epoch and the index of the sample.
///
/// ```
/// use posterize::data::{Augmentation, Picture, Preprocessing};
///
/// let augmentation = Augmentation::new(&Preprocessing::imagenet(), 0);
/// let ramp = (0..100 * 80 * 3).map(|i| (i / 3 % 100) as u8).collect();
/// let picture = Picture::new(100, 80, ramp)?;
/// let crop = augmentation.apply(&picture, 0, 7);
/// assert_eq!((crop.width(), crop.height()), (224, 224));
/// assert_eq!(crop, augmentation.apply(&picture, 0, 7));
/// assert_ne!(crop, augmentation.apply(&picture, 1, 7));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Augmentation {
    /// The height and width of the result, in pixels.
    pub crop: [usize; 2],
    /// The minimum and maximum area of the crop before resizing, as a fraction of the picture's
    /// area.
    pub scale: [f64; 2],
    /// The minimum and maximum aspect ratio (width / height) of the crop before resizing.
    pub ratio: [f64; 2],
    /// The probability of a horizontal flip, 0 to 1.
    pub flip: f64,
    /// The mean of each channel, in the network's order, where pixels are in 0 to 1. It is subtracted.
    pub mean: [f32; 3],
    /// The standard deviation of each channel, in the network's order, by which the difference is
    /// divided.
    pub std: [f32; 3],
    /// The seed of all random choices.
    pub seed: u64,
    /// The filter of the resizing.
    pub interpolation: Interpolation,
    /// The order of the network's channels.
    pub channels: ChannelOrder,
}

impl Augmentation {
    /// Creates an augmentation with the crop, interpolation, channels, mean and standard deviation
    /// of `preprocessing` and torchvision's defaults: scale 0.08 to 1, ratio 3/4 to 4/3, flip 0.5.
    pub fn new(preprocessing: &Preprocessing, seed: u64) -> Self {
        Self {
            crop: preprocessing.crop,
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: 0.5,
            mean: preprocessing.mean,
            std: preprocessing.std,
            seed,
            interpolation: preprocessing.interpolation,
            channels: preprocessing.channels,
        }
    }

    /// Checks that all fields are in range.
    ///
    /// # Errors
    /// Returns the same errors as [`Preprocessing::validate`], and an error if `scale` or `ratio`
    /// is not an ascending range above 0, or if `flip` is not in 0 to 1.
    pub fn validate(&self) -> Result<()> {
        let Self { crop, interpolation, channels, mean, std, .. } = *self;
        let resize = Resize::Exact(crop);
        Preprocessing { resize, crop, interpolation, channels, mean, std }.validate()?;
        let range = |[low, high]: [f64; 2]| low > 0.0 && low <= high && high.is_finite();
        if !range(self.scale) || !range(self.ratio) || !(0.0..=1.0).contains(&self.flip) {
            return Err(Error::Argument(format!(
                "augmentation: scale is {:?}, ratio {:?} and flip {}; expected ascending ranges \
                 above 0 and a probability between 0 and 1",
                self.scale, self.ratio, self.flip
            )));
        }
        Ok(())
    }

    /// Crops, resizes and flips a picture at random.
    ///
    /// `sample` is the index of the picture in the data set. With the seed and `epoch`, it determines
    /// the random choices.
    ///
    /// # Panics
    /// Panics if the settings are not valid; see [`Augmentation::validate`].
    pub fn apply(&self, picture: &Picture, epoch: u64, sample: usize) -> Picture {
        let mut random = Random::new(Purpose::Augmentation, self.seed, epoch, sample as u64);
        let area = self.area(&mut random, picture.width(), picture.height());
        let flipped = random.uniform(0.0, 1.0) < self.flip;
        self.resized_crop(picture, area, flipped)
    }

    fn resized_crop(&self, picture: &Picture, area: Area, flipped: bool) -> Picture {
        let filter = self.interpolation.filter();
        let [height, width] = self.crop;
        let columns = Taps::new(filter, area.width, width, 0..width);
        let rows = Taps::new(filter, area.height, height, 0..height);
        let mut data = vec![0; height * width * 3];
        let part = picture.part(area.top, area.left, area.height, area.width);
        resize_rgb(Isa::detect(), part, &columns, &rows, &mut data);
        let mut crop = Picture::new(width, height, data).expect("the crop has its size");
        if flipped {
            crop.flip();
        }
        crop
    }

    /// Chooses a crop as torchvision's `RandomResizedCrop.get_params` does: ten random tries, then
    /// the largest center crop with an allowed ratio.
    fn area(&self, random: &mut Random, width: usize, height: usize) -> Area {
        let [narrow, wide] = self.ratio;
        for _ in 0..10 {
            let pixels = width as f64 * height as f64;
            let target = pixels * random.uniform(self.scale[0], self.scale[1]);
            let aspect = random.uniform(narrow.ln(), wide.ln()).exp();
            let w = (target * aspect).sqrt().round_ties_even() as usize;
            let h = (target / aspect).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let top = random.below((height - h) as u64 + 1) as usize;
                let left = random.below((width - w) as u64 + 1) as usize;
                return Area { top, left, height: h, width: w };
            }
        }
        let aspect = width as f64 / height as f64;
        let rounded = |side: f64, max: usize| (side.round_ties_even() as usize).clamp(1, max);
        let (w, h) = if aspect < narrow {
            (width, rounded(width as f64 / narrow, height))
        } else if aspect > wide {
            (rounded(height as f64 * wide, width), height)
        } else {
            (width, height)
        };
        Area { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

/// A transform from a decoded picture to a network's input.
///
/// ```
/// use posterize::data::{Picture, Preprocessing, Transform};
///
/// let transform = Transform::from(Preprocessing::imagenet());
/// let picture = Picture::new(100, 80, vec![0; 100 * 80 * 3])?;
/// let crop = transform.apply(&picture, 0, 0);
/// assert_eq!((crop.width(), crop.height()), (224, 224));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// The preprocessing for evaluation, without random choices.
    Evaluate(Preprocessing),
    /// Random resized crops and flips.
    Augment(Augmentation),
    /// Random crops of the padded picture, and flips.
    RandomCrop(RandomCrop),
}

impl From<Preprocessing> for Transform {
    fn from(preprocessing: Preprocessing) -> Self {
        Self::Evaluate(preprocessing)
    }
}

impl From<&Preprocessing> for Transform {
    fn from(preprocessing: &Preprocessing) -> Self {
        Self::Evaluate(preprocessing.clone())
    }
}

impl From<Augmentation> for Transform {
    fn from(augmentation: Augmentation) -> Self {
        Self::Augment(augmentation)
    }
}

impl From<RandomCrop> for Transform {
    fn from(crop: RandomCrop) -> Self {
        Self::RandomCrop(crop)
    }
}

impl Transform {
    /// Returns the height and width of the result, in pixels.
    pub fn crop(&self) -> [usize; 2] {
        match self {
            Self::Evaluate(preprocessing) => preprocessing.crop,
            Self::Augment(augmentation) => augmentation.crop,
            Self::RandomCrop(crop) => crop.crop,
        }
    }

    /// Checks that all settings are in range.
    ///
    /// # Errors
    /// Returns the errors of [`Preprocessing::validate`], [`Augmentation::validate`] or
    /// [`RandomCrop::validate`].
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Evaluate(preprocessing) => preprocessing.validate(),
            Self::Augment(augmentation) => augmentation.validate(),
            Self::RandomCrop(crop) => crop.validate(),
        }
    }

    /// Transforms a picture to `crop` pixels.
    ///
    /// `sample` is the index of the picture in the data set. With the seed and `epoch`, it determines
    /// the random choices.
    ///
    /// # Panics
    /// Panics if the settings are not valid; see [`Transform::validate`].
    pub fn apply(&self, picture: &Picture, epoch: u64, sample: usize) -> Picture {
        match self {
            Self::Evaluate(preprocessing) => preprocessing.apply(picture),
            Self::Augment(augmentation) => augmentation.apply(picture, epoch, sample),
            Self::RandomCrop(crop) => crop.apply(picture, epoch, sample),
        }
    }

    /// Returns the normalized value of each pixel value, for each channel.
    pub(super) fn pixel_tables(&self) -> PixelTables {
        match self {
            Self::Evaluate(p) => PixelTables::new(p.channels, p.mean, p.std),
            Self::Augment(a) => PixelTables::new(a.channels, a.mean, a.std),
            Self::RandomCrop(c) => PixelTables::new(c.channels, c.mean, c.std),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn augmentation(seed: u64) -> Augmentation {
        Augmentation::new(&Preprocessing::imagenet().with_sizes(256, 48), seed)
    }

    #[cfg(feature = "jpeg")]
    #[test]
    fn a_resized_crop_equals_torchvisions() {
        use std::path::Path;

        use safetensors::SafeTensors;

        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/preprocess");
        let bytes = std::fs::read(testdata.join("expected.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let picture = Picture::open(testdata.join("pictures/large.jpg")).unwrap();
        // The same area as in testdata/preprocess/generate.py.
        let area = Area { top: 41, left: 13, height: 250, width: 199 };
        for (name, flipped) in [("large.jpg@part", false), ("large.jpg@flipped", true)] {
            let found = augmentation(0).resized_crop(&picture, area, flipped);
            assert!(found.data() == expected.tensor(name).unwrap().data(), "{name}");
        }
    }

    #[test]
    fn areas_are_within_the_picture_the_scale_and_the_ratio() {
        let (width, height) = (640, 480);
        let augmentation = augmentation(0);
        let (mut min, mut max) = (f64::MAX, 0.0_f64);
        for sample in 0..2000 {
            let mut random = Random::new(Purpose::Augmentation, 5, 0, sample);
            let area = augmentation.area(&mut random, width, height);
            assert!(area.left + area.width <= width && area.top + area.height <= height);
            let (w, h) = (area.width as f64, area.height as f64);
            let share = w * h / (width * height) as f64;
            // The tolerances are for rounding to whole pixels.
            assert!((0.079..=1.001).contains(&share), "{area:?}");
            assert!((0.745..1.342).contains(&(w / h)), "{area:?}");
            (min, max) = (min.min(share), max.max(share));
        }
        assert!(min < 0.09 && max > 0.95, "expected the whole range, found {min} to {max}");
    }

    #[test]
    fn a_picture_too_narrow_for_the_ratio_gives_a_center_crop() {
        let area = |width, height| {
            let mut random = Random::new(Purpose::Augmentation, 5, 0, 0);
            augmentation(0).area(&mut random, width, height)
        };
        assert_eq!(area(10, 5000), Area { top: 2493, left: 0, height: 13, width: 10 });
        assert_eq!(area(5000, 9), Area { top: 0, left: 2494, height: 9, width: 12 });
        assert_eq!(area(1, 1), Area { top: 0, left: 0, height: 1, width: 1 });
    }

    #[test]
    fn flips_have_the_probability_that_was_set() {
        let ramp: Vec<u8> = (0..64 * 64).flat_map(|i| [(i % 64 * 4) as u8; 3]).collect();
        let picture = Picture::new(64, 64, ramp).unwrap();
        let flipped = |flip: f64| {
            let augmentation = Augmentation { flip, ..augmentation(1) };
            let falls = |sample| {
                let crop = augmentation.apply(&picture, 0, sample);
                crop.data()[0] > crop.data()[47 * 3]
            };
            (0..1000).filter(|&sample| falls(sample)).count()
        };
        assert_eq!((flipped(0.0), flipped(1.0)), (0, 1000));
        // The expected number is 500 with a standard deviation of 16.
        assert!((420..580).contains(&flipped(0.5)));
    }
}
