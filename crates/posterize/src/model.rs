//! Networks: an [`Architecture`] has no weights, a [`FloatModel`] has float weights.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::checkpoint::{StateDict, StateTensor};
use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleTree, NodeId, float_leaf};
use crate::loading;
use crate::nn::{Module, trace};
use crate::ops::Role;
use crate::parameters::InitialValues;
use crate::short_digest::short_digest;
use crate::tensor::Tensor;

pub use crate::loading::{LoadOptions, LoadReport, NewTensor, Renamed};
pub use crate::naming::Naming;
pub use crate::parameters::Parameters;

/// A network without weights.
///
/// ```
/// use posterize::Architecture;
/// use posterize::nn::Sequential;
/// use posterize::ops::{Activation, Conv2d};
///
/// let net = Sequential::new().then(Conv2d::new(3, 8, 3)).then(Activation::ReLU);
/// let architecture = Architecture::trace(&net)?;
/// assert_eq!(architecture.graph().infer(&[1, 3, 32, 32])?.last().unwrap().shape, [1, 8, 30, 30]);
/// assert_eq!(architecture.init(0).parameter_count(), 8 * 3 * 3 * 3 + 8);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    graph: Graph,
    namings: Vec<Naming>,
}

impl From<Graph> for Architecture {
    fn from(graph: Graph) -> Self {
        Self { graph, namings: Vec::new() }
    }
}

impl Architecture {
    /// Records the graph of a module by running its `forward` once.
    ///
    /// # Errors
    /// Returns an error if a layer's hyper-parameters are out of range, or if a layer with weights
    /// is called more than once.
    pub fn trace(module: &dyn Module) -> Result<Self> {
        Ok(trace(module)?.into())
    }

    /// Returns the graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Adds names that the layers have elsewhere. Weights with all of these names are loaded, too.
    #[must_use]
    pub fn also_named(mut self, naming: Naming) -> Self {
        self.namings.push(naming);
        self
    }

    /// Returns the names that the layers have elsewhere.
    pub fn namings(&self) -> &[Naming] {
        &self.namings
    }

    /// Returns the module at a dotted path and all modules below it; an empty path is the whole
    /// network.
    ///
    /// # Errors
    /// Returns an error if there is no module at that path.
    pub fn module(&self, path: &str) -> Result<ModuleTree> {
        ModuleTree::new(&self.graph, path, &|_, node| float_leaf(node))
    }

    /// Loads the weights of a state dict, as PyTorch's `load_state_dict(strict=True)` does. If the
    /// names have a prefix that those of this network do not have, it is removed: `model.` in
    /// checkpoints of PyTorch Lightning. The names may be those of one of the [`Self::namings`].
    ///
    /// # Errors
    /// Returns [`Error::StateDict`], which lists every missing, unexpected and mis-shaped key.
    /// Returns [`Error::Layer`] if a running variance is negative.
    pub fn load(&self, state: &StateDict) -> Result<FloatModel> {
        self.load_with(state, &LoadOptions::new()).map(|(model, _)| model)
    }

    /// Loads the weights of a state dict as [`Self::load`] does, but allows what the options allow.
    /// The report says what was changed.
    ///
    /// # Errors
    /// Returns the errors of [`Self::load`] for differences that are not allowed.
    pub fn load_with(
        &self,
        state: &StateDict,
        options: &LoadOptions,
    ) -> Result<(FloatModel, LoadReport)> {
        let (parameters, report) = loading::load(&self.graph, &self.namings, state, options)?;
        Ok((FloatModel::new(self.graph.clone(), parameters)?, report))
    }

    /// Initializes the weights at random, as torchvision does. The same seed gives the same weights
    /// on every platform.
    ///
    /// Weights of convolutions are drawn from a normal distribution of mean 0 and variance 2 /
    /// fan_out (He et al. 2015, <https://arxiv.org/abs/1502.01852>;
    /// `kaiming_normal_(mode="fan_out")`), those of linear layers with standard deviation 0.01.
    /// Biases are 0. A batch norm's weight is 1, its running mean 0 and its running variance 1.
    pub fn init(&self, seed: u64) -> FloatModel {
        let mut initial = InitialValues::new(seed);
        let parameters = self
            .graph
            .parameters()
            .into_iter()
            .map(|found| (found.key, Arc::new(initial.of(&found.parameter))))
            .collect();
        FloatModel { graph: self.graph.clone(), parameters }
    }
}

/// A float network with its weights, in evaluation mode.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::Conv2d;
/// use posterize::{Architecture, Tensor};
///
/// let net = Sequential::new().then(Conv2d::new(3, 8, 3));
/// let model = Architecture::trace(&net)?.init(0);
/// assert_eq!(model.parameter_named("0.weight").unwrap().shape(), [8, 3, 3, 3]);
/// assert_eq!(model.forward(&Tensor::zeros([1, 3, 32, 32]))?.shape(), [1, 8, 30, 30]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FloatModel {
    graph: Graph,
    parameters: Parameters,
}

impl FloatModel {
    /// Creates a network from a graph and its parameters.
    ///
    /// # Errors
    /// Returns an error if a parameter is missing, has the wrong shape, or belongs to no layer.
    pub fn new(graph: Graph, parameters: Parameters) -> Result<Self> {
        let mut expected = 0;
        for found in graph.parameters() {
            let tensor = parameters
                .get(&found.key)
                .ok_or_else(|| Error::layer(&found.name, "the parameter is missing; add it"))?;
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
                format!(
                    "expected {expected} parameters, found {}; remove those that belong to no \
                     layer",
                    parameters.len()
                ),
            ));
        }
        Ok(Self { graph, parameters })
    }

    /// Returns the graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Returns all parameters and buffers.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Returns the parameter or buffer of a node with that role; `None` if it has none.
    pub fn parameter(&self, node: NodeId, role: Role) -> Option<&Tensor> {
        self.parameters.get(&(node, role)).map(Arc::as_ref)
    }

    /// Returns the parameter or buffer with that name in the state dict (`features.0.0.weight`);
    /// `None` if there is none.
    pub fn parameter_named(&self, name: &str) -> Option<&Tensor> {
        let found = self.graph.parameters().into_iter().find(|found| found.name == name)?;
        self.parameters.get(&found.key).map(Arc::as_ref)
    }

    /// Returns the module at a dotted path and all modules below it; an empty path is the whole
    /// network.
    ///
    /// # Errors
    /// Returns an error if there is no module at that path.
    pub fn module(&self, path: &str) -> Result<ModuleTree> {
        ModuleTree::new(&self.graph, path, &|_, node| float_leaf(node))
    }

    /// Returns all parameters and buffers under PyTorch's names.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        for found in self.graph.parameters() {
            if let Some(tensor) = self.parameters.get(&found.key) {
                state.insert(found.name, StateTensor::Float(tensor.as_ref().clone()));
            }
        }
        state
    }

    /// Returns a digest of all parameters and buffers and their names, 64 bits in hexadecimal.
    ///
    /// ```
    /// use posterize::Architecture;
    /// use posterize::ops::Linear;
    ///
    /// let architecture = Architecture::trace(&Linear::new(4, 2))?;
    /// assert_eq!(architecture.init(0).digest(), architecture.init(0).digest());
    /// assert_ne!(architecture.init(0).digest(), architecture.init(1).digest());
    /// # Ok::<(), posterize::Error>(())
    /// ```
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut named = self.graph.parameters();
        // Sorted, so that it does not depend on the order of the graph's nodes.
        named.sort_by(|a, b| a.name.cmp(&b.name));
        for found in named {
            let Some(tensor) = self.parameters.get(&found.key) else { continue };
            hash.update((found.name.len() as u64).to_le_bytes());
            hash.update(&found.name);
            tensor.data().iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        short_digest(hash)
    }

    /// Returns the number of trainable values: those of weights and biases, not of running
    /// statistics.
    pub fn parameter_count(&self) -> usize {
        self.graph
            .parameters()
            .iter()
            .filter(|found| found.key.1.is_trained())
            .map(|found| found.parameter.shape.iter().product::<usize>())
            .sum()
    }
}
