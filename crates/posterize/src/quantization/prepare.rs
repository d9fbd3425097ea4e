//! The choice of the layers to quantize, and their observers; `torch.ao.quantization.prepare`.
//!
//! Unlike in PyTorch, a network needs no stubs and no `FloatFunctional`: quantize and dequantize
//! nodes are inserted where they are needed (or where the network has stubs), the outputs of
//! functions such as additions are observed like those of layers, and layers without an int8 kernel
//! stay in float.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use posterize_kernels::Pool;

use super::domain::{Domain, choose_domains};
use super::float_layer::{FloatLayer, float_layers};
use super::observer::{Observer, ObserverSpec, Range};
use super::qconfig::{QConfig, QConfigMapping};
use super::qparams::{QParams, QuantizationParams};
use super::quantized_model::QuantizedModel;
use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleTree, Node, NodeId, float_leaf};
use crate::model::FloatModel;
use crate::ops::{Int8Rule, Leaf, Op};

/// A float model with observers, to be calibrated and converted to int8.
///
/// [`FloatModel::prepare`] creates it.
///
/// ```
/// use posterize::ops::Linear;
/// use posterize::quantization::{QConfig, QConfigMapping};
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Linear::new(4, 2))?.init(0);
/// let mut observed = model.prepare(&QConfigMapping::global(QConfig::recommended()))?;
/// assert_eq!(observed.without_data().len(), 2); // the input and the output
///
/// observed.forward(&Tensor::new([1, 4], vec![-1.0, 0.0, 0.5, 1.0])?)?;
/// assert!(observed.without_data().is_empty());
/// let quantized = observed.convert()?;
/// assert_eq!(quantized.layers().len(), 1);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct ObservedModel {
    model: FloatModel,
    mapping: QConfigMapping,
    domains: Vec<Domain>,
    qconfigs: Vec<Option<QConfig>>,
    observers: BTreeMap<NodeId, Arc<Watched>>,
    /// Observers of the values that are observed only if other layers stay in float.
    spare: Vec<(NodeId, Arc<Watched>)>,
    /// The scales of weights that were trained with fake quantization. Other weights are observed by
    /// [`ObservedModel::convert`].
    weights: BTreeMap<NodeId, QuantizationParams>,
}

/// An observer, which models with the same values share, and the scale that was chosen from them.
#[derive(Clone, Debug)]
struct Watched {
    observer: Observer,
    qparams: OnceLock<Option<QuantizationParams>>,
}

impl Watched {
    fn new(observer: Observer) -> Arc<Self> {
        Arc::new(Self { observer, qparams: OnceLock::new() })
    }

    /// Creates one with a given scale; without data if there is none.
    fn with_qparams(spec: ObserverSpec, qparams: Option<QParams>) -> Result<Arc<Self>> {
        let Some(qparams) = qparams else { return Ok(Self::new(spec.build()?)) };
        let (quant_min, quant_max) = spec.target()?.quant_range();
        let range =
            Range { min: qparams.dequantize(quant_min), max: qparams.dequantize(quant_max) };
        let observer = Observer::fixed(spec, range, range)?;
        let known = OnceLock::from(Some(QuantizationParams::PerTensor(qparams)));
        Ok(Arc::new(Self { observer, qparams: known }))
    }

    /// Returns the observer in order to change it.
    fn changed(self: &mut Arc<Self>) -> &mut Observer {
        let this = Arc::make_mut(self);
        this.qparams = OnceLock::new();
        &mut this.observer
    }
}

impl FloatModel {
    /// Inserts observers for post-training quantization, as `mapping` says;
    /// `torch.ao.quantization.prepare`.
    ///
    /// [Fuse](Self::fuse) the model before: a batch norm alone stays in float.
    ///
    /// # Errors
    /// Returns an error if a qconfig has no int8 kernel (asymmetric weights, signed activations), or
    /// if a module name or glob of the mapping matches no layer.
    pub fn prepare(&self, mapping: &QConfigMapping) -> Result<ObservedModel> {
        let Preparation { domains, qconfigs, observed } = Preparation::new(self.graph(), mapping)?;
        let observers = observed
            .iter()
            .map(|(id, spec)| Ok((*id, Watched::new(spec.build()?))))
            .collect::<Result<BTreeMap<_, _>>>()?;
        Ok(ObservedModel {
            model: self.clone(),
            mapping: mapping.clone(),
            domains,
            qconfigs,
            observers,
            spare: Vec::new(),
            weights: BTreeMap::new(),
        })
    }
}

/// The nodes that are quantized and the values that are observed for them.
#[derive(Clone, Debug)]
pub(super) struct Preparation {
    /// For each node, whether it is computed in float or int8.
    pub(super) domains: Vec<Domain>,
    /// For each node, its qconfig.
    pub(super) qconfigs: Vec<Option<QConfig>>,
    /// The nodes whose outputs are observed, and the observers to build.
    pub(super) observed: BTreeMap<NodeId, ObserverSpec>,
}

impl Preparation {
    /// Chooses the nodes of a fused graph that are quantized.
    ///
    /// # Errors
    /// Returns the errors of [`FloatModel::prepare`].
    pub(super) fn new(graph: &Graph, mapping: &QConfigMapping) -> Result<Self> {
        mapping.check_names(graph)?;
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
        let domains = choose_domains(graph, &qconfigs, mapping.float_outputs());
        let mut observed = BTreeMap::new();
        for (id, node) in graph.iter() {
            let Domain::Int8(source) = domains[id.0] else { continue };
            let qconfig = qconfigs[id.0].as_ref().expect("int8 nodes have a qconfig");
            if source == id && node.op.int8_rule() == Int8Rule::OwnScale {
                observed.insert(id, qconfig.activation.clone());
            }
            if !matches!(node.op, Op::QuantStub(_)) {
                // A float value that an int8 node reads is quantized with its own scale.
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
    } else {
        qconfig.check_weight().err()
    };
    match problem {
        Some(problem) => {
            Err(Error::layer(&node.name, format!("no int8 kernel supports its qconfig: {problem}")))
        }
        None => Ok(()),
    }
}

impl ObservedModel {
    /// Creates a model from observers with the data of training and the scales of weights.
    #[cfg(feature = "training")]
    pub(super) fn trained(
        model: FloatModel,
        mapping: QConfigMapping,
        preparation: Preparation,
        observers: BTreeMap<NodeId, Observer>,
        weights: BTreeMap<NodeId, QuantizationParams>,
    ) -> Self {
        let Preparation { domains, qconfigs, .. } = preparation;
        let observers =
            observers.into_iter().map(|(id, observer)| (id, Watched::new(observer))).collect();
        Self { model, mapping, domains, qconfigs, observers, spare: Vec::new(), weights }
    }

    /// Replaces the observers by ones with given ranges. `range` returns the range of all values and the
    /// chosen one, of the output of a node.
    pub(super) fn with_ranges(
        mut self,
        mut range: impl FnMut(NodeId, &ObserverSpec) -> Result<[Range; 2]>,
    ) -> Result<Self> {
        for (&id, watched) in &mut self.observers {
            let spec = watched.observer.spec().clone();
            let [observed, chosen] = range(id, &spec)?;
            *watched = Watched::new(Observer::fixed(spec, observed, chosen)?);
        }
        Ok(self)
    }

    /// Creates a model whose values have the scales that they have in a converted model, instead of observers.
    /// `model` is the fused float model that was converted.
    pub(super) fn of_quantized(model: FloatModel, int8: &QuantizedModel) -> Result<Self> {
        let mapping = int8.mapping().clone();
        let Preparation { domains, qconfigs, observed } =
            Preparation::new(model.graph(), &mapping)?;
        let mut prepared = Self {
            model,
            mapping,
            domains,
            qconfigs,
            observers: BTreeMap::new(),
            spare: Vec::new(),
            weights: BTreeMap::new(),
        };
        for (id, spec) in observed {
            let name = &prepared.model.graph().node(id).name;
            let watched = Watched::with_qparams(spec, int8.qparams_of(name))?;
            prepared.observers.insert(id, watched);
        }
        let graph = prepared.model.graph().clone();
        prepared.with_spares(|input, spec| {
            Watched::with_qparams(spec, int8.qparams_of(&graph.node(input).name))
        })
    }

    /// Adds observers of the values that are observed if any layers stay in float, for
    /// [`Self::with_mapping`].
    pub(super) fn with_spare_observers(self) -> Result<Self> {
        self.with_spares(|_, spec| Ok(Watched::new(spec.build()?)))
    }

    /// Adds what `spare` returns for the values that are observed if any layers stay in float.
    fn with_spares(
        mut self,
        spare: impl Fn(NodeId, ObserverSpec) -> Result<Arc<Watched>>,
    ) -> Result<Self> {
        let graph = self.model.graph();
        for ((_, node), qconfig) in graph.iter().zip(&self.qconfigs) {
            let Some(qconfig) = qconfig else { continue };
            if matches!(node.op.int8_rule(), Int8Rule::Float { .. })
                || matches!(node.op, Op::QuantStub(_))
            {
                continue;
            }
            for &input in &node.inputs {
                let same = |known: &Arc<Watched>| *known.observer.spec() == qconfig.activation;
                if !watched(&self.observers, &self.spare, input).any(same) {
                    self.spare.push((input, spare(input, qconfig.activation.clone())?));
                }
            }
        }
        Ok(self)
    }

    /// Returns the calibrated model with another mapping, with the data of the observers.
    ///
    /// The float model's values do not depend on the mapping, so no picture has to be run again if the
    /// mapping only keeps more layers in float and the model has [`Self::with_spare_observers`].
    ///
    /// # Errors
    /// Returns the errors of [`FloatModel::prepare`].
    pub(super) fn with_mapping(&self, mapping: &QConfigMapping) -> Result<Self> {
        let Preparation { domains, qconfigs, observed } =
            Preparation::new(self.model.graph(), mapping)?;
        let observers = observed.into_iter().map(|(id, spec)| {
            let mut known = watched(&self.observers, &self.spare, id);
            match known.find(|watched| *watched.observer.spec() == spec) {
                Some(known) => Ok((id, Arc::clone(known))),
                // Conversion says that it has no data.
                None => Ok((id, Watched::new(spec.build()?))),
            }
        });
        Ok(Self {
            model: self.model.clone(),
            mapping: mapping.clone(),
            domains,
            qconfigs,
            observers: observers.collect::<Result<_>>()?,
            spare: self.spare.clone(),
            weights: self.weights.clone(),
        })
    }

    /// Returns whether the output of a node is observed.
    pub(super) fn is_observed(&self, id: NodeId) -> bool {
        self.observers.contains_key(&id)
    }

    /// Passes the output of a node to its observers, if it has any.
    pub(crate) fn observe(&mut self, pool: &Pool, id: NodeId, values: &[f32]) -> Result<()> {
        let spare = self.spare.iter_mut().filter(|(of, _)| *of == id).map(|(_, watched)| watched);
        for watched in self.observers.get_mut(&id).into_iter().chain(spare) {
            watched
                .changed()
                .observe_on(pool, values, &[values.len()])
                .map_err(|error| error.in_layer(self.model.graph().node(id).name.clone()))?;
        }
        Ok(())
    }

    /// Returns the float model.
    pub fn model(&self) -> &FloatModel {
        &self.model
    }

    /// Returns the qconfig mapping that it was prepared with.
    pub fn mapping(&self) -> &QConfigMapping {
        &self.mapping
    }

    /// Returns the observers, each with the name of the node whose output it observes.
    pub fn observers(&self) -> impl Iterator<Item = (&str, &Observer)> {
        let name = |id: &NodeId| self.model.graph().node(*id).name.as_str();
        self.observers.iter().map(move |(id, watched)| (name(id), &watched.observer))
    }

    /// Returns the observers that have data and one scale, each with the name of the node whose output it
    /// observes, the range of all values, and the scale and zero point.
    pub fn ranges(&self) -> impl Iterator<Item = (&str, Range, QParams)> {
        self.observers.iter().filter_map(|(&id, watched)| {
            let range = watched.observer.range()?;
            let qparams = self.qparams(id)?.per_tensor()?;
            Some((self.model.graph().node(id).name.as_str(), range, qparams))
        })
    }

    /// Calculates the scales of all observers on the threads of a pool, instead of one after the other when
    /// each is needed.
    pub(crate) fn calculate_scales(&self, pool: &Pool) {
        let ids: Vec<NodeId> = self.observers.keys().copied().collect();
        pool.map(ids.len(), &|index| self.qparams(ids[index]).is_some());
    }

    /// Returns the names of the nodes whose observers have no data.
    pub fn without_data(&self) -> Vec<&str> {
        self.observers()
            .filter(|(_, observer)| !observer.has_data())
            .map(|(name, _)| name)
            .collect()
    }

    /// Returns the layers that are not quantized, and the reasons.
    pub fn float_layers(&self) -> Vec<FloatLayer> {
        float_layers(self.model.graph(), &self.domains, &self.qconfigs)
    }

    pub(crate) fn domain(&self, id: NodeId) -> Domain {
        self.domains[id.0]
    }

    pub(crate) fn qconfig(&self, id: NodeId) -> Option<&QConfig> {
        self.qconfigs[id.0].as_ref()
    }

    /// Returns the scale and zero point of a value from the data of its observer; `None` if there are none.
    pub(crate) fn qparams(&self, id: NodeId) -> Option<&QuantizationParams> {
        let Watched { observer, qparams } = &**self.observers.get(&id)?;
        qparams.get_or_init(|| observer.calculate_qparams()).as_ref()
    }

    /// Returns the scales of a layer's weight if it was trained with fake quantization.
    pub(super) fn weight_qparams(&self, id: NodeId) -> Option<&QuantizationParams> {
        self.weights.get(&id)
    }

    /// Returns the module at a dotted path and all modules below it, with their observers; an empty
    /// path is the whole network.
    ///
    /// # Errors
    /// Returns an error that lists the existing names if there is no module at that path.
    pub fn module(&self, path: &str) -> Result<ModuleTree> {
        ModuleTree::new(self.model.graph(), path, &|id, node| {
            let observer =
                self.observers.get(&id).map(|watched| &watched.observer).map(|observer| {
                    Leaf::new(observer.spec().kind.to_string(), observer.extra_repr())
                });
            match (float_leaf(node), observer) {
                (Some(leaf), Some(observer)) => Some(observed_leaf(leaf, observer)),
                (Some(leaf), None) => Some(leaf),
                // Function calls are printed only if they have an observer.
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

/// Returns the observers of a node's output.
fn watched<'a>(
    observers: &'a BTreeMap<NodeId, Arc<Watched>>,
    spare: &'a [(NodeId, Arc<Watched>)],
    id: NodeId,
) -> impl Iterator<Item = &'a Arc<Watched>> {
    let spare = spare.iter().filter(move |(of, _)| *of == id).map(|(_, watched)| watched);
    observers.get(&id).into_iter().chain(spare)
}

pub(super) fn observed_leaf(mut leaf: Leaf, observer: Leaf) -> Leaf {
    leaf.children.retain(|(name, _)| name != "activation_post_process");
    leaf.children.push(("activation_post_process".into(), observer));
    leaf
}
