//! The pictures that observers see, and how they relate to those that are evaluated.

use std::{
    fs,
    path::{Path, PathBuf},
};

use posterize::{
    data::{ImageFolder, Loader, Preprocessing, RandomSampler, Sampler},
    models,
    quantization::ObservedModel,
    runtime::Options,
};
use serde::Serialize;

use crate::{
    error::Result,
    pictures::Stream,
    ui::{Ui, count},
};

use super::{labelled::Labelled, sources::Source};

/// As many as the tutorial's measurements are made with: 10 batches of 30.
const BATCH: usize = 30;
const PICTURES: usize = 10 * BATCH;

/// Which pictures calibrate.
#[derive(Debug, Serialize)]
pub(super) struct Calibration {
    /// What their folder is called.
    data: String,
    /// How many are drawn.
    images: usize,
    /// Whether they are cropped and flipped at random.
    augmented: bool,
    seed: u64,
    /// How they relate to the evaluated ones.
    pictures: Pictures,
    #[serde(skip)]
    root: PathBuf,
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
    /// The pictures of `other`; without it those of the evaluated folder that are not evaluated,
    /// if they fill a batch; else the evaluated ones.
    pub(super) fn new(
        model: &str,
        other: Option<&Source>,
        evaluated: &Labelled,
        preprocessing: Preprocessing,
        augment: bool,
        seed: u64,
        options: Options,
    ) -> Result<Self> {
        let real = |path: &Path| fs::canonicalize(path).ok();
        let left = evaluated.folder.len() - evaluated.count;
        let other = other.filter(|other| real(&other.folder) != real(evaluated.folder.root()));
        let same = || evaluated.folder.clone();
        let (folder, from, pictures) = match other {
            // Calibration needs no class numbers, so no file of classes either.
            Some(other) => (ImageFolder::open(&other.folder, None)?, 0, Pictures::Others),
            None if left >= BATCH => (same(), evaluated.count, Pictures::Rest),
            None => (same(), 0, Pictures::Evaluated),
        };
        let transform =
            if augment { models::augmentation(model, seed)? } else { preprocessing.into() };
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
        let data = other.map_or(&evaluated.place, |other| &other.place).clone();
        let root = folder.root().to_path_buf();
        Ok(Self { data, images, augmented: augment, seed, pictures, root, loader })
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
        stream.finish(&self.root)?;
        Ok(result?)
    }

    /// Whether its pictures are of another folder than the evaluated ones.
    pub(super) fn is_on_others(&self) -> bool {
        self.pictures == Pictures::Others
    }

    /// Where the pictures come from, in a sentence.
    pub(super) fn describe(&self) -> String {
        let crops = if self.augmented { "cropped and flipped at random" } else { "centre crops" };
        let Self { images, seed, data, .. } = self;
        let images = count(*images as u64);
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
