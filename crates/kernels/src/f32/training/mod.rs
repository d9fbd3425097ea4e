//! What a training step computes: convolutions forward and backward, with the batch norm, the
//! activation and the fake quantization between them.
//!
//! A layer is a raw convolution `y = conv(x, w)` followed by its [`Activation`]
//! `x' = fake_quant(clamp(y * scale[c] + shift[c]))`, in which the batch norm (and, in
//! quantization-aware training, the division by the folded scale factor) is the affine map. Only
//! `y` needs to be kept: the next layer's [`Conv2d::forward`] may take `y` with its activation as
//! its [`Input`] and computes `x'` block by block where it is needed, in the cache, and the
//! backward pass does the same. Likewise the gradient behind a batch norm,
//! `a[c] * g + b[c] * y + c[c]` ([`GradOutput`]), is never stored.
//!
//! One layer of a network thus costs one pass forward ([`Conv2d::forward`], which also gathers the
//! [`ChannelStats`] that its batch norm wants) and one pass backward ([`Conv2d::backward`], which
//! gives the gradients of the weights and of the input, and the [`ChannelSums`] that the batch norm
//! of the layer before it wants).
//!
//! All buffers are NHWC. Large ones belong to the caller. Sums are cut into parts that depend on
//! shapes only, so the same bits come out for any number of threads.

mod activation;
mod block;
mod chunks;
mod conv2d;
mod depthwise;
mod depthwise_row;
mod gathered;
mod norm;
mod operands;
mod pointwise;
mod pooling;
mod stats;
mod stream;
#[cfg(test)]
mod tests;
mod weight_sums;
mod window;

pub use activation::{Activation, FakeQuant};
pub use conv2d::Conv2d;
pub use norm::{
    activate, activate_backward, activate_backward_sums, add_with_range, fake_quantize,
    fake_quantize_backward,
};
pub use operands::{GradOutput, Gradients, Input, NormBackward};
pub use pooling::{adaptive_avg_pool2d_backward, max_pool2d_backward};
pub use stats::{ChannelStats, ChannelSums, channel_stats};
