//! The calibration pictures, and how they relate to those that are evaluated.

use std::{
    fs,
    path::{Path, PathBuf},
};

use posterize::{
    FloatModel,
    data::{ImageFolder, Loader, Preprocessing, RandomSampler, Sampler},
    models,
    quantization::{PostTraining, PostTrainingResult, QConfig, QConfigMapping},
    runtime::Options,
};
use serde::Serialize;

use crate::{
    calibration::CalibrationPictures,
    error::Result,
    ui::{Ui, count},
};

use super::{evaluation_set::EvaluationSet, sources::Source};

const BATCH: usize = 30;
/// Maximum number of calibration pictures: 10 batches.
const MAX_PICTURES: usize = 10 * BATCH;

/// The calibration pictures.
#[derive(Debug, Serialize)]
pub(super) struct Calibration {
    /// The name of their folder in reports.
    data: String,
    /// Number of pictures.
    images: usize,
    /// Whether they are cropped and flipped at random.
    augmented: bool,
    seed: u64,
    /// How they relate to the evaluated pictures.
    pictures: Pictures,
    #[serde(skip)]
    root: PathBuf,
    #[serde(skip)]
    loader: Loader,
}

/// How the calibration pictures relate to the evaluated ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Pictures {
    /// They are in another folder.
    Others,
    /// They are in the same folder, but are not evaluated.
    Rest,
    /// They are some or all of the evaluated pictures.
    Evaluated,
}

/// Samples in random order those whose index is at least `from`.
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
    /// Chooses the calibration pictures: those of `other` if it is given; else those of the evaluated
    /// folder that are not evaluated, if they fill a batch; else the evaluated ones.
    pub(super) fn new(
        model: &str,
        other: Option<&Source>,
        evaluated: &EvaluationSet,
        preprocessing: Preprocessing,
        augment: bool,
        seed: u64,
        options: Options,
    ) -> Result<Self> {
        let canonical = |path: &Path| fs::canonicalize(path).ok();
        let rest = evaluated.folder.len() - evaluated.count;
        let root = canonical(evaluated.folder.root());
        let other = other.filter(|other| canonical(&other.folder) != root);
        let same = || evaluated.folder.clone();
        let (folder, from, pictures) = match other {
            // Calibration needs no class numbers, so no class file either.
            Some(other) => (ImageFolder::open(&other.folder, None)?, 0, Pictures::Others),
            None if rest >= BATCH => (same(), evaluated.count, Pictures::Rest),
            None => (same(), 0, Pictures::Evaluated),
        };
        let transform = if augment {
            models::augmentation(model, &preprocessing, seed)
        } else {
            preprocessing.into()
        };
        let images = match pictures {
            Pictures::Evaluated => evaluated.count,
            Pictures::Others | Pictures::Rest => folder.len() - from,
        };
        let images = images.min(MAX_PICTURES);
        let loader = Loader::new(&folder, transform)
            .sampler(Shuffled { from, seed })
            .batch_size(BATCH)
            .threads(options.threads)
            .limit(images);
        let data = other.map_or(&evaluated.name, |other| &other.name).clone();
        let root = folder.root().to_path_buf();
        Ok(Self { data, images, augmented: augment, seed, pictures, root, loader })
    }

    /// Quantizes a float network with the pictures.
    pub(super) fn run(
        &self,
        float: &FloatModel,
        qconfig: QConfig,
        passes: &PostTraining,
        options: Options,
        ui: &Ui,
    ) -> Result<PostTrainingResult> {
        let mut pictures = CalibrationPictures::new(&self.loader, ui);
        let mapping = QConfigMapping::global(qconfig);
        let result = float.quantize(&mapping, passes, options, &mut pictures);
        pictures.skipped(&self.root)?;
        Ok(result?)
    }

    /// Whether the pictures are in another folder than the evaluated ones.
    pub(super) fn is_on_others(&self) -> bool {
        self.pictures == Pictures::Others
    }

    /// Describes in a sentence where the pictures come from.
    pub(super) fn describe(&self) -> String {
        let crops = if self.augmented { "random crops and flips" } else { "centre crops" };
        let Self { images, seed, data, .. } = self;
        let images = count(*images as u64);
        match self.pictures {
            Pictures::Others => format!(
                "Calibration: {images} pictures of {data}, chosen at random with seed {seed} \
                 ({crops})."
            ),
            Pictures::Rest => format!(
                "Calibration: {images} of the pictures of {data} that are not evaluated, chosen at \
                 random with seed {seed} ({crops})."
            ),
            Pictures::Evaluated => format!(
                "Calibration: {images} of the evaluated pictures ({crops}). Observers use no labels, \
                 but for a fair measurement pass other pictures with --calibrate DIR."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sampler, Shuffled};

    #[test]
    fn evaluated_pictures_are_not_sampled() {
        let mut order = Shuffled { from: 3, seed: 1 }.indices(9, 0);
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert_eq!(order, [3, 4, 5, 6, 7, 8]);
    }
}
