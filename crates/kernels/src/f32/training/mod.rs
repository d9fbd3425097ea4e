//! f32 kernels for training: convolutions forward and backward, with batch normalization,
//! activation and fake quantization.
//!
//! A layer is a convolution `y = conv(x, w)` followed by its [`Activation`], `x' =
//! fake_quant(clamp(y * scale[c] + shift[c]))`, whose affine map is the batch normalization (in
//! quantization-aware training, together with the division by the folded scale factor). Only `y`
//! has to be stored: the next layer's [`Conv2d::forward`] takes `y` with its activation as
//! [`Input`] and computes `x'` block by block in the cache, as does the backward pass. Likewise,
//! the gradient of a batch normalization's input, `a[c] * g + b[c] * y + c[c]` ([`GradOutput`]), is
//! never stored.
//!
//! A layer thus takes one pass forward ([`Conv2d::forward_with_stats`], which also computes the
//! [`ChannelStats`] for its batch normalization) and one pass backward ([`Conv2d::backward`], which
//! computes the gradients of the weights and of the input, and the [`ChannelSums`] for the batch
//! normalization of the layer before it).
//!
//! All activations are `[N, H, W, C]`. Large buffers are passed by the caller. Sums are divided
//! into chunks that depend on shapes only, so the result has the same bits for any number of
//! threads.

mod activation;
mod block;
mod chunks;
mod conv2d;
mod depthwise;
mod depthwise_row;
mod im2row;
mod norm;
mod operands;
mod pointwise;
mod pooling;
mod scatter;
mod stats;
mod stream;
#[cfg(test)]
mod tests;
mod weight_sums;

pub use activation::{Activation, FakeQuant};
pub use conv2d::Conv2d;
pub use norm::{
    activate, activate_backward, activate_backward_sums, add_with_range, fake_quantize,
    fake_quantize_backward,
};
pub use operands::{GradOutput, Gradients, Input, NormBackward};
pub use pooling::{adaptive_avg_pool2d_backward, max_pool2d_backward};
pub use stats::{ChannelStats, ChannelSums, channel_stats};
