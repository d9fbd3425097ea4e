//! The pictures that observers see, and how they relate to those that are evaluated.

use std::{
    fs,
    path::{Path, PathBuf},
};

use posterize::{
    data::{Augmentation, ImageFolder, Loader, Preprocessing, RandomSampler, Sampler, Transform},
    executor::Options,
    quantization::ObservedModel,
};
use serde::Serialize;

use crate::{
    error::Result,
    pictures::Stream,
    ui::{Ui, count},
};

use super::labelled::Labelled;

/// As many as the tutorial's measurements are made with: 10 batches of 30.
const BATCH: usize = 30;
const PICTURES: usize = 10 * BATCH;

/// Which pictures calibrate.
#[derive(Debug, Serialize)]
pub(super) struct Calibration {
    data: PathBuf,
    /// How many are drawn.
    images: usize,
    /// Whether they are cropped and flipped at random.
    augmented: bool,
    seed: u64,
    /// How they relate to the evaluated ones.
    pictures: Pictures,
    #[serde(skip)]
    loader: Loader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Pictures {
    /// Of another folder.
    Others,
    /// Of the same folder, but not evaluated.
    Rest,
    /// Some of those that are evaluated, or all.
    Evaluated,
}

/// A random order over the samples from number `from` on.
#[derive(Clone, Copy, Debug)]
struct Shuffled {
    from: usize,
    seed: u64,
}

impl Sampler for Shuffled {
    fn indices(&self, len: usize, epoch: u64) -> Vec<usize> {
        let mut order = RandomSampler { seed: self.seed }.indices(len, epoch);
        order.retain(|&index| index >= self.from);
        order
    }
}

impl Calibration {
    /// The pictures of `folder`; without one those of the evaluated folder that are not evaluated,
    /// if they fill a batch; else the evaluated ones.
    pub(super) fn new(
        folder: Option<&Path>,
        evaluated: &Labelled,
        preprocessing: Preprocessing,
        augment: bool,
        seed: u64,
        options: Options,
    ) -> Result<Self> {
        let real = |path: &Path| fs::canonicalize(path).ok();
        let left = evaluated.folder.len() - evaluated.count;
        let other = folder.filter(|folder| real(folder) != real(evaluated.folder.root()));
        let (folder, from, pictures) = match other {
            // Calibration needs no class numbers, so no file of classes either.
            Some(folder) => (ImageFolder::open(folder, None)?, 0, Pictures::Others),
            None if left >= BATCH => (evaluated.folder.clone(), evaluated.count, Pictures::Rest),
            None => (evaluated.folder.clone(), 0, Pictures::Evaluated),
        };
        let transform = if augment {
            Transform::Augment(Augmentation::new(&preprocessing, seed))
        } else {
            preprocessing.into()
        };
        let images = match pictures {
            Pictures::Evaluated => evaluated.count,
            Pictures::Others | Pictures::Rest => folder.len() - from,
        };
        let images = images.min(PICTURES);
        let loader = Loader::new(&folder, transform)
            .sampler(Shuffled { from, seed })
            .batch_size(BATCH)
            .threads(options.threads)
            .limit(images);
        let data = folder.root().to_path_buf();
        Ok(Self { data, images, augmented: augment, seed, pictures, loader })
    }

    /// Shows the pictures to the observers. Returns how many could be shown.
    pub(super) fn run(
        &self,
        observed: &mut ObservedModel,
        options: Options,
        ui: &Ui,
    ) -> Result<usize> {
        let mut stream = Stream::new(&self.loader, self.loader.tensors(), ui);
        let bar = stream.bar.clone();
        bar.set_message("calibrating");
        let shown = stream.by_ref().map(|batch| {
            batch.map(|batch| {
                bar.inc(batch.labels.len() as u64);
                batch.images
            })
        });
        let result = observed.calibrate(options, shown);
        stream.finish(&self.data)?;
        Ok(result?)
    }

    /// Where the pictures come from, in a sentence.
    pub(super) fn describe(&self) -> String {
        let crops = if self.augmented { "cropped and flipped at random" } else { "centre crops" };
        let Self { images, seed, .. } = self;
        let images = count(*images as u64);
        let data = self.data.display();
        match self.pictures {
            Pictures::Others => format!(
                "Calibrated on {images} pictures of {data}, drawn at random with seed {seed} \
                 ({crops})."
            ),
            Pictures::Rest => format!(
                "Calibrated on {images} of the pictures of {data} that are not evaluated, drawn at \
                 random with seed {seed} ({crops})."
            ),
            Pictures::Evaluated => format!(
                "Calibrated on {images} of the same pictures ({crops}): observers see no labels, \
                 but they do see what is evaluated; pass --calibrate DIR for others."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sampler, Shuffled};

    #[test]
    fn evaluated_pictures_are_not_drawn() {
        let mut order = Shuffled { from: 3, seed: 1 }.indices(9, 0);
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert_eq!(order, [3, 4, 5, 6, 7, 8]);
    }
}
