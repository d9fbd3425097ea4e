//! How much each int8 layer costs in accuracy, and why.
//!
//! The network is calibrated once. For each layer it is converted again with only this layer in int8, and
//! with only this layer in float, from the same observers and with the same integers of the weights.

mod cause;
mod facts;
mod order;
mod pictures;
mod weight_noise;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

pub use cause::{Cause, Remedy};
pub use facts::{LayerFacts, OutputFacts, WeightFacts};
pub(super) use order::sources_first;
pub use pictures::OutputQuality;
pub(super) use pictures::{Pictures, first_pictures, run_batch};

use cause::Done;
use facts::measure;
use weight_noise::{input_means, weight_noise};

use super::domain::Domain;
use super::options::BiasCorrection;
use super::passes::bias_correction;
use super::passes::input_means::InputMeans;
use super::post_training::PostTrainingResult;
use super::qconfig::QConfigMapping;
use super::quantized_model::QuantizedModel;
use crate::error::Result;
use crate::graph::NodeId;
use crate::ops::Op;
use crate::runtime::{Engine, Options, compile};
use crate::tensor::Tensor;

/// How much each int8 layer costs in accuracy; [`PostTrainingResult::sensitivity`] measures it.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::{Activation, Flatten, Linear};
/// use posterize::quantization::{PostTraining, QConfig, QConfigMapping};
/// use posterize::runtime::Options;
/// use posterize::{Architecture, Tensor};
///
/// let hidden = Sequential::new().then(Linear::new(4, 8)).then(Activation::ReLU);
/// let net = hidden.then(Linear::new(8, 8)).then(Activation::ReLU).then(Linear::new(8, 2));
/// let model = Architecture::trace(&net)?.init(0);
/// let (mapping, options) = (QConfigMapping::global(QConfig::recommended()), Options::new(1)?);
/// let x = Tensor::new([2, 4], vec![-1.0, 0.0, 0.5, 1.0, 0.2, -0.1, 0.3, 0.9])?;
/// let passes = PostTraining::recommended();
/// let result = model.quantize(&mapping, &passes, options, &mut vec![x.clone()])?;
///
/// let found = result.sensitivity(&[vec![x]], None, options, &mut |_, _| ())?;
/// assert_eq!((found.pictures, found.layers.len()), (2, 3));
/// let worst = &found.layers[0];
/// assert!(worst.only_int8.sqnr_db <= found.layers[1].only_int8.sqnr_db);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Sensitivity {
    /// The number of pictures.
    pub pictures: usize,
    /// Whether top-1 is the accuracy on labels, and not the agreement with the float network.
    pub labelled: bool,
    /// The top-1 accuracy of the float network in percent, which is 100 without labels; `None` if its first
    /// output is not of shape `[N, C]`.
    pub float_top1: Option<f64>,
    /// The network with all layers in int8.
    pub int8: OutputQuality,
    /// The int8 layers, the one that adds most noise to the outputs first. A layer whose noise is likely that
    /// of a value that it reads comes after the layer that computes the value.
    pub layers: Vec<LayerSensitivity>,
}

/// How much an int8 layer costs in accuracy.
///
/// ```
/// use posterize::quantization::LayerSensitivity;
///
/// /// Returns the lines of a table.
/// fn lines(layers: &[LayerSensitivity]) -> Vec<String> {
///     let line = |layer: &LayerSensitivity| format!("{} {:.1}", layer.name, layer.only_int8.sqnr_db);
///     layers.iter().map(line).collect()
/// }
/// # lines(&[]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerSensitivity {
    /// The layer's name.
    pub name: String,
    /// Its operator: `ConvReLU6_2d`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The network with only this layer in int8.
    pub only_int8: OutputQuality,
    /// The network with only this layer in float.
    pub only_float: OutputQuality,
    /// The milliseconds that a picture takes longer with only this layer in float, measured; `None` if the
    /// network has several inputs.
    pub extra_ms: Option<f64>,
    /// The bytes that its parameters take more in float.
    pub extra_bytes: u64,
    /// What was measured of the layer.
    pub facts: LayerFacts,
    /// The likely causes of its noise, the most pronounced first. There may be none.
    pub causes: Vec<LayerCause>,
}

/// A cause of a layer's noise and what to try. It is displayed as a clause.
///
/// ```
/// use posterize::quantization::{Cause, LayerCause, Remedy};
///
/// let cause = LayerCause {
///     cause: Cause::FewLevels { levels: 3 },
///     input: Some("features.1".into()),
///     remedy: Remedy::KeepInFloat,
/// };
/// assert!(cause.to_string().starts_with("in its input from features.1: few levels used"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerCause {
    /// The cause.
    #[serde(flatten)]
    pub cause: Cause,
    /// The layer whose output has the cause, if it is an input of this one.
    pub input: Option<String>,
    /// What to try.
    pub remedy: Remedy,
}

impl fmt::Display for LayerCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.input {
            Some(input) => write!(f, "in its input from {input}: {}", self.cause),
            None => write!(f, "{}", self.cause),
        }
    }
}

/// The number of runs of which the shortest is the time of a network.
const TIMED_RUNS: usize = 15;

impl PostTrainingResult {
    /// Measures for every int8 layer how the outputs change if only this layer is int8, and if only this
    /// layer is float.
    ///
    /// `batches` are some pictures, each batch a tensor for every input of the network. They stay in
    /// memory; a hundred pictures are enough to find the sensitive layers. `labels` are the classes of all
    /// pictures; without them, top-1 is the agreement with the float network. `progress` is called with
    /// the number of layers measured so far and of all. But for [`LayerSensitivity::extra_ms`], the result
    /// does not depend on the number of threads.
    ///
    /// # Errors
    /// Returns an error if there is no picture or not as many labels, or if a picture cannot be run.
    pub fn sensitivity(
        &self,
        batches: &[Vec<Tensor>],
        labels: Option<&[usize]>,
        options: Options,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Sensitivity> {
        let float = self.observed.model();
        let pictures = Pictures::new(float, batches, labels, options)?;
        let mut engine = compile(&self.model, options)?;
        let int8 = pictures.quality(&mut engine)?;
        let nodes = self.int8_nodes();
        let means = input_means(float, &pictures, options)?;
        let mut facts = measure(float, &self.model, &nodes, &pictures, options)?;
        let mut layers = Vec::with_capacity(nodes.len());
        let total = nodes.len();
        for (index, &id) in nodes.iter().enumerate() {
            let measured = self.measure_layer(id, &mut engine, &means, &pictures, options)?;
            let Some(layer_facts) = facts.get_mut(&id) else { continue };
            if let Some(weight) = &mut layer_facts.weight {
                let noise = weight_noise(float, &self.model, id, &means, &pictures, options)?;
                let share = noise / pictures.noise(measured.ranked.only_int8);
                weight.noise_share = if share.is_finite() { share } else { 0.0 };
            }
            let layer_facts = layer_facts.clone();
            let mut only_float = measured.without;
            let only_float = pictures.quality(&mut only_float)?;
            let ranked = measured.ranked;
            layers.push(LayerSensitivity {
                name: ranked.name,
                kind: ranked.kind,
                only_int8: ranked.only_int8,
                only_float,
                extra_ms: ranked.extra_ms,
                extra_bytes: ranked.extra_bytes,
                causes: self.causes(id, &facts),
                facts: layer_facts,
            });
            progress(index + 1, total);
        }
        layers.sort_by(|a, b| a.only_int8.sqnr_db.total_cmp(&b.only_int8.sqnr_db));
        sources_first(&mut layers, |layer| {
            (&layer.name, layer.only_int8.sqnr_db, source(&layer.causes))
        });
        Ok(Sensitivity {
            pictures: pictures.count,
            labelled: pictures.labelled,
            float_top1: pictures.float_top1()?,
            int8,
            layers,
        })
    }

    /// Measures the int8 layers as [`Self::sensitivity`] does, in execution order and without what a search
    /// does not need.
    pub(super) fn rank(
        &self,
        pictures: &Pictures<'_>,
        options: Options,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Ranked>> {
        let float = self.observed.model();
        let mut engine = compile(&self.model, options)?;
        let nodes = self.int8_nodes();
        let means = input_means(float, pictures, options)?;
        let facts = measure(float, &self.model, &nodes, pictures, options)?;
        let mut ranked = Vec::with_capacity(nodes.len());
        for (index, &id) in nodes.iter().enumerate() {
            let mut layer = self.measure_layer(id, &mut engine, &means, pictures, options)?.ranked;
            layer.source = source(&self.causes(id, &facts)).map(str::to_owned);
            ranked.push(layer);
            progress(index + 1, nodes.len());
        }
        Ok(ranked)
    }

    /// Measures a layer alone in int8, and what it costs in float. `int8` is the engine of the model.
    fn measure_layer(
        &self,
        id: NodeId,
        int8: &mut Engine,
        means: &InputMeans,
        pictures: &Pictures<'_>,
        options: Options,
    ) -> Result<MeasuredLayer> {
        let node = self.observed.model().graph().node(id);
        let qconfig = self.observed.qconfig(id).cloned();
        let mapping = self.observed.mapping();
        let alone = QConfigMapping::new()
            .set_module_name(&node.name, qconfig)
            .set_float_outputs(mapping.float_outputs());
        let mut alone = self.variant(&alone)?;
        if self.passes.bias_correction != BiasCorrection::None {
            // Its own bias makes up for all int8 layers before it, which are float here.
            alone = bias_correction::fast(alone, self.observed.model(), means)?;
        }
        let only_int8 = pictures.quality(&mut compile(alone, options)?)?;
        let others = mapping.clone().set_module_name(&node.name, None);
        let mut without = compile(self.variant(&others)?, options)?;
        let one = pictures.first(1, 1)?.swap_remove(0);
        let [ms, int8_ms] = milliseconds([&mut without, int8], &one)?;
        let ranked = Ranked {
            name: node.name.clone(),
            kind: node.op.kind(),
            only_int8,
            extra_ms: ms.zip(int8_ms).map(|(ms, int8)| ms - int8),
            extra_bytes: self.extra_bytes(id),
            source: None,
        };
        Ok(MeasuredLayer { ranked, without })
    }

    /// Returns the causes of a layer's noise: its own, then those of the int8 values that it reads.
    fn causes(&self, id: NodeId, facts: &BTreeMap<NodeId, LayerFacts>) -> Vec<LayerCause> {
        let graph = self.observed.model().graph();
        let observer = |id| self.observed.qconfig(id).map(|qconfig| qconfig.activation.kind);
        let done = |id| Done {
            equalized: self.equalized,
            bias_correction: self.passes.bias_correction,
            rounding: self.passes.rounding,
            observer: observer(id),
        };
        let of = |id: NodeId| facts.get(&id).map(Cause::of).unwrap_or_default();
        // Its output is float, and each row of its input has a scale of its own.
        let is_dynamic = self.observed.domain(id) == Domain::Dynamic;
        let own = of(id).into_iter().filter(|cause| !is_dynamic || !cause.is_of_scale());
        let own =
            own.map(|cause| LayerCause { cause, input: None, remedy: cause.remedy(done(id)) });
        let inputs =
            graph.node(id).inputs.iter().filter_map(|&input| match self.observed.domain(input) {
                Domain::Int8(source) if !is_dynamic && facts.contains_key(&source) => Some(source),
                _ => None,
            });
        let inputs = inputs.flat_map(|input| {
            let causes = of(input).into_iter().filter(Cause::is_of_scale);
            causes.map(move |cause| (input, cause))
        });
        let inputs = inputs.map(|(input, cause)| LayerCause {
            cause,
            input: Some(graph.node(input).name.clone()),
            remedy: cause.remedy(done(input)),
        });
        own.chain(inputs).collect()
    }

    /// Returns the nodes of the float network that are int8 layers with a scale of their own, or are quantized
    /// dynamically.
    fn int8_nodes(&self) -> Vec<NodeId> {
        let graph = self.observed.model().graph();
        let is_layer = |(id, node): &(NodeId, &crate::graph::Node)| match self.observed.domain(*id)
        {
            Domain::Int8(source) => {
                source == *id
                    && !matches!(node.op, Op::Input(_) | Op::QuantStub(_) | Op::DeQuantStub(_))
            }
            Domain::Dynamic => true,
            Domain::Float => false,
        };
        graph.iter().filter(is_layer).map(|(id, _)| id).collect()
    }

    /// Returns the bytes that the parameters of a layer take more in float.
    fn extra_bytes(&self, id: NodeId) -> u64 {
        let node = self.observed.model().graph().node(id);
        let int8 = self.model.graph().find(&node.name).map_or(0, |id| self.model.bytes_of(id));
        node.op.float_bytes().saturating_sub(int8) as u64
    }

    /// Returns the network with another mapping and the same weights and biases.
    fn variant(&self, mapping: &QConfigMapping) -> Result<QuantizedModel> {
        self.observed.with_mapping(mapping)?.convert_like(Some(&self.model))
    }
}

/// A layer with what ranks it.
pub(super) struct Ranked {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) only_int8: OutputQuality,
    pub(super) extra_ms: Option<f64>,
    pub(super) extra_bytes: u64,
    /// The layer that computes the value whose noise it likely has.
    pub(super) source: Option<String>,
}

/// Returns the layer that computes the value that the most pronounced cause is in, if that is an input.
fn source(causes: &[LayerCause]) -> Option<&str> {
    causes.first()?.input.as_deref()
}

struct MeasuredLayer {
    ranked: Ranked,
    /// The network with only this layer in float.
    without: Engine,
}

/// Returns the times of networks for one picture in milliseconds: the shortest of some runs, in which the
/// networks take turns; `None` for a network with several inputs or outputs.
pub(super) fn milliseconds<const N: usize>(
    mut engines: [&mut Engine; N],
    inputs: &[Tensor],
) -> Result<[Option<f64>; N]> {
    let mut times = [None; N];
    let [input] = inputs else { return Ok(times) };
    for _ in 0..TIMED_RUNS {
        for (engine, time) in engines.iter_mut().zip(&mut times) {
            if engine.model().graph().outputs().len() == 1 {
                let profile = engine.profile(input, 1)?;
                let ms = 1e3 * profile.layers.iter().map(|layer| layer.seconds).sum::<f64>();
                *time = Some(time.map_or(ms, |known: f64| known.min(ms)));
            }
        }
    }
    Ok(times)
}
