//! What training changes: the weights, with their gradients.

/// A group of parameters that an optimizer may treat alike, as weight decay does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParameterGroup {
    /// The weight of a convolution or of a linear layer.
    Weight,
    /// The bias of either.
    Bias,
    /// The weight or the bias of a batch norm.
    BatchNorm,
}

/// A trained tensor and its gradient, as an optimiser sees them: flat, in the order of PyTorch's
/// layout.
#[derive(Debug)]
pub struct TrainedMut<'a> {
    /// The name in PyTorch's state dict: `features.0.0.weight`.
    pub name: &'a str,
    /// The group that it belongs to.
    pub group: ParameterGroup,
    /// The values.
    pub value: &'a mut [f32],
    /// The gradient of the loss; as long as `value`.
    pub gradient: &'a mut [f32],
}
