//! A graph with its weights: [`Architecture`] without them, [`FloatModel`] with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _};

use crate::checkpoint::{StateDict, StateTensor};
use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleTree, NodeId, ParameterKey, float_leaf};
use crate::nn::{Module, trace};
use crate::ops::{Initializer, Role};
use crate::tensor::Tensor;

/// Weights and running estimates by node and role.
pub type Parameters = BTreeMap<ParameterKey, Arc<Tensor>>;

/// A network without weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    graph: Graph,
}

impl From<Graph> for Architecture {
    fn from(graph: Graph) -> Self {
        Self { graph }
    }
}

impl Architecture {
    /// Traces a module.
    ///
    /// # Errors
    /// A layer with hyper-parameters that it cannot have; a layer with weights that is called twice.
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
            expected.iter().map(|found| (found.name.as_str(), found.parameter.shape.as_slice()));
        state.check(self.graph.kind(), shapes)?;
        let parameters = expected
            .iter()
            .filter_map(|found| Some((found.key, Arc::new(state.float(&found.name)?.clone()))))
            .collect();
        FloatModel::new(self.graph.clone(), parameters)
    }

    /// Fills the network with fresh weights, as the published definitions initialise them: the same
    /// for the same seed on every platform.
    ///
    /// Convolutions: N(0, 2 / fan_out) (He et al. 2015, `kaiming_normal_(mode="fan_out")`), linear
    /// layers N(0, 0.01), biases 0, batch norms the identity.
    pub fn init(&self, seed: u64) -> FloatModel {
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
        for found in self.graph.parameters() {
            let mut tensor = Tensor::zeros(found.parameter.shape);
            match found.parameter.init {
                Initializer::Constant(value) => tensor.data_mut().fill(value),
                Initializer::Normal { std } => {
                    let values = normal(tensor.data().len(), std);
                    tensor.data_mut().copy_from_slice(&values);
                }
            }
            parameters.insert(found.key, Arc::new(tensor));
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
    /// A weight is missing or has another shape, or is of no layer.
    pub fn new(graph: Graph, parameters: Parameters) -> Result<Self> {
        let mut expected = 0;
        for found in graph.parameters() {
            let tensor = parameters
                .get(&found.key)
                .ok_or_else(|| Error::layer(&found.name, "the model has no such parameter"))?;
            if tensor.shape() != found.parameter.shape {
                return Err(Error::shape(
                    found.name,
                    format!("expected {:?}, found {:?}", found.parameter.shape, tensor.shape()),
                ));
            }
            expected += 1;
        }
        if parameters.len() != expected {
            return Err(Error::layer(
                "graph",
                format!("it has {expected} parameters, found {}", parameters.len()),
            ));
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

    /// The weight, bias or running estimate of a node; `None` where it has none.
    pub fn parameter(&self, node: NodeId, role: Role) -> Option<&Tensor> {
        self.parameters.get(&(node, role)).map(Arc::as_ref)
    }

    /// The parameter of that name in a state dict (`features.0.0.weight`); `None` where there is none.
    pub fn parameter_named(&self, name: &str) -> Option<&Tensor> {
        let found = self.graph.parameters().into_iter().find(|found| found.name == name)?;
        self.parameters.get(&found.key).map(Arc::as_ref)
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
        for found in self.graph.parameters() {
            if let Some(tensor) = self.parameters.get(&found.key) {
                state.insert(found.name, StateTensor::Float(tensor.as_ref().clone()));
            }
        }
        state
    }

    /// How many values are trained: weights and biases, without running estimates.
    pub fn parameter_count(&self) -> usize {
        self.graph
            .parameters()
            .iter()
            .filter(|found| found.key.1.is_trained())
            .map(|found| found.parameter.shape.iter().product::<usize>())
            .sum()
    }
}
