//! Post-training quantization without calibration pictures.

use posterize_kernels::Pool;

use super::fuse::chain_from;
use super::options::{BiasCorrection, Equalization, PostTraining, Rounding};
use super::passes::bias_correction;
use super::passes::input_means::InputMeans;
use super::post_training::PostTrainingResult;
use super::qconfig::QConfigMapping;
use super::statistics::{Distribution, Quantiles, distributions};
use crate::data::Preprocessing;
use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::model::FloatModel;

/// Number of values of each channel with which moments are computed.
const VALUES: usize = 512;

impl FloatModel {
    /// Quantizes the model without calibration pictures. The ranges of its values come from the statistics of
    /// its batch norms, so they are estimates; [`Self::quantize`] observes them on pictures.
    ///
    /// Behind a batch norm, a channel has the mean `beta` and the standard deviation `|gamma|`. The
    /// distributions of other values follow from these. A range goes to six standard deviations from the mean
    /// of the channels ([Nagel et al. 2019](https://arxiv.org/abs/1906.04721), sections 4.2.1 and 5), whatever
    /// the activation observers of `mapping` are. Linear layers that are outputs of the network are quantized
    /// dynamically ([`QConfigMapping::set_float_outputs`]), since the range of a classifier is not known.
    ///
    /// Biases are corrected for the rounding of the weights if `passes` correct biases at all; other passes
    /// need pictures and are left out. The preprocessing says which values the input has.
    ///
    /// ```
    /// use posterize::Architecture;
    /// use posterize::data::Preprocessing;
    /// use posterize::nn::Sequential;
    /// use posterize::ops::{Activation, BatchNorm, Conv2d};
    /// use posterize::quantization::{PostTraining, QConfig, QConfigMapping};
    ///
    /// let net = Sequential::new()
    ///     .then(Conv2d::new(3, 8, 3).bias(false))
    ///     .then(BatchNorm::two_d(8))
    ///     .then(Activation::ReLU6);
    /// let model = Architecture::trace(&net)?.init(0);
    /// let mapping = QConfigMapping::global(QConfig::recommended());
    /// let passes = PostTraining::recommended();
    /// let result = model.quantize_without_pictures(&mapping, &passes, &Preprocessing::imagenet())?;
    /// assert_eq!((result.pictures, result.model.layers().len()), (0, 1));
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`Self::fuse`], [`Self::prepare`] and
    /// [`ObservedModel::convert`](super::ObservedModel::convert), and an error if the network has no batch
    /// norms, more than one input, or an operator whose distribution is not known.
    pub fn quantize_without_pictures(
        &self,
        mapping: &QConfigMapping,
        passes: &PostTraining,
        preprocessing: &Preprocessing,
    ) -> Result<PostTrainingResult> {
        preprocessing.validate()?;
        let graph = self.graph();
        let inputs = graph.inputs().count();
        if inputs != 1 {
            return Err(Error::Argument(format!(
                "the network has {inputs} inputs, and only that of pictures has known values; quantize \
                 it with calibration data"
            )));
        }
        let quantiles = Quantiles::new(VALUES);
        let known = distributions(self, &of_pictures(preprocessing), &quantiles)?;
        let consumers = graph.consumers();
        let float = self.fuse()?;
        // A fused layer has the name of its first layer and the output of its last one.
        let chain = |id: NodeId| {
            let first = graph.find(&float.graph().node(id).name);
            first.map(|first| chain_from(graph, &consumers, first)).unwrap_or_default()
        };
        let of_fused = |id: NodeId| known.get(chain(id).last()?.0);
        let mapping = mapping.clone().with_min_max_activations().set_float_outputs(true);
        let mut observed = float.prepare(&mapping)?;
        let pool = Pool::new(1);
        for (id, _) in float.graph().iter() {
            if let Some(channels) = of_fused(id).filter(|_| observed.is_observed(id)) {
                let ends = channels.iter().flat_map(|of| [of.min as f32, of.max as f32]);
                observed.observe(&pool, id, &ends.collect::<Vec<f32>>())?;
            }
        }
        let means = InputMeans::of_channels(float.graph(), |id| {
            let means = of_fused(id)?.iter().map(|&of| quantiles.moments(of, |x| x).mean);
            Some(means.collect())
        });
        let mut model = observed.convert()?;
        let bias_correction = match passes.bias_correction {
            BiasCorrection::None => BiasCorrection::None,
            BiasCorrection::Fast | BiasCorrection::Empirical => BiasCorrection::Fast,
        };
        if bias_correction == BiasCorrection::Fast {
            model = bias_correction::fast(model, &float, &means)?;
        }
        let passes = PostTraining {
            equalization: Equalization::Never,
            bias_correction,
            rounding: Rounding::Nearest,
            float_outputs: true,
            ..passes.clone()
        };
        Ok(PostTrainingResult::without_pictures(observed, model, passes, means))
    }
}

/// Returns the distributions of red, green and blue of pictures. A preprocessing makes them have the mean 0
/// and the standard deviation 1, and its pixels are 0 to 1 before.
fn of_pictures(preprocessing: &Preprocessing) -> Vec<Distribution> {
    let channels = preprocessing.mean.iter().zip(&preprocessing.std);
    let of = |(&mean, &std): (&f32, &f32)| {
        let [min, max] = [0.0, 1.0].map(|pixel| f64::from((pixel - mean) / std));
        Distribution { mean: 0.0, std: 1.0, min, max }
    };
    channels.map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::nn::{Module, Sequential, Tracer, Value};
    use crate::ops::{
        Activation, AdaptiveAvgPool2d, BatchNorm, Conv2d, Flatten, Linear, Op, Padding, Role,
    };
    use crate::quantization::QConfig;
    use crate::runtime::Model;
    use crate::{Architecture, Tensor};

    struct Residual(Sequential, Sequential);

    impl Module for Residual {
        fn kind(&self) -> &'static str {
            "Residual"
        }

        fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
            let x = cx.call("stem", &self.0, x);
            let y = cx.call("block", &self.1, x);
            let y = cx.add(x, y);
            let y = cx.call("pool", &AdaptiveAvgPool2d::new([1, 1]), y);
            let y = cx.call("flatten", &Flatten, y);
            cx.call("head", &Linear::new(8, 5), y)
        }
    }

    /// A network whose batch norms have `gamma` 0.5 and `beta` 0.1 to 0.8.
    fn net() -> FloatModel {
        let conv = |i, groups| Conv2d::new(i, 8, 3).padding(Padding::all(1)).groups(groups);
        let stem = Sequential::new()
            .then(conv(3, 1).bias(false))
            .then(BatchNorm::two_d(8))
            .then(Activation::ReLU6);
        let block = Sequential::new().then(conv(8, 8).bias(false)).then(BatchNorm::two_d(8));
        let model = Architecture::trace(&Residual(stem, block)).unwrap().init(3);
        let mut parameters = model.parameters().clone();
        for (id, node) in model.graph().iter() {
            if let Op::BatchNorm(_) = node.op {
                let mut set = |role, value: &dyn Fn(usize) -> f32| {
                    let tensor = Arc::make_mut(parameters.get_mut(&(id, role)).unwrap());
                    let values = tensor.data_mut().iter_mut().enumerate();
                    values.for_each(|(channel, x)| *x = value(channel));
                };
                set(Role::Weight, &|channel| if channel == 0 { -0.5 } else { 0.5 });
                set(Role::Bias, &|channel| (channel + 1) as f32 / 10.0);
            }
        }
        FloatModel::new(model.graph().clone(), parameters).unwrap()
    }

    fn quantize(model: &FloatModel, mapping: &QConfigMapping) -> Result<PostTrainingResult> {
        let passes = PostTraining::recommended();
        model.quantize_without_pictures(mapping, &passes, &Preprocessing::imagenet())
    }

    fn mapping() -> QConfigMapping {
        QConfigMapping::global(QConfig::recommended())
    }

    #[test]
    fn ranges_are_six_standard_deviations_around_the_means_of_batch_norms() {
        let result = quantize(&net(), &mapping()).unwrap();
        let ranges: Vec<_> = result.observed.ranges().collect();
        let names: Vec<&str> = ranges.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, ["input", "stem.0", "block.0", "add"]);
        let close = |index: usize, [min, max]: [f32; 2]| {
            let found = ranges[index].1;
            let near = |a: f32, b: f32| (a - b).abs() < 1e-3;
            assert!(near(found.min, min) && near(found.max, max), "{found:?}, {min}, {max}");
        };
        // Black in red and white in blue, normalized.
        close(0, [-0.485 / 0.229, (1.0 - 0.406) / 0.225]);
        // 0.8 + 6 · 0.5, behind a ReLU6, and without one also 0.1 − 6 · 0.5.
        close(1, [0.0, 3.8]);
        close(2, [0.1 - 3.0, 0.8 + 3.0]);
        // The standard deviation of a sum is less than the sum of both.
        let sum = ranges[3].1;
        assert!(sum.max > 3.8 && sum.max < 7.6 && sum.min > -3.0 && sum.min < 0.0, "{sum:?}");
    }

    #[test]
    fn the_last_linear_layer_is_quantized_dynamically_unless_it_stays_in_float() {
        let result = quantize(&net(), &mapping()).unwrap();
        let head = |result: &PostTrainingResult| {
            let graph = result.model.graph();
            graph.node(graph.find("head").unwrap()).op.kind()
        };
        assert_eq!(head(&result), "DynamicQuantizedLinear");
        assert_eq!((result.pictures, result.model.layers().len()), (0, 2));
        assert_eq!(result.model.float_layers(), []);
        let skipped = quantize(&net(), &mapping().set_module_name("head", None)).unwrap();
        assert_eq!(head(&skipped), "Linear");
        assert_eq!(skipped.model.float_layers()[0].name, "head");
        let error = quantize(&net(), &mapping().set_module_name("tail", None)).unwrap_err();
        assert!(error.to_string().contains("match no layer: tail"), "{error}");
    }

    #[test]
    fn outputs_are_close_to_those_of_the_float_network() {
        let model = net();
        let result = quantize(&model, &mapping()).unwrap();
        let values = (0..4 * 3 * 64).map(|i| ((i * 37) % 101) as f32 / 40.0 - 1.0).collect();
        let images = Tensor::new([4, 3, 8, 8], values).unwrap();
        let expected = model.forward(&images).unwrap();
        let found = Model::from(&result.model).forward(&images).unwrap();
        let pairs = || expected.data().iter().zip(found.data());
        let signal: f32 = expected.data().iter().map(|x| x * x).sum();
        let noise: f32 = pairs().map(|(x, y)| (x - y).powi(2)).sum();
        assert!(noise > 0.0 && noise < signal / 1000.0, "{noise} of {signal}");
        // Only rounding can be corrected for without pictures.
        assert_eq!(result.passes.bias_correction, BiasCorrection::Fast);
        assert_eq!(result.passes.rounding, Rounding::Nearest);
    }

    #[test]
    fn networks_without_known_statistics_are_errors() {
        let net = Sequential::new().then(Conv2d::new(3, 8, 3)).then(Activation::ReLU);
        let plain = Architecture::trace(&net).unwrap().init(0);
        let error = quantize(&plain, &mapping()).unwrap_err().to_string();
        assert!(error.contains("the network has no batch norms"), "{error}");
        assert!(error.contains("quantize it with calibration pictures"), "{error}");
        // Folded batch norms have no statistics any more.
        let error = quantize(&super::tests::net().fuse().unwrap(), &mapping()).unwrap_err();
        assert!(error.to_string().contains("folded into its weights already"), "{error}");
        let broken = super::tests::net();
        let mut parameters = broken.parameters().clone();
        let id = broken.graph().find("block.1").unwrap();
        Arc::make_mut(parameters.get_mut(&(id, Role::Weight)).unwrap()).data_mut()[2] = f32::NAN;
        let broken = FloatModel::new(broken.graph().clone(), parameters).unwrap();
        let error = quantize(&broken, &mapping()).unwrap_err().to_string();
        assert!(error.starts_with("block.1: its weight is missing or has NaN"), "{error}");
    }

    #[test]
    fn published_networks_have_ranges_for_all_of_their_values() {
        use crate::models::{self, Config};
        for name in models::names() {
            let config = Config { num_classes: 10, ..models::config(name).unwrap() };
            let model = models::by_name(name, &config).unwrap().init(0);
            let result = quantize(&model, &mapping()).unwrap();
            assert_eq!(result.observed.without_data(), [""; 0], "{name}");
            assert_eq!(result.model.dynamic_layers(), 1, "{name}");
        }
    }
}
