//! Callbacks of a training run.

use super::checkpoint::{Checkpoint, Position};
use super::history::{EpochRecord, StepRecord};
use crate::data::Skipped;
use crate::error::Result;
use crate::evaluate::Evaluation;
use crate::model::FloatModel;
use crate::quantization::QuantizedModel;

/// The model of an epoch, which is validated and may be saved.
///
/// [`Watch::epoch`] receives it.
///
/// ```
/// use posterize::Architecture;
/// use posterize::ops::Linear;
/// use posterize::training::TrainedModel;
///
/// let model = TrainedModel::Float(Architecture::trace(&Linear::new(4, 2))?.init(0));
/// let parameters = match &model {
///     TrainedModel::Float(model) => model.parameter_count(),
///     TrainedModel::Int8(model) => model.layers().values().map(|layer| layer.weight.len()).sum(),
/// };
/// assert_eq!(parameters, 10);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum TrainedModel {
    /// The float model of float training, not fused, with PyTorch's names.
    Float(FloatModel),
    /// The converted int8 model of quantization-aware training.
    Int8(QuantizedModel),
}

/// Callbacks of a training run. The default methods do nothing.
///
/// ```
/// use posterize::training::{StepRecord, Watch};
///
/// /// Collects the loss of each step.
/// #[derive(Default)]
/// struct Losses(Vec<f32>);
///
/// impl Watch for Losses {
///     fn step(&mut self, step: &StepRecord) {
///         self.0.push(step.loss);
///     }
/// }
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
/// # let options = TrainOptions { epochs: 3, ..TrainOptions::default() };
/// # let mut trainer = Trainer::new(network, &loader, &loader, options, Options::new(1)?)?;
///
/// // A trainer of three epochs of one step.
/// let mut losses = Losses::default();
/// trainer.run(&mut losses)?;
/// assert_eq!(losses.0, trainer.history().losses);
/// assert_eq!(losses.0.len(), 3);
/// # Ok::<(), posterize::Error>(())
/// ```
pub trait Watch {
    /// Called after each step.
    fn step(&mut self, _step: &StepRecord) {}

    /// Called for each training picture that cannot be read and is skipped.
    fn skipped(&mut self, _picture: &Skipped) {}

    /// Called after each batch of a validation, with the results so far.
    fn validating(&mut self, _so_far: &Evaluation) {}

    /// Called after the validation of each epoch. `kept` is whether its network is the result if no
    /// later one replaces it.
    ///
    /// # Errors
    /// An error ends the run.
    fn epoch(&mut self, _epoch: &EpochRecord, _model: &TrainedModel, _kept: bool) -> Result<()> {
        Ok(())
    }

    /// Returns whether to save a checkpoint. Called after each step, and with `epoch_ended` after each
    /// validation.
    fn wants_checkpoint(&mut self, _position: &Position, _epoch_ended: bool) -> bool {
        false
    }

    /// Returns whether to stop the run. Then a checkpoint is saved, and [`Trainer::run`](super::Trainer::run) returns
    /// [`Error::Interrupted`](crate::Error::Interrupted). Called after each step, and after each batch of a validation, from whose
    /// beginning a resumed run continues.
    fn wants_stop(&mut self) -> bool {
        false
    }

    /// Saves a checkpoint.
    ///
    /// # Errors
    /// An error ends the run.
    fn checkpoint(&mut self, _checkpoint: &Checkpoint) -> Result<()> {
        Ok(())
    }
}

/// Does nothing.
impl Watch for () {}
