//! The parameters and buffers of a network, and their initial values.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use crate::graph::ParameterKey;
use crate::ops::{Initializer, Parameter};
use crate::tensor::Tensor;

/// The parameters and buffers of a network, by node and role.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::{Linear, Role};
/// use posterize::{Architecture, FloatModel, Tensor};
///
/// let model = Architecture::trace(&Sequential::new().then(Linear::new(4, 2)))?.init(0);
/// let linear = model.graph().find("0").unwrap();
/// let mut parameters = model.parameters().clone();
/// parameters.insert((linear, Role::Bias), Tensor::new([2], vec![1.0, -1.0])?.into());
/// let model = FloatModel::new(model.graph().clone(), parameters)?;
/// assert_eq!(model.parameter_named("0.bias").unwrap().data(), [1.0, -1.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
pub type Parameters = BTreeMap<ParameterKey, Arc<Tensor>>;

/// Initial values of parameters, from a seed.
pub(crate) struct InitialValues(ChaCha8Rng);

impl InitialValues {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Returns the initial values of the next parameter.
    pub(crate) fn of(&mut self, parameter: &Parameter) -> Tensor {
        let mut tensor = Tensor::zeros(parameter.shape.as_slice());
        match parameter.init {
            Initializer::Constant(value) => tensor.data_mut().fill(value),
            Initializer::Normal { std } => {
                tensor.data_mut().fill_with(|| self.normal() * std);
            }
        }
        tensor
    }

    /// Draws from the standard normal distribution by the Box–Muller transform.
    fn normal(&mut self) -> f32 {
        // The uniform number is in (0, 1], because 0 has no logarithm.
        let radius = (-2.0 * (1.0 - self.0.random::<f32>()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.0.random::<f32>()).cos()
    }
}
