//! How much each int8 layer costs in accuracy, and why.
//!
//! The network is calibrated once. For each layer it is converted again with only this layer in int8, and
//! with only this layer in float, from the same observers and with the same integers of the weights.

mod cause;
mod facts;
mod pictures;

use serde::Serialize;

pub use cause::{Cause, Remedy};
pub use facts::{LayerFacts, OutputFacts, WeightFacts};
pub use pictures::OutputQuality;
pub(super) use pictures::first_pictures;

use cause::Done;
use facts::measure;
use pictures::Pictures;

use super::domain::Domain;
use super::post_training::PostTrainingResult;
use super::qconfig::QConfigMapping;
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
/// let net = Sequential::new().then(Linear::new(4, 8)).then(Activation::ReLU).then(Linear::new(8, 2));
/// let model = Architecture::trace(&net)?.init(0);
/// let (mapping, options) = (QConfigMapping::global(QConfig::recommended()), Options::new(1)?);
/// let x = Tensor::new([2, 4], vec![-1.0, 0.0, 0.5, 1.0, 0.2, -0.1, 0.3, 0.9])?;
/// let passes = PostTraining::recommended();
/// let result = model.quantize(&mapping, &passes, options, &mut vec![x.clone()])?;
///
/// let found = result.sensitivity(&[vec![x]], None, options, &mut |_, _| ())?;
/// assert_eq!((found.pictures, found.layers.len()), (2, 2));
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
    /// The int8 layers, the one that adds most noise to the outputs first.
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

/// A cause of a layer's noise and what to try.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerCause {
    /// The cause.
    #[serde(flatten)]
    pub cause: Cause,
    /// What to try.
    pub remedy: Remedy,
}

/// The number of runs whose median is the time of a network.
const TIMED_RUNS: usize = 9;

impl PostTrainingResult {
    /// Measures for every int8 layer how the outputs change if only this layer is int8, and if only this
    /// layer is float.
    ///
    /// `batches` are some pictures, each batch a tensor for every input of the network. They stay in
    /// memory; a hundred pictures are enough to find the sensitive layers. `labels` are the classes of all
    /// pictures; without them, top-1 is the agreement with the float network. `progress` is called with
    /// the number of networks run so far and of all. But for [`LayerSensitivity::extra_ms`], the result
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
        let layers = self.int8_nodes();
        let pictures = Pictures::new(float, batches, labels, options)?;
        let total = 2 * layers.len() + 1;
        let mut done = 0;
        let mut step = || {
            done += 1;
            progress(done, total);
        };
        let one = pictures.first(1, 1)?.swap_remove(0);
        let mut engine = compile(&self.model, options)?;
        let int8 = pictures.quality(&mut engine)?;
        let int8_ms = milliseconds(&mut engine, &one)?;
        let mut facts = measure(float, &self.model, &layers, &pictures, options)?;
        step();
        let mut found = Vec::with_capacity(layers.len());
        for id in layers {
            let node = float.graph().node(id);
            let qconfig = self.observed.qconfig(id).cloned();
            let observer = qconfig.as_ref().map(|qconfig| qconfig.activation.kind);
            let alone = QConfigMapping::new().set_module_name(&node.name, qconfig);
            let only_int8 = pictures.quality(&mut self.variant(&alone, options)?)?;
            step();
            let others = self.observed.mapping().clone().set_module_name(&node.name, None);
            let mut engine = self.variant(&others, options)?;
            let only_float = pictures.quality(&mut engine)?;
            let ms = milliseconds(&mut engine, &one)?;
            step();
            let Some(facts) = facts.remove(&id) else { continue };
            let done = Done {
                equalized: self.equalized,
                bias_correction: self.passes.bias_correction,
                observer,
            };
            let with_remedy = |cause: Cause| LayerCause { cause, remedy: cause.remedy(done) };
            found.push(LayerSensitivity {
                name: node.name.clone(),
                kind: node.op.kind(),
                only_int8,
                only_float,
                extra_ms: ms.zip(int8_ms).map(|(ms, int8)| ms - int8),
                extra_bytes: self.extra_bytes(id),
                causes: Cause::of(&facts).into_iter().map(with_remedy).collect(),
                facts,
            });
        }
        found.sort_by(|a, b| a.only_int8.sqnr_db.total_cmp(&b.only_int8.sqnr_db));
        Ok(Sensitivity {
            pictures: pictures.count,
            labelled: pictures.labelled,
            float_top1: pictures.quality(&mut compile(float, options)?)?.top1,
            int8,
            layers: found,
        })
    }

    /// Returns the nodes of the float network that are int8 layers with a scale of their own.
    fn int8_nodes(&self) -> Vec<NodeId> {
        let graph = self.observed.model().graph();
        let is_layer = |(id, node): &(NodeId, &crate::graph::Node)| {
            self.observed.domain(*id) == Domain::Int8(*id)
                && !matches!(node.op, Op::Input(_) | Op::QuantStub(_) | Op::DeQuantStub(_))
        };
        graph.iter().filter(is_layer).map(|(id, _)| id).collect()
    }

    /// Returns the bytes that the parameters of a layer take more in float.
    fn extra_bytes(&self, id: NodeId) -> u64 {
        let node = self.observed.model().graph().node(id);
        let int8 = self.model.graph().find(&node.name).map_or(0, |id| self.model.bytes_of(id));
        node.op.float_bytes().saturating_sub(int8) as u64
    }

    /// Compiles the network with another mapping and the same weights and biases.
    fn variant(&self, mapping: &QConfigMapping, options: Options) -> Result<Engine> {
        let model = self.observed.with_mapping(mapping)?.convert_like(Some(&self.model))?;
        compile(model, options)
    }
}

/// Returns the time of a network for one picture in milliseconds: the sum of the median times of its
/// steps; `None` if it has several inputs.
pub(super) fn milliseconds(engine: &mut Engine, inputs: &[Tensor]) -> Result<Option<f64>> {
    let [input] = inputs else { return Ok(None) };
    if engine.model().graph().outputs().len() > 1 {
        return Ok(None);
    }
    let profile = engine.profile(input, TIMED_RUNS)?;
    Ok(Some(1e3 * profile.layers.iter().map(|layer| layer.seconds).sum::<f64>()))
}
