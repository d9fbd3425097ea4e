//! Transforms from a picture to the pixels that a network is given.

use posterize_kernels::isa::Isa;
use posterize_kernels::resample::{Taps, resize_rgb};

use super::preprocessing::Normalize;
use super::random::{Purpose, Random};
use super::{Picture, Preprocessing, RandomCrop};
use crate::error::{Error, Result};

/// Training augmentation: torchvision's `RandomResizedCrop(crop, scale, ratio)`,
/// `RandomHorizontalFlip(flip)`, `ToTensor()`, `Normalize(mean, std)`.
///
/// What happens to a picture depends on the seed, the epoch and the sample's number alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Augmentation {
    /// The sides of the result, in pixels.
    pub crop: usize,
    /// The least and the greatest part of the picture's area that is kept.
    pub scale: [f64; 2],
    /// The least and the greatest ratio of width to height of what is kept.
    pub ratio: [f64; 2],
    /// How likely the result is mirrored, 0 to 1.
    pub flip: f64,
    /// What is subtracted from red, green and blue (in 0..1).
    pub mean: [f32; 3],
    /// What red, green and blue are divided by after that.
    pub std: [f32; 3],
    /// Determines every random choice.
    pub seed: u64,
}

impl Augmentation {
    /// torchvision's defaults (scale 0.08 to 1, ratio 3/4 to 4/3, flip one half), with the crop,
    /// mean and standard deviation that `preprocessing` evaluates with.
    pub fn new(preprocessing: &Preprocessing, seed: u64) -> Self {
        Self {
            crop: preprocessing.crop,
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: 0.5,
            mean: preprocessing.mean,
            std: preprocessing.std,
            seed,
        }
    }

    /// Checks the sizes and ranges.
    ///
    /// # Errors
    /// As [`Preprocessing::validate`]; a range is empty, reversed or not above zero; `flip` is no
    /// probability.
    pub fn validate(&self) -> Result<()> {
        let Self { crop, mean, std, .. } = *self;
        Preprocessing { resize: crop, crop, mean, std }.validate()?;
        let range = |[low, high]: [f64; 2]| low > 0.0 && low <= high && high.is_finite();
        if !range(self.scale) || !range(self.ratio) || !(0.0..=1.0).contains(&self.flip) {
            return Err(Error::Argument(format!(
                "augmentation: scale {:?}, ratio {:?}, flip {}; expected rising ranges above zero \
                 and a probability",
                self.scale, self.ratio, self.flip
            )));
        }
        Ok(())
    }

    /// Crops, resizes and perhaps mirrors sample number `sample` of epoch `epoch`.
    ///
    /// # Panics
    /// The settings are not valid; see [`Augmentation::validate`].
    pub fn apply(&self, picture: &Picture, epoch: u64, sample: usize) -> Picture {
        let mut random = Random::new(Purpose::Augmentation, self.seed, epoch, sample as u64);
        let area = self.area(&mut random, picture.width(), picture.height());
        let flipped = random.uniform(0.0, 1.0) < self.flip;
        self.resized_crop(picture, area, flipped)
    }

    fn resized_crop(&self, picture: &Picture, area: Area, flipped: bool) -> Picture {
        let columns = Taps::bilinear(area.width, self.crop, 0..self.crop);
        let rows = Taps::bilinear(area.height, self.crop, 0..self.crop);
        let mut data = vec![0; self.crop * self.crop * 3];
        let part = picture.part(area.top, area.left, area.height, area.width);
        resize_rgb(Isa::detect(), part, &columns, &rows, &mut data);
        let mut crop = Picture::new(self.crop, self.crop, data).expect("the crop has its size");
        if flipped {
            crop.mirror();
        }
        crop
    }

    /// torchvision's `RandomResizedCrop.get_params`: ten tries, then the largest centred part whose
    /// ratio is allowed.
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
        let rounded = |side: f64, most: usize| (side.round_ties_even() as usize).clamp(1, most);
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

/// From a decoded picture to the pixels and values that a network is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// The same for every epoch.
    Evaluate(Preprocessing),
    /// Random parts, zoomed.
    Augment(Augmentation),
    /// Random shifts.
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
    /// The sides of the result, in pixels.
    pub fn crop(&self) -> usize {
        match self {
            Self::Evaluate(preprocessing) => preprocessing.crop,
            Self::Augment(augmentation) => augmentation.crop,
            Self::RandomCrop(crop) => crop.crop,
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// See [`Preprocessing::validate`], [`Augmentation::validate`] and [`RandomCrop::validate`].
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Evaluate(preprocessing) => preprocessing.validate(),
            Self::Augment(augmentation) => augmentation.validate(),
            Self::RandomCrop(crop) => crop.validate(),
        }
    }

    /// Sample number `sample` of epoch `epoch` as `crop` by `crop` pixels.
    pub fn apply(&self, picture: &Picture, epoch: u64, sample: usize) -> Picture {
        match self {
            Self::Evaluate(preprocessing) => preprocessing.apply(picture),
            Self::Augment(augmentation) => augmentation.apply(picture, epoch, sample),
            Self::RandomCrop(crop) => crop.apply(picture, epoch, sample),
        }
    }

    pub(super) fn normalize(&self) -> Normalize {
        match self {
            Self::Evaluate(p) => Normalize::new(p.mean, p.std),
            Self::Augment(a) => Normalize::new(a.mean, a.std),
            Self::RandomCrop(c) => Normalize::new(c.mean, c.std),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use safetensors::SafeTensors;

    use super::*;

    fn augmentation(seed: u64) -> Augmentation {
        Augmentation::new(&Preprocessing { crop: 48, ..Preprocessing::imagenet() }, seed)
    }

    #[test]
    fn a_resized_crop_equals_torchvisions() {
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/preprocess");
        let bytes = std::fs::read(testdata.join("expected.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let picture = Picture::open(testdata.join("pictures/large.jpg")).unwrap();
        // The part that generate.py takes.
        let area = Area { top: 41, left: 13, height: 250, width: 199 };
        for (name, flipped) in [("large.jpg@part", false), ("large.jpg@flipped", true)] {
            let found = augmentation(0).resized_crop(&picture, area, flipped);
            assert!(found.data() == expected.tensor(name).unwrap().data(), "{name}");
        }
    }

    #[test]
    fn areas_keep_within_the_picture_the_scale_and_the_ratio() {
        let (width, height) = (640, 480);
        let augmentation = augmentation(0);
        let (mut least, mut most) = (f64::MAX, 0.0_f64);
        for sample in 0..2000 {
            let mut random = Random::new(Purpose::Augmentation, 5, 0, sample);
            let area = augmentation.area(&mut random, width, height);
            assert!(area.left + area.width <= width && area.top + area.height <= height);
            let (w, h) = (area.width as f64, area.height as f64);
            let share = w * h / (width * height) as f64;
            // Sides are whole pixels.
            assert!((0.079..=1.001).contains(&share), "{area:?}");
            assert!((0.745..1.342).contains(&(w / h)), "{area:?}");
            (least, most) = (least.min(share), most.max(share));
        }
        assert!(least < 0.09 && most > 0.95, "the whole range is used: {least} to {most}");
    }

    #[test]
    fn a_picture_too_narrow_for_any_area_gives_its_centre() {
        let area = |width, height| {
            let mut random = Random::new(Purpose::Augmentation, 5, 0, 0);
            augmentation(0).area(&mut random, width, height)
        };
        assert_eq!(area(10, 5000), Area { top: 2493, left: 0, height: 13, width: 10 });
        assert_eq!(area(5000, 9), Area { top: 0, left: 2494, height: 9, width: 12 });
        assert_eq!(area(1, 1), Area { top: 0, left: 0, height: 1, width: 1 });
    }

    #[test]
    fn half_of_the_pictures_are_mirrored() {
        let ramp: Vec<u8> = (0..64 * 64).flat_map(|i| [(i % 64 * 4) as u8; 3]).collect();
        let picture = Picture::new(64, 64, ramp).unwrap();
        let mirrored = |flip: f64| {
            let augmentation = Augmentation { flip, ..augmentation(1) };
            let falls = |sample| {
                let crop = augmentation.apply(&picture, 0, sample);
                crop.data()[0] > crop.data()[47 * 3]
            };
            (0..1000).filter(|&sample| falls(sample)).count()
        };
        assert_eq!((mirrored(0.0), mirrored(1.0)), (0, 1000));
        // A standard deviation is 16.
        assert!((420..580).contains(&mirrored(0.5)));
    }
}
