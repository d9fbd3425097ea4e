//! The state of an optimizer, from which it is resumed.

use std::collections::BTreeMap;
use std::fmt;

/// The meaning of a buffer that an optimizer keeps for each parameter. Its text is PyTorch's name.
///
/// ```
/// use posterize::training::OptimizerBuffer;
///
/// assert_eq!(OptimizerBuffer::ExpAvgSq.to_string(), "exp_avg_sq");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OptimizerBuffer {
    /// The momentum of [`Sgd`](super::Sgd).
    Momentum,
    /// The moving average of the gradients in [`Adam`](super::Adam).
    ExpAvg,
    /// The moving average of the squared gradients in [`Adam`](super::Adam).
    ExpAvgSq,
}

impl OptimizerBuffer {
    /// All buffers.
    pub(crate) const ALL: [Self; 3] = [Self::Momentum, Self::ExpAvg, Self::ExpAvgSq];

    /// Returns the name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Momentum => "momentum",
            Self::ExpAvg => "exp_avg",
            Self::ExpAvgSq => "exp_avg_sq",
        }
    }
}

impl fmt::Display for OptimizerBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The state of an [`Optimizer`](super::Optimizer) between two steps.
///
/// ```
/// use posterize::training::{
///     Optimizer, OptimizerBuffer, ParameterGroup, Sgd, SgdOptions, TrainedMut,
/// };
///
/// let mut sgd = Sgd::new(SgdOptions { momentum: 0.5, ..SgdOptions::default() })?;
/// let weight = TrainedMut {
///     name: "fc.weight",
///     group: ParameterGroup::Weight,
///     lr_factor: 1.0,
///     value: &mut [1.0],
///     gradient: &mut [2.0],
/// };
/// sgd.step(0.1, &mut [weight]);
/// let state = sgd.state();
/// assert_eq!(state.buffers[&OptimizerBuffer::Momentum]["fc.weight"], [2.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptimizerState {
    /// Number of steps.
    pub step: u64,
    /// The buffers of each kind that the optimizer keeps, by the names of the parameters. A parameter
    /// has none before its first step.
    pub buffers: BTreeMap<OptimizerBuffer, BTreeMap<String, Vec<f32>>>,
}

impl OptimizerState {
    /// Returns the state with those buffers, except for kinds of which no parameter has one.
    pub(crate) fn new(
        step: u64,
        buffers: impl IntoIterator<Item = (OptimizerBuffer, BTreeMap<String, Vec<f32>>)>,
    ) -> Self {
        let buffers = buffers.into_iter().filter(|(_, of_kind)| !of_kind.is_empty()).collect();
        Self { step, buffers }
    }
}
