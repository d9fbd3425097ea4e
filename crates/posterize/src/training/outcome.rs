//! The result of a training run.

use super::Keep;
use super::history::EpochRecord;

/// The result of a training run: the records of its best and last epoch.
///
/// ```
/// use posterize::training::Keep;
/// # use posterize::Architecture;
/// # use posterize::data::{ImageFolder, Loader, Preprocessing};
/// # use posterize::nn::Sequential;
/// # use posterize::ops::{Flatten, Linear};
/// # use posterize::runtime::Options;
/// # use posterize::training::{Network, TrainOptions, Trainer};
/// # let root = tempfile::tempdir().unwrap();
/// # for class in ["a", "b"] {
/// #     std::fs::create_dir(root.path().join(class)).unwrap();
/// #     std::fs::write(root.path().join(class).join("1.ppm"), b"P6 1 1 255 ddd").unwrap();
/// # }
/// # let folder = ImageFolder::open(root.path(), None)?;
/// # let preprocessing = Preprocessing::imagenet().with_sizes(2, 2);
/// # let loader = Loader::new(&folder, preprocessing);
/// # let net = Sequential::new().then(Flatten).then(Linear::new(12, 2));
/// # let network = Network::float(&Architecture::trace(&net)?.init(0), Options::new(1)?)?;
/// # let options = TrainOptions { epochs: 3, keep: Keep::Last, ..TrainOptions::default() };
/// # let mut trainer = Trainer::new(network, &loader, &loader, options, Options::new(1)?)?;
///
/// // A trainer of three epochs that keeps the last.
/// let outcome = trainer.run(&mut ())?;
/// assert_eq!(outcome.kept, Keep::Last);
/// assert_eq!(outcome.kept_epoch().epoch, 2);
/// assert!(outcome.best.val_top1 >= outcome.last.val_top1);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The epoch with the highest validation accuracy.
    pub best: EpochRecord,
    /// The last epoch.
    pub last: EpochRecord,
    /// Which of them was kept.
    pub kept: Keep,
}

impl Outcome {
    /// Returns the epoch whose network was kept.
    pub fn kept_epoch(&self) -> &EpochRecord {
        match self.kept {
            Keep::Best => &self.best,
            Keep::Last => &self.last,
        }
    }
}
