//! Optimizers, which update the parameters of a network with their gradients.

use std::fmt::Debug;

use super::TrainedMut;

mod adam;
mod buffers;
mod decay;
mod options;
mod sgd;
mod state;

pub use adam::{Adam, AdamOptions};
pub use decay::Decay;
pub use options::OptimizerOptions;
pub use sgd::{Sgd, SgdOptions};
pub use state::{OptimizerBuffer, OptimizerState};

/// An optimizer, which updates parameters with their gradients.
///
/// ```
/// use posterize::training::{
///     Adam, AdamOptions, Optimizer, ParameterGroup, Sgd, SgdOptions, TrainedMut,
/// };
///
/// /// Returns the value of a parameter of 1 after a step with a gradient of 4.
/// fn after_a_step(optimizer: &mut dyn Optimizer) -> f32 {
///     let mut value = [1.0];
///     let weight = TrainedMut {
///         name: "fc.weight",
///         group: ParameterGroup::Weight,
///         lr_factor: 1.0,
///         value: &mut value,
///         gradient: &mut [4.0],
///     };
///     optimizer.step(0.125, &mut [weight]);
///     value[0]
/// }
///
/// assert_eq!(after_a_step(&mut Sgd::new(SgdOptions::default())?), 0.5);
/// assert_eq!(after_a_step(&mut Adam::new(AdamOptions::default())?), 0.875);
/// # Ok::<(), posterize::Error>(())
/// ```
pub trait Optimizer: Debug + Send + Sync {
    /// Updates all parameters with their gradients. The learning rate of a parameter is `lr` times its
    /// [`lr_factor`](TrainedMut::lr_factor). The gradients are overwritten.
    ///
    /// # Panics
    /// Panics if a gradient, or a buffer of the loaded state, has another length than its parameter.
    fn step(&mut self, lr: f64, trained: &mut [TrainedMut<'_>]);

    /// Returns the kinds of buffers that it keeps for each parameter.
    fn kept(&self) -> &'static [OptimizerBuffer];

    /// Returns the state, from which it is resumed with [`load_state`](Self::load_state).
    fn state(&self) -> OptimizerState;

    /// Restores a state returned by [`state`](Self::state). Buffers that it does not
    /// [keep](Self::kept) are left out.
    fn load_state(&mut self, state: OptimizerState);
}
