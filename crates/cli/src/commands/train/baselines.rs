//! The accuracies that quantization-aware training is compared with.

use posterize::{
    FloatModel, compile,
    data::{Loader, RandomSampler},
    evaluate,
    quantization::{PostTraining, PostTrainingResult, QConfigMapping},
    runtime::Options,
};

use crate::{error::Result, ui::Ui};

/// Number of pictures in a calibration batch, and number of batches: the defaults of `quantize`.
const CALIBRATION: [usize; 2] = [30, 10];

/// The top-1 accuracies on the validation pictures before training, in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Baselines {
    /// Of the float network.
    pub(super) float: f64,
    /// Of the int8 network that `posterize quantize` makes from it.
    pub(super) untrained: f64,
}

impl Baselines {
    /// Measures both and returns the int8 network. `mapping` and `passes` are for quantization after
    /// training, and `calibration` has the training pictures without augmentation, of which some are taken
    /// at random.
    pub(super) fn measure(
        float: &FloatModel,
        mapping: &QConfigMapping,
        passes: &PostTraining,
        calibration: &Loader,
        val: &Loader,
        options: Options,
        ui: &Ui,
    ) -> Result<(Self, PostTrainingResult)> {
        let spinner = ui.spinner("measuring the float model and the int8 model before training");
        let top1 = |mut engine| -> posterize::Result<f64> {
            Ok(evaluate(&mut engine, val.tensors(), &mut |_, _, _| ())?.top1())
        };
        let of_float = top1(compile(&float.fuse()?, options)?)?;
        let [batch_size, batches] = CALIBRATION;
        let mut pictures = calibration
            .clone()
            .sampler(RandomSampler { seed: passes.seed })
            .batch_size(batch_size)
            .limit(batch_size * batches);
        let result = float.quantize(mapping, passes, options, &mut pictures)?;
        let untrained = top1(compile(&result.model, options)?)?;
        spinner.finish_and_clear();
        Ok((Self { float: of_float, untrained }, result))
    }
}
