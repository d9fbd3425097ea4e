//! What an engine runs: a float or an int8 model, and the kernels of its nodes.

use std::cell::OnceCell;

use posterize_kernels::Isa;
use posterize_kernels::int8::QParams8;

use super::step::{Quantize, StepKernel};
use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleTree, Node, NodeId};
use crate::model::{FloatModel, Parameters};
use crate::ops::kernel::{FloatContext, Int8Context, Int8Weight, Int8Weights, Packs, Shapes};
use crate::ops::{Op, Role};
use crate::quantization::{QParams, QuantizedModel, QuantizedWeight};
use crate::tensor::Tensor;

/// A model that an engine runs. Weights are shared, so that a copy costs little.
///
/// ```
/// use posterize::Architecture;
/// use posterize::ops::Linear;
/// use posterize::runtime::Model;
///
/// let model = Model::from(Architecture::trace(&Linear::new(4, 2))?.init(0));
/// assert!(matches!(model, Model::Float(_)));
/// assert_eq!(model.graph().infer(&[1, 4])?[1].shape, [1, 2]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Model {
    /// A float model.
    Float(FloatModel),
    /// An int8 model, which may have layers in float.
    Quantized(QuantizedModel),
}

impl From<&FloatModel> for Model {
    fn from(model: &FloatModel) -> Self {
        Self::Float(model.clone())
    }
}

impl From<&QuantizedModel> for Model {
    fn from(model: &QuantizedModel) -> Self {
        Self::Quantized(model.clone())
    }
}

impl From<&Self> for Model {
    fn from(model: &Self) -> Self {
        model.clone()
    }
}

impl From<FloatModel> for Model {
    fn from(model: FloatModel) -> Self {
        Self::Float(model)
    }
}

impl From<QuantizedModel> for Model {
    fn from(model: QuantizedModel) -> Self {
        Self::Quantized(model)
    }
}

/// Integers that replace those of an int8 layer.
#[derive(Clone, Debug)]
pub(crate) struct Replacement {
    /// The weight; `None` for that of the layer.
    pub(crate) weight: Option<Vec<i8>>,
    /// The bias.
    pub(crate) bias: Vec<i32>,
}

/// A model checks that zero points fit when it is made.
fn qparams8(qparams: QParams) -> QParams8 {
    QParams8 { scale: qparams.scale, zero_point: qparams.zero_point as u8 }
}

impl Model {
    /// The graph to run.
    pub fn graph(&self) -> &Graph {
        match self {
            Self::Float(model) => model.graph(),
            Self::Quantized(model) => model.graph(),
        }
    }

    /// The scale and zero point of a node's output, where that is u8.
    pub(super) fn qparams(&self, id: NodeId) -> Option<QParams8> {
        match self {
            Self::Float(_) => None,
            Self::Quantized(model) => model.qparams(id).map(qparams8),
        }
    }

    /// Returns the parameters of its float layers: of all layers of a float model.
    pub fn parameters(&self) -> &Parameters {
        match self {
            Self::Float(model) => model.parameters(),
            Self::Quantized(model) => model.parameters(),
        }
    }

    /// Returns the module at a dotted path and all modules below it; an empty path is the whole
    /// network.
    ///
    /// # Errors
    /// Returns an error that lists the existing names if there is no module at that path.
    pub fn module(&self, path: &str) -> Result<ModuleTree> {
        match self {
            Self::Float(model) => model.module(path),
            Self::Quantized(model) => model.module(path),
        }
    }

    /// Returns the float model; `None` if it is int8.
    pub fn as_float(&self) -> Option<&FloatModel> {
        match self {
            Self::Float(model) => Some(model),
            Self::Quantized(_) => None,
        }
    }

    /// Returns the int8 model; `None` if it is float.
    pub fn as_quantized(&self) -> Option<&QuantizedModel> {
        match self {
            Self::Float(_) => None,
            Self::Quantized(model) => Some(model),
        }
    }

    /// Returns the output for a batch `[N, C, H, W]`, on all processors. To run more than one batch,
    /// [`compile`](super::compile) it, which packs the weights once.
    ///
    /// # Errors
    /// Returns an error that names the layer that such an input does not fit.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        match self {
            Self::Float(model) => model.forward(images),
            Self::Quantized(model) => model.forward(images),
        }
    }

    /// The kernel of a node for inputs of such shapes; `None` where it computes nothing, so that its
    /// output is its input. `replacement` replaces the weight and bias of a layer with int8 weights.
    pub(super) fn kernel(
        &self,
        isa: Isa,
        id: NodeId,
        shapes: &Shapes,
        packs: &Packs,
        replacement: Option<&Replacement>,
    ) -> Result<Option<StepKernel>> {
        let node = self.graph().node(id);
        let input = node.inputs.first().and_then(|&input| self.qparams(input));
        match (&node.op, input, self.qparams(id)) {
            (Op::QuantStub(_), None, Some(to)) => {
                Ok(Some(StepKernel::Quantize(Quantize { to, pixels: None })))
            }
            (Op::DeQuantStub(_), Some(from), None) => Ok(Some(StepKernel::Dequantize(from))),
            (op, Some(_), Some(output)) => {
                let mut cx = self.int8_context(isa, id, output, packs)?;
                if let (Some(weights), Some(replacement)) = (&mut cx.weights, replacement) {
                    weights.weight = replacement.weight.as_deref().unwrap_or(weights.weight);
                    weights.bias = &replacement.bias;
                }
                let made = op.compute().int8(&cx, shapes);
                let made = made.map_err(|problem| Error::layer(&node.name, problem))?;
                Ok(made.map(StepKernel::Int8))
            }
            (op, None, None) => {
                let parameters = self.parameters();
                let weight = self.as_quantized().and_then(|model| model.weight(id));
                let scales = weight.map(QuantizedWeight::scales);
                let int8_weight = weight
                    .zip(scales.as_deref())
                    .map(|(found, scales)| Int8Weight { weight: &found.weight, scales });
                let dequantized = OnceCell::new();
                let parameter = |role| match (role, weight) {
                    (Role::Weight, Some(weight)) => {
                        Some(dequantized.get_or_init(|| weight.dequantize()).as_slice())
                    }
                    _ => parameters.get(&(id, role)).map(|found| found.data()),
                };
                let cx = FloatContext { isa, parameter: &parameter, int8_weight, packs };
                let made = op.compute().float(&cx, shapes);
                let made = made.map_err(|problem| Error::layer(&node.name, problem))?;
                Ok(made.map(StepKernel::Float))
            }
            _ => Err(Error::layer(&node.name, "int8 and float values meet")),
        }
    }

    fn int8_context<'a>(
        &'a self,
        isa: Isa,
        id: NodeId,
        output: QParams8,
        packs: &'a Packs,
    ) -> Result<Int8Context<'a>> {
        let node = self.graph().node(id);
        let inputs = node.inputs.iter().filter_map(|&input| self.qparams(input)).collect();
        let (range, weights) = match self {
            Self::Float(_) => ([0, u8::MAX], None),
            Self::Quantized(model) => {
                let (min, max) = model.output_range(id).unwrap_or((0, u8::MAX));
                ([min, max], int8_weights(model, id, node)?)
            }
        };
        Ok(Int8Context { isa, inputs, output, range, weights, packs })
    }
}

fn int8_weights<'a>(
    model: &'a QuantizedModel,
    id: NodeId,
    node: &Node,
) -> Result<Option<Int8Weights<'a>>> {
    let Some(layer) = model.layer(id) else { return Ok(None) };
    let missing = |what: &str| Error::layer(&node.name, format!("it has no {what}"));
    let input = node.inputs.first().and_then(|&input| model.qparams(input));
    let input = input.ok_or_else(|| missing("input scale"))?;
    let output = model.qparams(id).ok_or_else(|| missing("output scale"))?;
    let multiplier =
        layer.multipliers(input, output).map_err(|problem| Error::layer(&node.name, problem))?;
    Ok(Some(Int8Weights { weight: &layer.weight, bias: &layer.bias, multiplier }))
}
