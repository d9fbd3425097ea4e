//! Training augmentation of small pictures by random crops and flips.

use super::preprocessing::{Window, resize_and_crop};
use super::random::{Purpose, Random};
use super::{ChannelOrder, Interpolation, Picture, Preprocessing, Resize};
use crate::error::{Error, Result};

/// A training augmentation for small pictures; torchvision's `Resize(resize, interpolation)`,
/// `RandomCrop(crop, padding)`, `RandomHorizontalFlip(flip)`, `ToTensor()` and `Normalize(mean, std)`.
///
/// The random choices depend only on the seed, the epoch and the index of the sample.
///
/// ```
/// use posterize::data::{Picture, Preprocessing, RandomCrop};
/// let preprocessing = Preprocessing::imagenet().with_sizes(32, 32);
/// let augmentation = RandomCrop::new(&preprocessing, 4, 0);
/// let white = Picture::new(32, 32, vec![255; 32 * 32 * 3])?;
/// let crop = augmentation.apply(&white, 0, 0);
/// assert_eq!((crop.width(), crop.height()), (32, 32));
/// assert!(crop.data().iter().filter(|&&value| value == 0).count() <= (4 * 32 + 4 * 28) * 3);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RandomCrop {
    /// The size after resizing, in pixels.
    pub resize: Resize,
    /// The number of black pixels added on all four sides after resizing.
    pub padding: usize,
    /// The height and width of the result, in pixels.
    pub crop: [usize; 2],
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

impl RandomCrop {
    /// Creates an augmentation with the sizes, interpolation, channels, mean and standard
    /// deviation of `preprocessing` and a flip probability of 0.5.
    pub fn new(preprocessing: &Preprocessing, padding: usize, seed: u64) -> Self {
        let Preprocessing { resize, crop, interpolation, channels, mean, std } = *preprocessing;
        Self { resize, padding, crop, flip: 0.5, mean, std, seed, interpolation, channels }
    }

    /// Checks that all fields are in range.
    ///
    /// # Errors
    /// Returns the same errors as [`Preprocessing::validate`], and an error if the padding is
    /// larger than the crop, if the padded picture is smaller than the crop, or if `flip` is not in
    /// 0 to 1.
    pub fn validate(&self) -> Result<()> {
        let Self { resize, padding, crop, flip, mean, std, interpolation, channels, .. } = *self;
        Preprocessing { resize, crop, interpolation, channels, mean, std }.validate()?;
        let mut sides = crop.into_iter().zip(resize.smallest());
        if sides.any(|(crop, size)| padding > crop || size + 2 * padding < crop) {
            return Err(Error::Argument(format!(
                "augmentation: crop is {crop:?}, resize {resize} and padding {padding} pixels; \
                 expected a padding of at most the crop, and resize + 2 · padding of at least the \
                 crop"
            )));
        }
        if !(0.0..=1.0).contains(&flip) {
            return Err(Error::Argument(format!(
                "augmentation: flip is {flip}; expected a probability between 0 and 1"
            )));
        }
        Ok(())
    }

    /// Resizes, pads, crops and flips a picture at random.
    ///
    /// `sample` is the index of the picture in the data set. With the seed and `epoch`, it determines
    /// the random choices.
    ///
    /// # Panics
    /// Panics if the settings are not valid; see [`RandomCrop::validate`].
    pub fn apply(&self, picture: &Picture, epoch: u64, sample: usize) -> Picture {
        let mut random = Random::new(Purpose::Augmentation, self.seed, epoch, sample as u64);
        let size = self.resize.of([picture.height(), picture.width()]);
        let mut window = |axis: usize| {
            let (side, crop) = (size[axis], self.crop[axis]);
            let choices = side + 2 * self.padding - crop + 1;
            let first = random.below(choices as u64) as usize;
            Window::padded(side, self.padding, first, crop)
        };
        let (down, across) = (window(0), window(1));
        let flipped = random.uniform(0.0, 1.0) < self.flip;
        let mut crop =
            resize_and_crop(picture, self.interpolation, size, &down, &across, self.crop);
        if flipped {
            crop.flip();
        }
        crop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a picture whose pixels are all different and not black.
    fn ramp(side: usize) -> Picture {
        let data = (0..side * side).flat_map(|i| [i as u8 + 1, (i >> 8) as u8 + 1, 9]);
        Picture::new(side, side, data.collect()).unwrap()
    }

    fn shifts(flip: f64) -> RandomCrop {
        let preprocessing = Preprocessing::imagenet().with_sizes(14, 14);
        RandomCrop { flip, ..RandomCrop::new(&preprocessing, 2, 3) }
    }

    /// Returns the row and column of the crop in the padded picture, found by trying all of them.
    fn place(crop: &Picture, picture: &Picture, padding: usize) -> Option<(usize, usize)> {
        let (side, size) = (picture.width(), crop.width());
        let pixel = |y: usize, x: usize| {
            let inside =
                (padding..padding + side).contains(&y) && (padding..padding + side).contains(&x);
            let at = inside.then(|| ((y - padding) * side + x - padding) * 3);
            at.map_or([0; 3], |at| picture.data()[at..at + 3].try_into().unwrap())
        };
        let places = (0..=side + 2 * padding - size)
            .flat_map(|top| (0..=side + 2 * padding - size).map(move |left| (top, left)));
        places.into_iter().find(|&(top, left)| {
            crop.data().as_chunks().0.iter().enumerate().all(|(at, found): (_, &[u8; 3])| {
                *found == pixel(top + at / size, left + at % size)
            })
        })
    }

    #[test]
    fn a_crop_is_a_part_of_the_padded_picture_and_every_part_occurs() {
        let picture = ramp(14);
        let mut seen = [[0; 5]; 5];
        for sample in 0..500 {
            let crop = shifts(0.0).apply(&picture, 1, sample);
            let (top, left) = place(&crop, &picture, 2).expect("a part");
            seen[top][left] += 1;
        }
        assert!(seen.iter().flatten().all(|&count| (5..45).contains(&count)), "{seen:?}");
    }

    #[test]
    fn flips_have_the_probability_that_was_set_and_depend_on_the_epoch() {
        let picture = ramp(14);
        for sample in 0..20 {
            let straight = shifts(0.0).apply(&picture, 0, sample);
            let mut flipped = shifts(1.0).apply(&picture, 0, sample);
            assert_ne!(flipped, straight);
            flipped.flip();
            assert_eq!(flipped, straight);
        }
        let half = shifts(0.5);
        let differ = (0..400).filter(|&sample| {
            half.apply(&picture, 0, sample) != shifts(0.0).apply(&picture, 0, sample)
        });
        // The expected number is 200 with a standard deviation of 10.
        assert!((150..250).contains(&differ.count()));
        assert_ne!(half.apply(&picture, 0, 0), half.apply(&picture, 1, 0), "another epoch");
    }

    #[test]
    fn without_padding_and_flips_it_equals_the_preprocessing() {
        let preprocessing = Preprocessing::imagenet().with_sizes(20, 20);
        let still = RandomCrop { flip: 0.0, ..RandomCrop::new(&preprocessing, 0, 0) };
        let picture = ramp(14);
        assert_eq!(still.apply(&picture, 0, 0), preprocessing.apply(&picture));
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let good = shifts(0.5);
        assert!(good.validate().is_ok());
        for bad in [
            RandomCrop { padding: 15, ..good.clone() },
            RandomCrop { crop: [19; 2], ..good.clone() },
            RandomCrop { crop: [14, 19], ..good.clone() },
            RandomCrop { flip: 1.5, ..good.clone() },
            RandomCrop { resize: Resize::Shorter(0), ..good },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
