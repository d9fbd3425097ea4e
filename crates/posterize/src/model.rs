//! A graph with its weights: [`Architecture`] without them, [`FloatModel`] with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checkpoint::{StateDict, StateTensor};
use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleTree, Op, float_leaf};
use crate::nn::{Module, trace};
use crate::tensor::Tensor;

/// Weights and running estimates by their full names.
pub type Parameters = BTreeMap<String, Arc<Tensor>>;

/// A network without weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    graph: Graph,
}

impl Architecture {
    /// Traces a module.
    ///
    /// # Errors
    /// A layer with hyper-parameters that it cannot have.
    pub fn trace(module: &dyn Module) -> Result<Self> {
        Ok(Self { graph: trace(module)? })
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The module tree of the whole network, or below a dotted path.
    ///
    /// # Errors
    /// There is no such module.
    pub fn module(&self, path: &str) -> Result<ModuleTree> {
        ModuleTree::new(&self.graph, path, &|_, node| float_leaf(node))
    }

    /// Fills the network with the weights of a checkpoint, strictly.
    ///
    /// # Errors
    /// [`Error::StateDict`] lists every missing, unexpected and mis-shaped key at once.
    pub fn load(&self, state: &StateDict) -> Result<FloatModel> {
        let expected = self.graph.parameters();
        let shapes =
            expected.iter().map(|(name, parameter)| (name.as_str(), parameter.shape.as_slice()));
        state.check(self.graph.kind(), shapes)?;
        let parameters = expected
            .iter()
            .filter_map(|(name, _)| Some((name.clone(), Arc::new(state.float(name)?.clone()))))
            .collect();
        FloatModel::new(self.graph.clone(), parameters)
    }

    /// Fills the network with fresh weights, as the published definitions initialise them: the same
    /// for the same seed on every platform.
    ///
    /// Convolutions: N(0, 2 / fan_out) (He et al. 2015, `kaiming_normal_(mode="fan_out")`), linear
    /// layers N(0, 0.01), biases 0, batch norms the identity.
    pub fn init(&self, seed: u64) -> FloatModel {
        use rand::{RngExt as _, SeedableRng as _};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut normal = |count: usize, std: f32| -> Vec<f32> {
            // Box and Muller's transform; a uniform of 0 has no logarithm, so it is drawn from (0, 1].
            let mut draw = || {
                let radius = (-2.0 * (1.0 - random.random::<f32>()).ln()).sqrt();
                radius * (std::f32::consts::TAU * random.random::<f32>()).cos()
            };
            (0..count).map(|_| draw() * std).collect()
        };
        let mut parameters = Parameters::new();
        for module in self.graph.modules() {
            let Some(id) = self.graph.find(&module.path) else { continue };
            let op = &self.graph.node(id).op;
            for parameter in op.parameters() {
                let count = parameter.shape.iter().product();
                let values = match (op, parameter.name) {
                    (Op::Conv2d(conv, _), "weight") => {
                        let [kh, kw] = conv.kernel_size;
                        let fan_out = conv.out_channels * kh * kw;
                        normal(count, (2.0 / fan_out as f32).sqrt())
                    }
                    (Op::Linear(..), "weight") => normal(count, 0.01),
                    (Op::BatchNorm(_), "weight" | "running_var") => vec![1.0; count],
                    _ => vec![0.0; count],
                };
                let mut tensor = Tensor::zeros(parameter.shape);
                tensor.data_mut().copy_from_slice(&values);
                parameters.insert(format!("{}.{}", module.path, parameter.name), Arc::new(tensor));
            }
        }
        FloatModel { graph: self.graph.clone(), parameters }
    }
}

/// A float network with its weights, in eval mode.
#[derive(Clone, Debug)]
pub struct FloatModel {
    graph: Graph,
    parameters: Parameters,
}

impl FloatModel {
    /// A network from a graph and its weights.
    ///
    /// # Errors
    /// A weight is missing or has another shape.
    pub fn new(graph: Graph, parameters: Parameters) -> Result<Self> {
        for (name, parameter) in graph.parameters() {
            let found = parameters
                .get(&name)
                .ok_or_else(|| Error::layer(&name, "the model has no such parameter"))?;
            if found.shape() != parameter.shape {
                return Err(Error::shape(
                    name,
                    format!("expected {:?}, found {:?}", parameter.shape, found.shape()),
                ));
            }
        }
        Ok(Self { graph, parameters })
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// All weights and running estimates.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The weight, bias or running estimate of a layer; `None` where it has none.
    pub fn parameter(&self, layer: &str, name: &str) -> Option<&Tensor> {
        self.parameters.get(&format!("{layer}.{name}")).map(Arc::as_ref)
    }

    /// The module tree of the whole network, or below a dotted path.
    ///
    /// # Errors
    /// There is no such module.
    pub fn module(&self, path: &str) -> Result<ModuleTree> {
        ModuleTree::new(&self.graph, path, &|_, node| float_leaf(node))
    }

    /// The weights under PyTorch's names, to save.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        for (name, _) in self.graph.parameters() {
            if let Some(tensor) = self.parameters.get(&name) {
                state.insert(name, StateTensor::Float(tensor.as_ref().clone()));
            }
        }
        state
    }

    /// How many values are trained: weights and biases, without running estimates.
    pub fn parameter_count(&self) -> usize {
        self.graph
            .parameters()
            .iter()
            .filter(|(_, parameter)| parameter.trained)
            .map(|(_, parameter)| parameter.shape.iter().product::<usize>())
            .sum()
    }
}
