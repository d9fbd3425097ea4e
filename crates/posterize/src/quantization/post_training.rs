//! Post-training quantization from a float model to an int8 one: the passes and their order.

use std::sync::Arc;

use super::calibration_data::CalibrationData;
use super::options::{BiasCorrection, Equalization, PostTraining, Rounding};
use super::passes::activation_equalization::{Scaled, equalize_activations};
use super::passes::bias_correction;
#[cfg(feature = "training")]
use super::passes::channel_scaling::scale_unfused;
use super::passes::channel_scaling::{ScaledChannels, scale_channels};
use super::passes::equalize::equalize;
use super::passes::input_means::{InputMeans, shapes_of};
use super::passes::rounding;
use super::prepare::{ObservedModel, Preparation};
#[cfg(feature = "training")]
use super::qat::QatModel;
use super::qconfig::QConfigMapping;
use super::quantized_model::QuantizedModel;
use super::ranges::Ranges;
use super::sensitivity::run_batch;
#[cfg(feature = "training")]
use crate::error::Error;
use crate::error::Result;
use crate::model::FloatModel;
use crate::runtime::{Input, Options, Shown, compile};
use crate::tensor::Tensor;

/// What [`FloatModel::quantize`] returns.
///
/// ```
/// use posterize::ops::Linear;
/// use posterize::quantization::{PostTraining, QConfig, QConfigMapping};
/// use posterize::runtime::Options;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Linear::new(2, 1))?.init(0);
/// let mapping = QConfigMapping::global(QConfig::recommended());
/// let mut pictures = vec![Tensor::new([1, 2], vec![-1.0, 1.0])?];
/// let passes = PostTraining::recommended().float_outputs(false);
/// let result = model.quantize(&mapping, &passes, Options::new(1)?, &mut pictures)?;
/// // There are no two layers between which channels could be scaled.
/// assert!(!result.equalized);
/// assert_eq!(result.observed.ranges().count(), 2);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct PostTrainingResult {
    /// The fused float model with the observers.
    pub observed: ObservedModel,
    /// The int8 model.
    pub model: QuantizedModel,
    /// The number of calibration pictures.
    pub pictures: usize,
    /// Whether channels were equalized.
    pub equalized: bool,
    /// The passes that were asked for.
    pub passes: PostTraining,
    /// How channels were equalized: what [`Equalization::IfBetter`] decided.
    pub(super) equalization: Equalization,
    /// The channels that equalization scaled; `None` if it did not.
    scaled: Option<Vec<ScaledChannels>>,
    /// The means of the float network's inputs, if the bias correction needs them.
    means: InputMeans,
}

impl FloatModel {
    /// Quantizes the model after training: fuses it, equalizes channels, observes the activations of the
    /// calibration pictures, converts it to int8, rounds weights and corrects biases, in this order.
    ///
    /// Memory does not depend on the number of batches, and the result not on the number of threads.
    ///
    /// ```
    /// use posterize::nn::Sequential;
    /// use posterize::ops::{Activation, Conv2d};
    /// use posterize::quantization::{PostTraining, QConfig, QConfigMapping};
    /// use posterize::runtime::Options;
    /// use posterize::{Architecture, Tensor};
    ///
    /// let net = Sequential::new().then(Conv2d::new(3, 8, 3)).then(Activation::ReLU6);
    /// let model = Architecture::trace(&net)?.init(0);
    /// let mapping = QConfigMapping::global(QConfig::recommended());
    /// let values = (0..3 * 64).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
    /// let mut pictures = vec![Tensor::new([1, 3, 8, 8], values)?];
    /// let passes = PostTraining::recommended();
    /// let result = model.quantize(&mapping, &passes, Options::new(1)?, &mut pictures)?;
    /// assert_eq!((result.pictures, result.model.layers().len()), (1, 1));
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`Self::fuse`], [`Self::prepare`], [`ObservedModel::calibrate`] and
    /// [`ObservedModel::convert`], and the first error among the batches.
    pub fn quantize(
        &self,
        mapping: &QConfigMapping,
        passes: &PostTraining,
        options: Options,
        data: &mut dyn CalibrationData,
    ) -> Result<PostTrainingResult> {
        let float = self.fuse()?;
        let mapping = &passes.applied_to(mapping);
        let candidates = Scaling::candidates(&float, mapping)?;
        let scaling = match passes.equalization {
            Equalization::Never => Scaling::None,
            Equalization::Unbounded => candidates[1],
            Equalization::Always => candidates[candidates.len() - 1],
            Equalization::IfBetter => {
                const COMPARING: &str = "comparing with equalized channels";
                let trial = PostTraining { rounding: Rounding::Nearest, ..passes.clone() };
                // Few pictures, which are decoded once for all candidates.
                let calibrated = Equalization::TRIAL_BATCHES;
                let read = data.batches(COMPARING).take(calibrated + 1);
                let batches = read.collect::<Result<Vec<_>>>()?;
                let (calibrated, others) = batches.split_at(calibrated.min(batches.len()));
                let others = if others.is_empty() { calibrated } else { others };
                let mut engine = compile(&float, options)?;
                let expected = others.iter().map(|inputs| run_batch(&mut engine, inputs));
                let expected: Vec<Vec<Tensor>> = expected.collect::<Result<_>>()?;
                let noise = |scaling| {
                    let data = &mut Held(calibrated);
                    let result = quantize(&float, scaling, mapping, &trial, options, data)?;
                    output_noise(&expected, &result.model, options, others)
                };
                let mut best = (f64::INFINITY, Scaling::None);
                for (tried, &scaling) in candidates.iter().enumerate() {
                    data.progress(COMPARING, tried, candidates.len());
                    let noise = noise(scaling)?;
                    if noise < best.0 {
                        best = (noise, scaling);
                    }
                }
                data.progress(COMPARING, candidates.len(), candidates.len());
                best.1
            }
        };
        let result = quantize(&float, scaling, mapping, passes, options, data)?;
        Ok(PostTrainingResult { equalization: scaling.equalization(), ..result })
    }

    /// Quantizes the model as [`Self::quantize`] does, with ranges that were calibrated before: no values are
    /// observed, and channels are equalized as they were then. Ranges from a result of [`Self::quantize`] give
    /// the same int8 model if `mapping`, `passes` and `data` are the same.
    ///
    /// `data` is read only if [`PostTraining::needs_pictures`] says so for the other passes, and may be empty
    /// otherwise. [`Equalization::IfBetter`] stands for what was decided then. An example is at [`Ranges`].
    ///
    /// The result has no ranges of values that only a network with more layers in float needs, so
    /// [`PostTrainingResult::sensitivity`] may return [`Error::NotCalibrated`].
    ///
    /// # Errors
    /// Returns [`Error::Ranges`] if the ranges are invalid, are those of another model or
    /// do not fit `mapping` or the equalization, and the errors of [`Self::quantize`].
    pub fn quantize_with_ranges(
        &self,
        ranges: &Ranges,
        mapping: &QConfigMapping,
        passes: &PostTraining,
        options: Options,
        data: &mut dyn CalibrationData,
    ) -> Result<PostTrainingResult> {
        let mapping = &passes.applied_to(mapping);
        let (mut observed, scaled) = ranges.prepare(self, mapping, passes.equalization)?;
        let mut means = wanted_means(&observed, passes);
        if passes.bias_correction == BiasCorrection::Fast {
            calibrate(&mut observed, &mut means, options, &mut *data.batches(CALIBRATING))?;
        }
        convert(observed, scaled, means, ranges.pictures, passes, options, data)
    }
}

/// What pictures are read for when they are observed.
const CALIBRATING: &str = "calibrating";

/// What is equalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scaling {
    None,
    /// The ranges of weights.
    Weights,
    /// The ranges of activations.
    Activations(Scaled),
}

impl Scaling {
    /// Returns the option for it.
    fn equalization(self) -> Equalization {
        match self {
            Self::None => Equalization::Never,
            Self::Activations(Scaled::Unbounded) => Equalization::Unbounded,
            Self::Weights | Self::Activations(Scaled::All) => Equalization::Always,
        }
    }

    /// Returns what can be equalized: the ranges of weights if a weight has one scale for all of its
    /// channels, or else those of activations. The last changes the most.
    fn candidates(float: &FloatModel, mapping: &QConfigMapping) -> Result<Vec<Self>> {
        let qconfigs = Preparation::new(float.graph(), mapping)?.qconfigs;
        let layers = float.graph().nodes().iter().zip(&qconfigs);
        let layers = layers.filter(|(node, _)| !node.op.parameters().is_empty());
        let mut qconfigs = layers.filter_map(|(_, qconfig)| qconfig.as_ref());
        if qconfigs.any(|qconfig| !qconfig.weight.qscheme.is_per_channel()) {
            return Ok(vec![Self::None, Self::Weights]);
        }
        let unbounded = Self::Activations(Scaled::Unbounded);
        Ok(vec![Self::None, unbounded, Self::Activations(Scaled::All)])
    }
}

/// Quantizes a fused model, equalized or not.
fn quantize(
    float: &FloatModel,
    scaling: Scaling,
    mapping: &QConfigMapping,
    passes: &PostTraining,
    options: Options,
    data: &mut dyn CalibrationData,
) -> Result<PostTrainingResult> {
    const EQUALIZING: &str = "equalizing channels";
    let scaled = match scaling {
        Scaling::None => None,
        Scaling::Weights => Some(equalize(float, options, &mut *data.batches(EQUALIZING))?),
        Scaling::Activations(which) => {
            Some(equalize_activations(float, which, options, &mut *data.batches(EQUALIZING))?)
        }
    };
    let float = scale_channels(float, scaled.as_deref().unwrap_or_default())?;
    let mut observed = float.prepare(mapping)?.with_spare_observers()?;
    let mut means = wanted_means(&observed, passes);
    let pictures = calibrate(&mut observed, &mut means, options, &mut *data.batches(CALIBRATING))?;
    convert(observed, scaled, means, pictures, passes, options, data)
}

/// Returns the means of inputs, without data yet, that the passes need.
fn wanted_means(observed: &ObservedModel, passes: &PostTraining) -> InputMeans {
    let fast = passes.bias_correction == BiasCorrection::Fast;
    InputMeans::new(observed.model().graph(), |_| fast)
}

/// Converts a calibrated model, and does the passes that follow.
fn convert(
    observed: ObservedModel,
    scaled: Option<Vec<ScaledChannels>>,
    means: InputMeans,
    pictures: usize,
    passes: &PostTraining,
    options: Options,
    data: &mut dyn CalibrationData,
) -> Result<PostTrainingResult> {
    let (model, passes, equalized) = (observed.convert()?, passes.clone(), scaled.is_some());
    let equalization = passes.equalization;
    let result = PostTrainingResult {
        observed,
        model,
        pictures,
        equalized,
        passes,
        equalization,
        scaled,
        means,
    };
    result.with_rounded_weights(options, data)?.with_corrected_biases(options, data)
}

impl PostTrainingResult {
    /// Returns the result of a quantization of which only the int8 model is known. `float` is the fused and
    /// equalized model that was converted.
    pub(crate) fn of_quantized(
        float: FloatModel,
        model: QuantizedModel,
        equalized: bool,
        passes: PostTraining,
    ) -> Result<Self> {
        let means = InputMeans::new(float.graph(), |_| false);
        let observed = ObservedModel::of_quantized(float, &model)?;
        let (equalization, scaled) = (passes.equalization, None);
        Ok(Self { observed, model, pictures: 0, equalized, passes, equalization, scaled, means })
    }

    /// Returns the ranges that calibration found, for [`FloatModel::quantize_with_ranges`]. `float` is the
    /// model that was quantized.
    ///
    /// # Errors
    /// Returns an error if an operator's attributes cannot be written as JSON.
    pub fn ranges(&self, float: &FloatModel) -> Result<Ranges> {
        Ranges::of(float, &self.observed, self.scaled.as_deref(), self.pictures)
    }

    /// Inserts fake quantization into the float model that was quantized, for a training that starts with the
    /// equalized channels and the calibrated ranges of activations.
    ///
    /// `model` is not fused. The observers of activations are disabled, so that their ranges stay;
    /// [`QatModel::enable_observer`] lets them change.
    ///
    /// ```
    /// use posterize::nn::Sequential;
    /// use posterize::ops::{BatchNorm, Conv2d};
    /// use posterize::quantization::{PostTraining, QConfig, QConfigMapping};
    /// use posterize::runtime::Options;
    /// use posterize::{Architecture, Tensor};
    ///
    /// let net = Sequential::new().then(Conv2d::new(3, 8, 1)).then(BatchNorm::two_d(8));
    /// let model = Architecture::trace(&net.then(Conv2d::new(8, 4, 1)))?.init(0);
    /// let mapping = QConfigMapping::global(QConfig::recommended());
    /// let mut pictures = vec![Tensor::new([1, 3, 1, 1], vec![1.0, -2.0, 3.0])?];
    /// let passes = PostTraining::recommended();
    /// let result = model.quantize(&mapping, &passes, Options::new(1)?, &mut pictures)?;
    ///
    /// let training = QConfigMapping::global(QConfig::recommended_qat());
    /// let qat = result.prepare_qat(&model, &training)?;
    /// // Only weights are not observed yet.
    /// assert_eq!(qat.without_data(), ["0.weight", "2.weight"]);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`FloatModel::prepare_qat`], and an error if `model` has other layers than the
    /// one that was quantized, or if `mapping` quantizes a value that was not calibrated.
    #[cfg(feature = "training")]
    pub fn prepare_qat(&self, model: &FloatModel, mapping: &QConfigMapping) -> Result<QatModel> {
        if model.fuse()?.graph() != self.observed.model().graph() {
            return Err(Error::Argument(
                "the model for quantization-aware training has other layers than the one that was \
                 quantized; use the same model, not fused"
                    .into(),
            ));
        }
        let mut qat = scale_unfused(model, self.scaled.as_deref().unwrap_or_default())?
            .prepare_qat(&self.passes.applied_to(mapping))?;
        qat.start_with_ranges(&self.observed)?;
        Ok(qat)
    }

    /// Returns what was quantized without pictures.
    pub(super) fn without_pictures(
        observed: ObservedModel,
        model: QuantizedModel,
        passes: PostTraining,
        means: InputMeans,
    ) -> Self {
        let equalization = Equalization::Never;
        let (equalized, scaled) = (false, None);
        Self { observed, model, pictures: 0, equalized, passes, equalization, scaled, means }
    }

    /// Quantizes the calibrated model with another mapping, which may keep more layers in float. The
    /// result is that of [`FloatModel::quantize`] with this mapping and the same equalization.
    pub(super) fn with_mapping(
        &self,
        mapping: &QConfigMapping,
        options: Options,
        data: &mut dyn CalibrationData,
    ) -> Result<Self> {
        let observed = self.observed.with_mapping(&self.passes.applied_to(mapping))?;
        let (passes, means) = (self.passes.clone(), self.means.clone());
        let scaled = self.scaled.clone();
        let model = observed.convert()?;
        let result = Self { observed, model, passes, scaled, means, ..*self };
        result.with_rounded_weights(options, data)?.with_corrected_biases(options, data)
    }

    /// Rounds the weights of the converted model, whose integers are the nearest.
    fn with_rounded_weights(
        self,
        options: Options,
        data: &mut dyn CalibrationData,
    ) -> Result<Self> {
        let (float, passes) = (self.observed.model(), &self.passes);
        let model =
            rounding::round(self.model, float, passes.rounding, passes.seed, options, data)?;
        Ok(Self { model, ..self })
    }

    /// Corrects the biases of the converted model.
    fn with_corrected_biases(
        self,
        options: Options,
        data: &mut dyn CalibrationData,
    ) -> Result<Self> {
        let float = self.observed.model();
        let model = match self.passes.bias_correction {
            BiasCorrection::None => self.model,
            BiasCorrection::Fast => bias_correction::fast(self.model, float, &self.means)?,
            BiasCorrection::Empirical => {
                let mut batches = data.batches("correcting biases");
                bias_correction::empirical(self.model, float, options, &mut *batches)?
            }
        };
        Ok(Self { model, ..self })
    }
}

/// Batches in memory, each with a tensor for every input of the network.
struct Held<'a>(&'a [Vec<Tensor>]);

impl CalibrationData for Held<'_> {
    fn batches(&mut self, _: &str) -> Box<dyn Iterator<Item = Result<Vec<Tensor>>> + '_> {
        Box::new(self.0.iter().cloned().map(Ok))
    }
}

/// Returns the sum of the squared differences between the int8 network's outputs and those that are
/// `expected`.
fn output_noise(
    expected: &[Vec<Tensor>],
    model: &QuantizedModel,
    options: Options,
    batches: &[Vec<Tensor>],
) -> Result<f64> {
    let mut engine = compile(model, options)?;
    let mut noise = 0.0;
    for (inputs, expected) in batches.iter().zip(expected) {
        for (x, y) in expected.iter().zip(run_batch(&mut engine, inputs)?) {
            let pairs = x.data().iter().zip(y.data());
            noise += pairs.map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>();
        }
    }
    Ok(noise)
}

/// Runs all batches through the float model for its observers and `means`; returns the number of
/// pictures.
fn calibrate(
    observed: &mut ObservedModel,
    means: &mut InputMeans,
    options: Options,
    batches: &mut dyn Iterator<Item = Result<Vec<Tensor>>>,
) -> Result<usize> {
    let graph = observed.model().graph().clone();
    let mut engine = compile(observed.model(), options)?;
    let pool = Arc::clone(engine.pool());
    let mut pictures = 0;
    for inputs in batches {
        let inputs = inputs?;
        let shapes = shapes_of(&graph, &inputs)?;
        let given: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
        engine.run_all_shown(&given, &mut |id, shown| {
            if let Shown::Float(values) = shown {
                observed.observe(&pool, id, values)?;
            }
            means.add(&pool, &graph, &shapes, id, shown);
            Ok(())
        })?;
        pictures += given.first().map_or(0, Input::batch);
    }
    observed.calculate_scales(&pool);
    Ok(pictures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Architecture;
    use crate::nn::Sequential;
    use crate::ops::{Activation, BatchNorm, Conv2d, Padding, Role};
    use crate::quantization::QConfig;

    fn net() -> FloatModel {
        let net = Sequential::new()
            .then(Conv2d::new(3, 16, 1).bias(false))
            .then(BatchNorm::two_d(16))
            .then(Activation::ReLU6)
            .then(Conv2d::new(16, 16, 3).padding(Padding::all(1)).groups(16))
            .then(Activation::ReLU)
            .then(Conv2d::new(16, 4, 1));
        Architecture::trace(&net).unwrap().init(7)
    }

    fn pictures(batches: usize) -> Vec<Tensor> {
        let values =
            |batch| (0..2 * 3 * 64).map(move |i| ((i * 37 + batch * 29) % 101) as f32 / 60.0 - 0.8);
        let batch = |batch| Tensor::new([2, 3, 8, 8], values(batch).collect()).unwrap();
        (0..batches).map(batch).collect()
    }

    fn run(model: &FloatModel, qconfig: QConfig, passes: &PostTraining) -> PostTrainingResult {
        let (mapping, options) = (QConfigMapping::global(qconfig), Options::new(2).unwrap());
        model.quantize(&mapping, passes, options, &mut pictures(4)).unwrap()
    }

    #[test]
    fn the_passes_of_pytorch_give_what_prepare_calibrate_and_convert_give() {
        let model = net();
        for qconfig in [QConfig::default_qconfig(), QConfig::fbgemm(), QConfig::qnnpack()] {
            let result = run(&model, qconfig.clone(), &PostTraining::pytorch());
            assert_eq!((result.pictures, result.equalized), (8, false));
            let mapping = QConfigMapping::global(qconfig);
            let mut observed = model.fuse().unwrap().prepare(&mapping).unwrap();
            let batches = pictures(4).into_iter().map(Ok);
            observed.calibrate(Options::new(1).unwrap(), batches).unwrap();
            assert_eq!(result.model, observed.convert().unwrap());
        }
    }

    #[test]
    fn channels_are_equalized_where_the_outputs_are_then_closer() {
        let model = net();
        let mut parameters = model.parameters().clone();
        let norm = model.graph().find("1").unwrap();
        // Channels with ranges from 1 to 4^4 times the smallest.
        for role in [Role::Weight, Role::Bias] {
            let tensor = Arc::make_mut(parameters.get_mut(&(norm, role)).unwrap());
            for (channel, x) in tensor.data_mut().iter_mut().enumerate() {
                *x = (*x + 0.1) * 0.01 * 4f32.powi((channel % 5) as i32);
            }
        }
        let model = FloatModel::new(model.graph().clone(), parameters).unwrap();
        let passes = |equalization| PostTraining::pytorch().equalization(equalization);
        let noise = |equalization| {
            let result = run(&model, QConfig::qnnpack(), &passes(equalization));
            let options = Options::new(1).unwrap();
            let float = model.fuse().unwrap();
            let batches: Vec<_> = pictures(4).into_iter().map(|images| vec![images]).collect();
            let mut engine = compile(&float, options).unwrap();
            let expected: Vec<_> =
                batches.iter().map(|inputs| run_batch(&mut engine, inputs).unwrap()).collect();
            let noise = output_noise(&expected, &result.model, options, &batches).unwrap();
            (result.equalized, noise)
        };
        let (without, with) = (noise(Equalization::Never), noise(Equalization::Always));
        assert!(with.1 < 0.5 * without.1, "{with:?}, {without:?}");
        assert_eq!(noise(Equalization::IfBetter), with);
    }

    #[test]
    fn what_was_decided_repeats_the_network() {
        let model = net();
        for qconfig in [QConfig::recommended(), QConfig::qnnpack()] {
            let passes = PostTraining::recommended();
            let decided = run(&model, qconfig.clone(), &passes);
            assert_ne!(decided.equalization, Equalization::IfBetter);
            assert_eq!(decided.equalized, decided.equalization != Equalization::Never);
            let repeated = run(&model, qconfig, &passes.equalization(decided.equalization));
            assert_eq!(repeated.model, decided.model);
        }
        // Of its activations, a ReLU6 and a ReLU, one has a bound.
        let mut scaled = [Equalization::Unbounded, Equalization::Always].map(|equalization| {
            let passes = PostTraining::recommended().equalization(equalization);
            run(&model, QConfig::recommended(), &passes).scaled.unwrap().into_iter()
        });
        let names = scaled
            .each_mut()
            .map(|scaled| scaled.flat_map(|channels| channels.producers).collect::<Vec<_>>());
        assert!(
            names[0].iter().all(|id| names[1].contains(id)) && names[0].len() < names[1].len(),
            "{names:?}"
        );
    }

    #[cfg(feature = "training")]
    #[test]
    fn a_training_starts_with_the_ranges_and_channels_of_the_int8_network() {
        let model = net();
        let result = run(&model, QConfig::recommended(), &PostTraining::recommended());
        let mapping = QConfigMapping::global(QConfig::recommended_qat());
        let qat = result.prepare_qat(&model, &mapping).unwrap();
        let ranges: Vec<_> = result.observed.ranges().collect();
        assert!(ranges.len() > 2);
        for (name, activation) in qat.activations() {
            let (.., expected) = ranges.iter().find(|(found, ..)| *found == name).unwrap();
            assert_eq!(activation.qparams().per_tensor(), Some(*expected), "{name}");
            assert!(!activation.observer_enabled());
        }
        let fused = qat.model().fuse().unwrap();
        for (key, tensor) in result.observed.model().parameters() {
            for (x, y) in tensor.data().iter().zip(fused.parameters()[key].data()) {
                assert!((x - y).abs() <= 1e-5 * x.abs().max(1.0), "{key:?}: {x} and {y}");
            }
        }
        let other = Architecture::trace(&Sequential::new().then(Conv2d::new(3, 8, 1))).unwrap();
        assert!(result.prepare_qat(&other.init(0), &mapping).is_err());
    }
}
