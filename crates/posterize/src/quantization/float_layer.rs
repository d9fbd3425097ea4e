//! The layers of a network that stay in float, and why.

use super::domain::{Domain, quantized_region};
use super::qconfig::QConfig;
use super::quantized_model::QuantizedModel;
use crate::graph::{Graph, Node, NodeId};
use crate::ops::{Int8Rule, Op};

/// A layer that is not quantized, and the reason.
///
/// ```
/// use posterize::Architecture;
/// use posterize::nn::Sequential;
/// use posterize::ops::Linear;
/// use posterize::quantization::{QConfig, QConfigMapping};
///
/// let net = Sequential::new().then(Linear::new(4, 4)).then(Linear::new(4, 2));
/// let mapping = QConfigMapping::global(QConfig::recommended()).set_module_name("1", None);
/// let observed = Architecture::trace(&net)?.init(0).prepare(&mapping)?;
/// let layer = &observed.float_layers()[0];
/// assert_eq!((layer.name.as_str(), layer.kind.as_str()), ("1", "Linear"));
/// assert_eq!(layer.reason, "it has no qconfig");
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloatLayer {
    /// The dotted path of the layer.
    pub name: String,
    /// The class name of the layer, such as `BatchNorm2d`.
    pub kind: String,
    /// The reason, as a sentence without a full stop.
    pub reason: &'static str,
}

/// Why a layer stays in float although it has a qconfig and an int8 form.
const AFTER_FLOAT: &str = "the layer before it stays in float";
const OUTSIDE_STUBS: &str = "it is not between a QuantStub and a DeQuantStub";
const NO_QCONFIG: &str = "it has no qconfig";
const ONLY_LINEAR: &str = "only linear layers are quantized dynamically";
const NO_INT8_WEIGHT: &str = "only convolutions and linear layers have int8 weights";

/// Returns the layers of a fused graph that are not quantized.
pub(super) fn float_layers(
    graph: &Graph,
    domains: &[Domain],
    qconfigs: &[Option<QConfig>],
) -> Vec<FloatLayer> {
    let region = quantized_region(graph);
    let is_float = |id: NodeId| domains[id.0] == Domain::Float;
    list(graph, is_float, |id, node| match node.op.int8_rule() {
        _ if !region[id.0] => OUTSIDE_STUBS,
        _ if qconfigs[id.0].is_none() => NO_QCONFIG,
        Int8Rule::Float { reason } => reason,
        Int8Rule::OwnScale | Int8Rule::FixedScale { .. } | Int8Rule::InputScale { .. } => {
            AFTER_FLOAT
        }
    })
}

impl QuantizedModel {
    /// Returns the layers that are computed in float, in execution order.
    ///
    /// ```
    /// use posterize::Tensor;
    /// use posterize::Architecture;
    /// use posterize::nn::Sequential;
    /// use posterize::ops::Linear;
    /// use posterize::quantization::{QConfig, QConfigMapping};
    ///
    /// let net = Sequential::new().then(Linear::new(4, 4)).then(Linear::new(4, 2));
    /// let mapping = QConfigMapping::global(QConfig::recommended()).set_module_name("1", None);
    /// let mut observed = Architecture::trace(&net)?.init(0).prepare(&mapping)?;
    /// observed.forward(&Tensor::new([1, 4], vec![-1.0, 0.0, 0.5, 1.0])?)?;
    /// assert_eq!(observed.convert()?.float_layers(), observed.float_layers());
    /// # Ok::<(), posterize::Error>(())
    /// ```
    pub fn float_layers(&self) -> Vec<FloatLayer> {
        let graph = self.graph();
        if !self.weights().is_empty() && self.layers().is_empty() {
            return self.layers_without_int8_weights();
        }
        let is_float = |id: NodeId| self.qparams(id).is_none();
        // Conversion inserts stubs wherever float and int8 meet, so those of the network cannot be
        // distinguished any more.
        list(graph, is_float, |_, node| match node.op.int8_rule() {
            _ if self.mapping().get(&node.name, &node.op.kind()).is_none() => NO_QCONFIG,
            Int8Rule::Float { reason } => reason,
            Int8Rule::InputScale { .. }
                if node.inputs.first().is_some_and(|&input| {
                    is_float(input) && !matches!(graph.node(input).op, Op::DeQuantStub(_))
                }) =>
            {
                AFTER_FLOAT
            }
            Int8Rule::OwnScale | Int8Rule::FixedScale { .. } | Int8Rule::InputScale { .. } => {
                OUTSIDE_STUBS
            }
        })
    }
}

impl QuantizedModel {
    /// Returns the layers whose weights are not int8, of a network whose values are float.
    fn layers_without_int8_weights(&self) -> Vec<FloatLayer> {
        let has_float_weight = |id: NodeId| {
            !self.graph().node(id).op.parameters().is_empty() && self.weight(id).is_none()
        };
        list(self.graph(), has_float_weight, |_, node| match node.op {
            _ if self.mapping().get(&node.name, &node.op.kind()).is_none() => NO_QCONFIG,
            Op::Conv2d(_) => ONLY_LINEAR,
            _ => NO_INT8_WEIGHT,
        })
    }
}

/// Lists the nodes that are computed in float, without inputs and dequantization, which always are, and
/// dynamically quantized layers, which compute in int8.
fn list(
    graph: &Graph,
    is_float: impl Fn(NodeId) -> bool,
    reason: impl Fn(NodeId, &Node) -> &'static str,
) -> Vec<FloatLayer> {
    graph
        .iter()
        .filter(|(id, node)| {
            let listed = !matches!(
                node.op,
                Op::Input(_) | Op::DeQuantStub(_) | Op::DynamicQuantizedLinear(_)
            );
            listed && is_float(*id)
        })
        .map(|(id, node)| FloatLayer {
            name: node.name.clone(),
            kind: node.op.kind(),
            reason: reason(id, node),
        })
        .collect()
}
