//! The accuracies that quantization-aware training is compared with.

use posterize::{
    FloatModel, compile,
    data::{Loader, RandomSampler},
    evaluate,
    quantization::QConfigMapping,
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
    /// Measures both. `mapping` is for quantization after training, and `calibration` has the training
    /// pictures without augmentation, of which some are taken at random.
    pub(super) fn measure(
        float: &FloatModel,
        mapping: &QConfigMapping,
        calibration: &Loader,
        val: &Loader,
        seed: u64,
        options: Options,
        ui: &Ui,
    ) -> Result<Self> {
        let spinner = ui.spinner("measuring the float model and the int8 model before training");
        let fused = float.fuse()?;
        let top1 = |mut engine| -> posterize::Result<f64> {
            Ok(evaluate(&mut engine, val.tensors(), &mut |_, _, _| ())?.top1())
        };
        let of_float = top1(compile(&fused, options)?)?;
        let mut observed = fused.prepare(mapping)?;
        let [batch_size, batches] = CALIBRATION;
        let pictures = calibration
            .clone()
            .sampler(RandomSampler { seed })
            .batch_size(batch_size)
            .limit(batch_size * batches);
        observed.calibrate(options, pictures.tensors().map(|batch| Ok(batch?.images)))?;
        let untrained = top1(compile(&observed.convert()?, options)?)?;
        spinner.finish_and_clear();
        Ok(Self { float: of_float, untrained })
    }
}
