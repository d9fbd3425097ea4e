//! Parameters and their gradients.

/// The group of a parameter, which an optimizer may treat differently, as weight decay does.
///
/// ```
/// use posterize::Architecture;
/// use posterize::ops::Linear;
/// use posterize::runtime::Options;
/// use posterize::training::{Network, ParameterGroup};
///
/// let model = Architecture::trace(&Linear::new(4, 2))?.init(0);
/// let mut network = Network::float(&model, Options::new(1)?)?;
/// let groups: Vec<_> = network.trained().map(|tensor| tensor.group).collect();
/// assert_eq!(groups, [ParameterGroup::Weight, ParameterGroup::Bias]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParameterGroup {
    /// The weight of a convolution or linear layer.
    Weight,
    /// The bias of a convolution or linear layer.
    Bias,
    /// The weight or the bias of a batch norm.
    BatchNorm,
}

/// A parameter and its gradient for an optimizer, as flat slices in PyTorch's order.
///
/// ```
/// use posterize::training::{ParameterGroup, TrainedMut, global_norm};
///
/// let bias = TrainedMut {
///     name: "fc.bias",
///     group: ParameterGroup::Bias,
///     lr_factor: 1.0,
///     value: &mut [0.0, 0.0],
///     gradient: &mut [3.0, 4.0],
/// };
/// assert_eq!(global_norm(&[bias]), 5.0);
/// ```
#[derive(Debug)]
pub struct TrainedMut<'a> {
    /// The name in a state dict, such as `features.0.0.weight`.
    pub name: &'a str,
    /// The group of the parameter.
    pub group: ParameterGroup,
    /// The factor of the learning rate, 1 for none.
    pub lr_factor: f64,
    /// The values of the parameter.
    pub value: &'a mut [f32],
    /// The gradient of the loss, as long as `value`.
    pub gradient: &'a mut [f32],
}
