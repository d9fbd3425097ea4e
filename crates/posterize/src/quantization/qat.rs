//! Quantization-aware training; `torch.ao.quantization.prepare_qat`.
//!
//! The same layers are quantized, with the same scales in common, as in post-training quantization
//! ([`prepare`](super::prepare)).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::domain::Domain;
use super::fake_quantize::FakeQuantize;
use super::float_layer::{FloatLayer, float_layers};
use super::fuse::Blocks;
use super::observer::Observer;
use super::prepare::{ObservedModel, Preparation, observed_leaf};
use super::qconfig::QConfigMapping;
use super::quantized_model::QuantizedModel;
use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleTree, Node, NodeId, float_leaf};
use crate::model::FloatModel;
use crate::ops::{Leaf, Op, Role};

/// A float model with fake quantization of weights and activations, for quantization-aware training.
///
/// [`FloatModel::prepare_qat`] creates it, [`training::Network`](crate::training::Network) trains it,
/// and [`convert`](Self::convert) converts it to int8 at any time. Its graph is not fused:
/// convolutions with batch norms are trained as `torch.ao.nn.intrinsic.qat.ConvBnReLU2d`, with the
/// batch norm folded into the weight before its fake quantization.
///
/// ```
/// use posterize::Architecture;
/// use posterize::ops::{Activation, BatchNorm, Conv2d};
/// use posterize::nn::Sequential;
/// use posterize::quantization::{QConfig, QConfigMapping};
///
/// let net = Sequential::new()
///     .then(Conv2d::new(3, 8, 3).bias(false))
///     .then(BatchNorm::two_d(8))
///     .then(Activation::ReLU6);
/// let model = Architecture::trace(&net)?.init(0);
/// let qat = model.prepare_qat(&QConfigMapping::global(QConfig::recommended_qat()))?;
/// assert!(qat.module("0")?.to_string().starts_with("ConvBnReLU6_2d("));
/// assert_eq!(qat.without_data(), ["input", "0", "0.weight"]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct QatModel {
    model: FloatModel,
    blocks: Blocks,
    mapping: QConfigMapping,
    preparation: Preparation,
    activations: BTreeMap<NodeId, FakeQuantize>,
    weights: BTreeMap<NodeId, FakeQuantize>,
    bn_stats_frozen: bool,
}

/// The state of the fake quantization of a [`QatModel`], to save and restore.
///
/// ```
/// use posterize::Architecture;
/// use posterize::ops::Linear;
/// use posterize::quantization::{QConfig, QConfigMapping};
///
/// let model = Architecture::trace(&Linear::new(4, 2))?.init(0);
/// let mut qat = model.prepare_qat(&QConfigMapping::global(QConfig::recommended_qat()))?;
/// let saved = qat.state();
/// qat.freeze_bn_stats();
/// qat.load_state(saved)?;
/// assert!(!qat.bn_stats_frozen());
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QatState {
    /// The fake quantization of each layer's output.
    pub activations: BTreeMap<String, FakeQuantize>,
    /// The fake quantization of each layer's weight.
    pub weights: BTreeMap<String, FakeQuantize>,
    /// Whether batch norms normalize with their running estimates in training.
    pub bn_stats_frozen: bool,
}

impl FloatModel {
    /// Inserts fake quantization, as `mapping` says; `torch.ao.quantization.prepare_qat`.
    ///
    /// Do not [fuse](Self::fuse) the model before, since batch norms that are folded into weights
    /// cannot be trained.
    ///
    /// # Errors
    /// Returns the errors of [`FloatModel::prepare`].
    pub fn prepare_qat(&self, mapping: &QConfigMapping) -> Result<QatModel> {
        let blocks = Blocks::of(self)?;
        let preparation = Preparation::new(&blocks.fused, mapping)?;
        let activations = preparation
            .observed
            .iter()
            .map(|(id, spec)| Ok((*id, FakeQuantize::new(spec)?)))
            .collect::<Result<_>>()?;
        let mut weights = BTreeMap::new();
        for (id, node) in blocks.fused.iter() {
            if let (false, Domain::Int8(_), Some(qconfig)) = (
                node.op.parameters().is_empty(),
                preparation.domains[id.0],
                &preparation.qconfigs[id.0],
            ) {
                weights.insert(id, FakeQuantize::new(&qconfig.weight)?);
            }
        }
        Ok(QatModel {
            model: self.clone(),
            blocks,
            mapping: mapping.clone(),
            preparation,
            activations,
            weights,
            bn_stats_frozen: false,
        })
    }
}

impl QatModel {
    /// Returns the float model.
    pub fn model(&self) -> &FloatModel {
        &self.model
    }

    /// Returns the qconfig mapping that it was prepared with.
    pub fn mapping(&self) -> &QConfigMapping {
        &self.mapping
    }

    /// Returns the fake quantization of activations, each with the name of the node whose output it
    /// quantizes.
    pub fn activations(&self) -> impl Iterator<Item = (&str, &FakeQuantize)> {
        self.named(&self.activations)
    }

    /// Returns the fake quantization of weights, each with the name of the layer.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &FakeQuantize)> {
        self.named(&self.weights)
    }

    fn named<'a>(
        &'a self,
        all: &'a BTreeMap<NodeId, FakeQuantize>,
    ) -> impl Iterator<Item = (&'a str, &'a FakeQuantize)> {
        all.iter().map(|(id, found)| (self.blocks.fused.node(*id).name.as_str(), found))
    }

    /// Starts with the ranges of activations that were calibrated, and disables their observers. `observed`
    /// is the same network, fused. Weights are observed as before.
    ///
    /// # Errors
    /// Returns an error if a quantized value was not calibrated.
    pub(super) fn start_with_ranges(&mut self, observed: &ObservedModel) -> Result<()> {
        let calibrated: BTreeMap<&str, &Observer> = observed.observers().collect();
        for (id, found) in &mut self.activations {
            let name = &self.blocks.fused.node(*id).name;
            let range = calibrated.get(name.as_str()).and_then(|observer| observer.chosen_range());
            let range = range.ok_or_else(|| {
                Error::layer(name, "its range was not calibrated; calibrate with the same qconfigs")
            })?;
            found.fix(range).map_err(|error| error.in_layer(name))?;
        }
        Ok(())
    }

    /// Returns the names of the observers without data: the name of a node for its output, and with
    /// `.weight` for its weight.
    pub fn without_data(&self) -> Vec<String> {
        let idle = |fake_quantize: &FakeQuantize| !fake_quantize.observer().has_data();
        let activations = self.activations().filter(|(_, found)| idle(found));
        let weights = self.weights().filter(|(_, found)| idle(found));
        activations
            .map(|(name, _)| name.to_owned())
            .chain(weights.map(|(name, _)| format!("{name}.weight")))
            .collect()
    }

    /// Returns the layers that are not quantized, and the reasons.
    pub fn float_layers(&self) -> Vec<FloatLayer> {
        float_layers(&self.blocks.fused, &self.preparation.domains, &self.preparation.qconfigs)
    }

    /// Enables all observers; `torch.ao.quantization.enable_observer`.
    pub fn enable_observer(&mut self) {
        self.each(&mut |found| found.enable_observer(true));
    }

    /// Disables all observers, so that the scales do not change;
    /// `torch.ao.quantization.disable_observer`.
    pub fn disable_observer(&mut self) {
        self.each(&mut FakeQuantize::disable_observer);
    }

    /// Enables all fake quantization; `torch.ao.quantization.enable_fake_quant`.
    pub fn enable_fake_quant(&mut self) {
        self.each(&mut |found| found.enable_fake_quant(true));
    }

    /// Disables all fake quantization, so that the model is trained in float;
    /// `torch.ao.quantization.disable_fake_quant`.
    pub fn disable_fake_quant(&mut self) {
        self.each(&mut FakeQuantize::disable_fake_quant);
    }

    /// Makes batch norms normalize with their running estimates in training, without updating them;
    /// `torch.ao.nn.intrinsic.qat.freeze_bn_stats`.
    pub fn freeze_bn_stats(&mut self) {
        self.bn_stats_frozen = true;
    }

    /// Makes batch norms normalize with the statistics of the batch in training, and update their
    /// running estimates; `torch.ao.nn.intrinsic.qat.update_bn_stats`.
    pub fn update_bn_stats(&mut self) {
        self.bn_stats_frozen = false;
    }

    /// Returns whether batch norms normalize with their running estimates in training.
    pub fn bn_stats_frozen(&self) -> bool {
        self.bn_stats_frozen
    }

    /// Returns whether any fake quantization is enabled.
    pub(crate) fn fake_quant_enabled(&self) -> bool {
        self.activations.values().chain(self.weights.values()).any(FakeQuantize::fake_quant_enabled)
    }

    fn each(&mut self, switch: &mut dyn FnMut(&mut FakeQuantize)) {
        self.activations.values_mut().chain(self.weights.values_mut()).for_each(switch);
    }

    /// Returns the state of the fake quantization, to save.
    pub fn state(&self) -> QatState {
        let owned = |all: &BTreeMap<NodeId, FakeQuantize>| {
            self.named(all).map(|(name, found)| (name.to_owned(), found.clone())).collect()
        };
        QatState {
            activations: owned(&self.activations),
            weights: owned(&self.weights),
            bn_stats_frozen: self.bn_stats_frozen,
        }
    }

    /// Restores a state saved with [`state`](Self::state).
    ///
    /// # Errors
    /// Returns an error, and changes nothing, if the state is of another model or qconfig.
    pub fn load_state(&mut self, state: QatState) -> Result<()> {
        let QatState { activations, weights, bn_stats_frozen } = state;
        let activations = matched(&self.blocks.fused, &self.activations, activations)?;
        let weights = matched(&self.blocks.fused, &self.weights, weights)?;
        for (id, found) in &weights {
            let name = &self.blocks.fused.node(*id).name;
            let first = self.blocks.members[id.0][0];
            let weight = self.model.parameter(first, Role::Weight);
            let outputs = weight.map_or(0, |weight| weight.shape()[0]);
            let scales = found.qparams().channels().len();
            if found.qparams().axis().is_some() && scales != outputs {
                return Err(Error::layer(
                    name,
                    format!(
                        "expected a scale for each of {outputs} output channels, found {scales} in \
                         the saved state"
                    ),
                ));
            }
        }
        (self.activations, self.weights) = (activations, weights);
        self.bn_stats_frozen = bn_stats_frozen;
        Ok(())
    }

    /// Converts the model to int8 with the scales of its fake quantization;
    /// `torch.ao.quantization.convert`.
    ///
    /// # Errors
    /// Returns [`Error::NotCalibrated`], which lists every observer without data, or
    /// [`Error::Layer`] if a weight holds NaN or infinite values.
    pub fn convert(&self) -> Result<QuantizedModel> {
        let idle = self.without_data();
        if !idle.is_empty() {
            return Err(Error::NotCalibrated {
                observers: idle,
                total: self.activations.len() + self.weights.len(),
                remedy: "train the model, or run pictures through it with its observers enabled, \
                         before converting it",
            });
        }
        let observers =
            self.activations.iter().map(|(id, found)| (*id, found.observer().clone())).collect();
        let weights = self.weights.iter().map(|(id, w)| (*id, w.qparams().clone())).collect();
        ObservedModel::trained(
            self.model.fuse()?,
            self.mapping.clone(),
            self.preparation.clone(),
            observers,
            weights,
        )
        .convert()
    }

    /// Returns the module at a dotted path and all modules below it, with their fake quantization; an
    /// empty path is the whole network.
    ///
    /// # Errors
    /// Returns an error that lists the existing names if there is no module at that path.
    pub fn module(&self, path: &str) -> Result<ModuleTree> {
        ModuleTree::new(&self.blocks.fused, path, &|id, node| self.leaf(id, node))
    }

    fn leaf(&self, id: NodeId, node: &Node) -> Option<Leaf> {
        let activation = self.activations.get(&id).map(leaf_of);
        let leaf = match (self.layer_leaf(id), activation) {
            (Some(leaf), Some(activation)) => observed_leaf(leaf, activation),
            (Some(leaf), None) => leaf,
            // Function calls are printed only if they have fake quantization.
            (None, Some(activation)) => {
                let kind = match node.op {
                    Op::Input(_) => "QuantStub".to_owned(),
                    _ => node.op.kind(),
                };
                observed_leaf(Leaf::new(kind, ""), activation)
            }
            (None, None) => return None,
        };
        Some(leaf)
    }

    /// Returns a layer as printed by PyTorch's `torch.ao.nn.qat` and `torch.ao.nn.intrinsic.qat`.
    fn layer_leaf(&self, id: NodeId) -> Option<Leaf> {
        let graph = self.model.graph();
        let members = &self.blocks.members[id.0];
        let fused = self.blocks.fused.node(id);
        if fused.op.parameters().is_empty() {
            return float_leaf(fused);
        }
        let leaves: Vec<Leaf> =
            members.iter().filter_map(|&member| float_leaf(graph.node(member))).collect();
        let norm = members.iter().position(|&id| matches!(graph.node(id).op, Op::BatchNorm(_)));
        let kind = match (norm, fused.op.kind()) {
            (None, kind) => kind,
            (Some(_), kind) if kind == "Linear" => "LinearBn1d".to_owned(),
            (Some(_), kind) => kind.replacen("Conv", "ConvBn", 1).replacen("Linear", "LinearBn", 1),
        };
        let Some(weight) = self.weights.get(&id) else {
            if let [only] = leaves.as_slice() {
                return Some(only.clone());
            }
            let parts = leaves.into_iter().enumerate().map(|(i, leaf)| (i.to_string(), leaf));
            return Some(Leaf { kind, detail: String::new(), children: parts.collect() });
        };
        let mut leaf = Leaf::new(kind, graph.node(members[0]).op.python());
        leaf.children.extend(norm.map(|norm| ("bn".to_owned(), leaves[norm].clone())));
        leaf.children.push(("weight_fake_quant".to_owned(), leaf_of(weight)));
        Some(leaf)
    }
}

fn leaf_of(fake_quantize: &FakeQuantize) -> Leaf {
    let observer = fake_quantize.observer();
    let child = Leaf::new(observer.spec().kind.to_string(), observer.extra_repr());
    Leaf {
        kind: "FakeQuantize".into(),
        detail: fake_quantize.extra_repr(),
        children: vec![("activation_post_process".into(), child)],
    }
}

/// Returns the saved fake quantization by node, if it is of the same layers and observers.
fn matched(
    graph: &Graph,
    current: &BTreeMap<NodeId, FakeQuantize>,
    mut saved: BTreeMap<String, FakeQuantize>,
) -> Result<BTreeMap<NodeId, FakeQuantize>> {
    let mut found = BTreeMap::new();
    for (id, fake_quantize) in current {
        let name = &graph.node(*id).name;
        let saved = saved.remove(name).ok_or_else(|| {
            Error::layer(
                name,
                "the saved state has no fake quantization for it; prepare the model with the \
                 qconfig mapping that the state was saved with",
            )
        })?;
        let (ours, theirs) = (fake_quantize.observer().spec(), saved.observer().spec());
        if theirs != ours {
            return Err(Error::layer(
                name,
                format!(
                    "the saved state has another observer: expected {ours:?}, found {theirs:?}"
                ),
            ));
        }
        found.insert(*id, saved);
    }
    match saved.into_keys().next() {
        Some(name) => Err(Error::layer(
            name,
            "the saved state has fake quantization for it, the model has none; prepare the model \
             with the qconfig mapping that the state was saved with",
        )),
        None => Ok(found),
    }
}

impl QatModel {
    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(crate) fn domain(&self, id: NodeId) -> Domain {
        self.preparation.domains[id.0]
    }

    pub(crate) fn activation(&self, id: NodeId) -> Option<&FakeQuantize> {
        self.activations.get(&id)
    }

    pub(crate) fn activation_mut(&mut self, id: NodeId) -> Option<&mut FakeQuantize> {
        self.activations.get_mut(&id)
    }

    pub(crate) fn weight(&self, id: NodeId) -> Option<&FakeQuantize> {
        self.weights.get(&id)
    }

    pub(crate) fn weight_mut(&mut self, id: NodeId) -> Option<&mut FakeQuantize> {
        self.weights.get_mut(&id)
    }

    /// Returns the fake quantization of all activations and of all weights.
    pub(crate) fn fake_quantization(&self) -> [BTreeMap<NodeId, FakeQuantize>; 2] {
        [self.activations.clone(), self.weights.clone()]
    }

    /// Sets what [`Self::fake_quantization`] returned.
    pub(crate) fn set_fake_quantization(&mut self, saved: [BTreeMap<NodeId, FakeQuantize>; 2]) {
        [self.activations, self.weights] = saved;
    }

    /// Returns the model with other values of its parameters.
    pub(crate) fn with_model(&self, model: FloatModel) -> Self {
        Self { model, ..self.clone() }
    }
}
