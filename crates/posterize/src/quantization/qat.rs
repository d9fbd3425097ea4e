//! Quantization-aware training: a float model with fake quantization where int8 will be.
//!
//! `torch.ao.quantization.prepare_qat`, with the choices of [`prepare`](super::prepare): what becomes
//! int8, which values share a scale, where quantized computation begins and ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fake_quantize::FakeQuantize;
use super::fuse::Blocks;
use super::prepare::{Domain, FloatLayer, ObservedModel, Preparation, float_layers, observed_leaf};
use super::qconfig::QConfigMapping;
use super::quantized_model::QuantizedModel;
use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleTree, Node, NodeId, float_leaf};
use crate::model::FloatModel;
use crate::ops::{Leaf, Op, Role};

/// A float model whose weights and activations are rounded in training to what int8 can hold.
///
/// Its graph is not fused: convolutions and batch norms train as
/// `torch.ao.nn.intrinsic.qat.ConvBnReLU2d` does, with the batch norm folded into the weights before
/// they are rounded. Build it with [`FloatModel::prepare_qat`], train it with
/// [`training::Network`](crate::training::Network), and [`convert`](Self::convert) it whenever you
/// want to know how accurate it is in int8.
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
/// // Nothing was observed yet.
/// assert!(qat.convert().unwrap_err().to_string().contains("saw no data"));
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

/// The fake quantization of a [`QatModel`], to save and go on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QatState {
    /// Those of activations, by the layer whose output they round.
    pub activations: BTreeMap<String, FakeQuantize>,
    /// Those of weights, by layer.
    pub weights: BTreeMap<String, FakeQuantize>,
    /// Whether batch norms use their running estimates in training.
    pub bn_stats_frozen: bool,
}

impl FloatModel {
    /// Inserts fake quantization as `mapping` says. The model should not be fused: a batch norm that
    /// was folded into its convolution can no longer be trained.
    ///
    /// # Errors
    /// As [`FloatModel::prepare`].
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
    /// The float model that is trained.
    pub fn model(&self) -> &FloatModel {
        &self.model
    }

    /// The mapping it was prepared with.
    pub fn mapping(&self) -> &QConfigMapping {
        &self.mapping
    }

    /// The fake quantization of activations, by the name of the layer whose output it rounds.
    pub fn activations(&self) -> impl Iterator<Item = (&str, &FakeQuantize)> {
        self.named(&self.activations)
    }

    /// The fake quantization of weights, by the name of the layer.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &FakeQuantize)> {
        self.named(&self.weights)
    }

    fn named<'a>(
        &'a self,
        all: &'a BTreeMap<NodeId, FakeQuantize>,
    ) -> impl Iterator<Item = (&'a str, &'a FakeQuantize)> {
        all.iter().map(|(id, found)| (self.blocks.fused.node(*id).name.as_str(), found))
    }

    /// The names of what observed no data: layers for their outputs, and with `.weight` for their
    /// weights.
    pub fn without_data(&self) -> Vec<String> {
        let idle = |fake_quantize: &FakeQuantize| !fake_quantize.observer().has_data();
        let activations = self.activations().filter(|(_, found)| idle(found));
        let weights = self.weights().filter(|(_, found)| idle(found));
        activations
            .map(|(name, _)| name.to_owned())
            .chain(weights.map(|(name, _)| format!("{name}.weight")))
            .collect()
    }

    /// The layers that stay in float, and why.
    pub fn float_layers(&self) -> Vec<FloatLayer> {
        float_layers(&self.blocks.fused, &self.preparation.domains, &self.preparation.qconfigs)
    }

    /// Switches all observers on: scales follow what they see.
    pub fn enable_observer(&mut self) {
        self.each(&mut |found| found.enable_observer(true));
    }

    /// Switches all observers off: scales stay as they are.
    pub fn disable_observer(&mut self) {
        self.each(&mut FakeQuantize::disable_observer);
    }

    /// Switches all rounding on.
    pub fn enable_fake_quant(&mut self) {
        self.each(&mut |found| found.enable_fake_quant(true));
    }

    /// Switches all rounding off: the model then trains in float.
    pub fn disable_fake_quant(&mut self) {
        self.each(&mut FakeQuantize::disable_fake_quant);
    }

    /// Batch norms normalize by their running estimates in training, which then stay as they are.
    pub fn freeze_bn_stats(&mut self) {
        self.bn_stats_frozen = true;
    }

    /// Batch norms normalize by the batch, and their running estimates follow.
    pub fn update_bn_stats(&mut self) {
        self.bn_stats_frozen = false;
    }

    /// Whether batch norms normalize by their running estimates in training.
    pub fn bn_stats_frozen(&self) -> bool {
        self.bn_stats_frozen
    }

    /// Whether any rounding is on.
    pub(crate) fn fake_quant_enabled(&self) -> bool {
        self.activations.values().chain(self.weights.values()).any(FakeQuantize::fake_quant_enabled)
    }

    fn each(&mut self, switch: &mut dyn FnMut(&mut FakeQuantize)) {
        self.activations.values_mut().chain(self.weights.values_mut()).for_each(switch);
    }

    /// The fake quantization, to save.
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

    /// Takes over what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// The state is of another model, or of another qconfig; this one is then as it was.
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
                    format!("the saved state has {scales} scales for {outputs} channels"),
                ));
            }
        }
        (self.activations, self.weights) = (activations, weights);
        self.bn_stats_frozen = bn_stats_frozen;
        Ok(())
    }

    /// Converts to int8 as training left it: the scales are those that it rounded with.
    ///
    /// # Errors
    /// What saw no data, all of it by name; a weight that holds NaN or infinite values.
    pub fn convert(&self) -> Result<QuantizedModel> {
        let idle = self.without_data();
        if !idle.is_empty() {
            return Err(Error::NotCalibrated {
                observers: idle,
                total: self.activations.len() + self.weights.len(),
                remedy: "train the model, or run pictures through it with its observers on, before \
                         converting it",
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

    /// The module tree with its fake quantization, of the whole network or below a dotted path.
    ///
    /// # Errors
    /// There is no such module.
    pub fn module(&self, path: &str) -> Result<ModuleTree> {
        ModuleTree::new(&self.blocks.fused, path, &|id, node| self.leaf(id, node))
    }

    fn leaf(&self, id: NodeId, node: &Node) -> Option<Leaf> {
        let activation = self.activations.get(&id).map(leaf_of);
        let leaf = match (self.layer_leaf(id), activation) {
            (Some(leaf), Some(activation)) => observed_leaf(leaf, activation),
            (Some(leaf), None) => leaf,
            // Functions show only where there is something to see.
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

    /// A layer as PyTorch's `torch.ao.nn.qat` and `torch.ao.nn.intrinsic.qat` print theirs.
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

/// The saved fake quantization of the same layers, built from the same specs.
fn matched(
    graph: &Graph,
    current: &BTreeMap<NodeId, FakeQuantize>,
    mut saved: BTreeMap<String, FakeQuantize>,
) -> Result<BTreeMap<NodeId, FakeQuantize>> {
    let mut found = BTreeMap::new();
    for (id, fake_quantize) in current {
        let name = &graph.node(*id).name;
        let saved = saved.remove(name).ok_or_else(|| {
            Error::layer(name, "the saved state has no fake quantization for it: another qconfig?")
        })?;
        if saved.observer().spec() != fake_quantize.observer().spec() {
            return Err(Error::layer(name, "the saved state observes in another way"));
        }
        found.insert(*id, saved);
    }
    match saved.into_keys().next() {
        Some(name) => Err(Error::layer(name, "the saved state quantizes it; this model does not")),
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

    /// The same with other values of the parameters.
    pub(crate) fn with_model(&self, model: FloatModel) -> Self {
        Self { model, ..self.clone() }
    }
}
