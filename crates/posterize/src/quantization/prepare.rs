//! Prepare: which layers become int8, and an observer for every value that needs a scale.
//!
//! `torch.ao.quantization.prepare`, without its traps: where quantized computation begins and ends
//! is found from the graph (or from stubs the author placed), an addition is observed like any
//! layer, and a layer without an int8 form stays in float.

use std::collections::BTreeMap;

use posterize_kernels::Pool;

use super::observer::{Observer, ObserverSpec};
use super::qconfig::{QConfig, QConfigMapping};
use super::qparams::QuantizationParams;
use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleTree, Node, NodeId, float_leaf};
use crate::model::FloatModel;
use crate::ops::{Int8Rule, Leaf, Op};

/// Where a node's output gets its scale from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    /// The node computes in float.
    Float,
    /// The node computes in int8; the observer of this node gives its output's scale. Pooling, ReLU
    /// and other layers that only move values name the node whose scale they share.
    Int8(NodeId),
}

/// A float model with observers, to run calibration pictures through.
#[derive(Debug)]
pub struct ObservedModel {
    model: FloatModel,
    mapping: QConfigMapping,
    domains: Vec<Domain>,
    qconfigs: Vec<Option<QConfig>>,
    observers: BTreeMap<NodeId, Observer>,
    /// The scales of weights that were found in training; other weights are observed when they are
    /// converted.
    weights: BTreeMap<NodeId, QuantizationParams>,
}

/// Why a layer stays in float.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloatLayer {
    /// The layer's dotted path.
    pub name: String,
    /// Its type: `BatchNorm2d`.
    pub kind: String,
    /// The reason, as a sentence without a full stop.
    pub reason: &'static str,
}

impl FloatModel {
    /// Inserts observers as `mapping` says.
    ///
    /// # Errors
    /// A qconfig that no kernel can serve (asymmetric weights, signed activations), or a module name
    /// or glob of the mapping that matches no layer.
    pub fn prepare(&self, mapping: &QConfigMapping) -> Result<ObservedModel> {
        let Preparation { domains, qconfigs, observed } = Preparation::new(self.graph(), mapping)?;
        let observers = observed
            .iter()
            .map(|(id, spec)| Ok((*id, spec.build()?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        Ok(ObservedModel {
            model: self.clone(),
            mapping: mapping.clone(),
            domains,
            qconfigs,
            observers,
            weights: BTreeMap::new(),
        })
    }
}

/// What becomes int8, and which values are observed for it.
#[derive(Clone, Debug)]
pub(super) struct Preparation {
    /// For every node, where its output gets its scale from.
    pub(super) domains: Vec<Domain>,
    /// For every node, its qconfig.
    pub(super) qconfigs: Vec<Option<QConfig>>,
    /// The nodes whose outputs are observed, and how.
    pub(super) observed: BTreeMap<NodeId, ObserverSpec>,
}

impl Preparation {
    /// Chooses for a fused graph.
    ///
    /// # Errors
    /// As [`FloatModel::prepare`].
    pub(super) fn new(graph: &Graph, mapping: &QConfigMapping) -> Result<Self> {
        let names = graph.modules().iter().map(|module| module.path.as_str());
        let unmatched =
            mapping.unmatched(names.chain(graph.nodes().iter().map(|n| n.name.as_str())));
        if !unmatched.is_empty() {
            return Err(Error::Argument(format!(
                "the qconfig mapping names what the model does not have: {}",
                unmatched.join(", ")
            )));
        }
        let qconfigs: Vec<Option<QConfig>> = graph
            .nodes()
            .iter()
            .map(|node| mapping.get(&node.name, &node.op.kind()).cloned())
            .collect();
        for (node, qconfig) in graph.nodes().iter().zip(&qconfigs) {
            if let Some(qconfig) = qconfig {
                check_qconfig(node, qconfig)?;
            }
        }
        let domains = choose_domains(graph, &qconfigs);
        let mut observed = BTreeMap::new();
        for (id, node) in graph.iter() {
            let Domain::Int8(source) = domains[id.0] else { continue };
            let qconfig = qconfigs[id.0].as_ref().expect("int8 nodes have a qconfig");
            if source == id && node.op.int8_rule() == Int8Rule::OwnScale {
                observed.insert(id, qconfig.activation.clone());
            }
            if !matches!(node.op, Op::QuantStub(_)) {
                // A float value on its way into int8 needs a scale of its own.
                for &input in &node.inputs {
                    if domains[input.0] == Domain::Float {
                        observed.entry(input).or_insert_with(|| qconfig.activation.clone());
                    }
                }
            }
        }
        Ok(Self { domains, qconfigs, observed })
    }
}

fn check_qconfig(node: &Node, qconfig: &QConfig) -> Result<()> {
    use super::qparams::Dtype;
    qconfig.validate()?;
    let problem = if qconfig.activation.dtype != Dtype::Quint8 {
        Some("activations must be quint8")
    } else if qconfig.activation.qscheme.is_per_channel() {
        Some("activations must be quantized per tensor")
    } else if qconfig.weight.dtype != Dtype::Qint8 || !qconfig.weight.qscheme.is_symmetric() {
        Some("weights must be symmetric qint8")
    } else {
        None
    };
    match problem {
        Some(problem) => {
            Err(Error::layer(&node.name, format!("its qconfig has no int8 kernel: {problem}")))
        }
        None => Ok(()),
    }
}

/// Where quantized computation is wanted: everywhere, or where the author's stubs say.
fn quantized_region(graph: &Graph) -> Vec<bool> {
    let stubs =
        graph.nodes().iter().any(|node| matches!(node.op, Op::QuantStub(_) | Op::DeQuantStub(_)));
    let mut region = vec![!stubs; graph.nodes().len()];
    if stubs {
        for (id, node) in graph.iter() {
            region[id.0] = match node.op {
                Op::QuantStub(_) => true,
                Op::DeQuantStub(_) => false,
                _ => node.inputs.iter().any(|input| region[input.0]),
            };
        }
    }
    region
}

fn choose_domains(graph: &Graph, qconfigs: &[Option<QConfig>]) -> Vec<Domain> {
    let region = quantized_region(graph);
    let mut domains: Vec<Domain> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.iter() {
        let wanted = region[id.0] && qconfigs[id.0].is_some();
        domains.push(match node.op.int8_rule() {
            Int8Rule::OwnScale | Int8Rule::FixedScale { .. } if wanted => Domain::Int8(id),
            Int8Rule::InputScale { .. } if wanted => domains[node.inputs[0].0],
            Int8Rule::OwnScale
            | Int8Rule::FixedScale { .. }
            | Int8Rule::InputScale { .. }
            | Int8Rule::Float { .. } => Domain::Float,
        });
    }
    domains
}

/// The layers of a fused graph that stay in float, and why.
pub(super) fn float_layers(
    graph: &Graph,
    domains: &[Domain],
    qconfigs: &[Option<QConfig>],
) -> Vec<FloatLayer> {
    let region = quantized_region(graph);
    graph
        .iter()
        .filter(|(id, node)| {
            domains[id.0] == Domain::Float && !matches!(node.op, Op::Input(_) | Op::DeQuantStub(_))
        })
        .map(|(id, node)| FloatLayer {
            name: node.name.clone(),
            kind: node.op.kind(),
            reason: if !region[id.0] {
                "it lies outside the region between QuantStub and DeQuantStub"
            } else if qconfigs[id.0].is_none() {
                "its qconfig is none"
            } else if let Int8Rule::Float { reason } = node.op.int8_rule() {
                reason
            } else {
                "the layer before it is in float"
            },
        })
        .collect()
}

impl ObservedModel {
    /// A model whose observers have seen their data in training: `weights` are the scales of its
    /// weights.
    #[cfg(feature = "training")]
    pub(super) fn trained(
        model: FloatModel,
        mapping: QConfigMapping,
        preparation: Preparation,
        observers: BTreeMap<NodeId, Observer>,
        weights: BTreeMap<NodeId, QuantizationParams>,
    ) -> Self {
        let Preparation { domains, qconfigs, .. } = preparation;
        Self { model, mapping, domains, qconfigs, observers, weights }
    }

    /// Shows a node's output to its observer, if it has one.
    pub(crate) fn observe(&mut self, pool: &Pool, id: NodeId, values: &[f32]) -> Result<()> {
        match self.observers.get_mut(&id) {
            Some(observer) => observer
                .observe_on(pool, values, &[values.len()])
                .map_err(|error| error.in_layer(self.model.graph().node(id).name.clone())),
            None => Ok(()),
        }
    }

    /// The float model that is observed.
    pub fn model(&self) -> &FloatModel {
        &self.model
    }

    /// The mapping it was prepared with.
    pub fn mapping(&self) -> &QConfigMapping {
        &self.mapping
    }

    /// The observers, by the name of the node whose output they see.
    pub fn observers(&self) -> impl Iterator<Item = (&str, &Observer)> {
        self.observers
            .iter()
            .map(|(id, observer)| (self.model.graph().node(*id).name.as_str(), observer))
    }

    /// The names of the nodes whose observers saw no data.
    pub fn without_data(&self) -> Vec<&str> {
        self.observers()
            .filter(|(_, observer)| !observer.has_data())
            .map(|(name, _)| name)
            .collect()
    }

    /// The layers that stay in float, and why.
    pub fn float_layers(&self) -> Vec<FloatLayer> {
        float_layers(self.model.graph(), &self.domains, &self.qconfigs)
    }

    pub(crate) fn domain(&self, id: NodeId) -> Domain {
        self.domains[id.0]
    }

    pub(crate) fn qconfig(&self, id: NodeId) -> Option<&QConfig> {
        self.qconfigs[id.0].as_ref()
    }

    pub(crate) fn observer(&self, id: NodeId) -> Option<&Observer> {
        self.observers.get(&id)
    }

    /// The scales of a layer's weight, where they are known before it is converted.
    pub(super) fn weight_qparams(&self, id: NodeId) -> Option<&QuantizationParams> {
        self.weights.get(&id)
    }

    /// The module tree with its observers, of the whole network or below a dotted path.
    ///
    /// # Errors
    /// There is no such module.
    pub fn module(&self, path: &str) -> Result<ModuleTree> {
        ModuleTree::new(self.model.graph(), path, &|id, node| {
            let observer = self
                .observers
                .get(&id)
                .map(|observer| Leaf::new(observer.spec().kind.to_string(), observer.extra_repr()));
            match (float_leaf(node), observer) {
                (Some(leaf), Some(observer)) => Some(observed_leaf(leaf, observer)),
                (Some(leaf), None) => Some(leaf),
                // Functions show only where there is something to see.
                (None, Some(observer)) => {
                    let kind = if matches!(node.op, Op::Input(_)) {
                        "QuantStub".to_owned()
                    } else {
                        node.op.kind()
                    };
                    Some(observed_leaf(Leaf::new(kind, ""), observer))
                }
                (None, None) => None,
            }
        })
    }
}

pub(super) fn observed_leaf(mut leaf: Leaf, observer: Leaf) -> Leaf {
    leaf.children.retain(|(name, _)| name != "activation_post_process");
    leaf.children.push(("activation_post_process".into(), observer));
    leaf
}
