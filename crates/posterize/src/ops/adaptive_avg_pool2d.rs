//! Adaptive average pooling.

use posterize_kernels::{f32, int8};
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, pools_to_a_size, prints_as_a_layer};
use super::kernel::{Call, Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::training::{Backward, Train, Training, linear};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.nn.AdaptiveAvgPool2d`: average pooling of `[N, C, H, W]` to a fixed output size.
///
/// Output row `i` is the average of the input rows from `floor(i · H / output_size[0])` up to, but
/// not including, `ceil((i + 1) · H / output_size[0])`; columns likewise
/// (`aten/src/ATen/native/AdaptivePooling.h`).
///
/// ```
/// use posterize::ops::AdaptiveAvgPool2d;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&AdaptiveAvgPool2d::new([1, 2]))?.init(0);
/// let row = Tensor::new([1, 1, 1, 4], vec![1.0, 2.0, 3.0, 6.0])?;
/// assert_eq!(model.forward(&row)?.data(), [1.5, 4.5]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AdaptiveAvgPool2d {
    /// Height and width of the output, each at least 1.
    pub output_size: [usize; 2],
}

impl AdaptiveAvgPool2d {
    /// Creates a pooling to an output of height `output_size[0]` and width `output_size[1]`.
    pub const fn new(output_size: [usize; 2]) -> Self {
        Self { output_size }
    }
}

impl Operator for AdaptiveAvgPool2d {
    fn kind(&self) -> String {
        "AdaptiveAvgPool2d".into()
    }

    prints_as_a_layer!();

    pools_to_a_size!();

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: true }
    }
}

impl Layer for AdaptiveAvgPool2d {
    fn class(&self) -> &'static str {
        "AdaptiveAvgPool2d"
    }
}

impl Saved for AdaptiveAvgPool2d {
    const VERSION: u32 = 1;
}

/// The name of its kernels in profiles.
const NAME: &str = "adaptive_avg_pool2d";

impl Compute for AdaptiveAvgPool2d {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let (out, size, channels) = (self.output_size, shapes.size(), shapes.channels());
        function(NAME, move |Call { isa, pool, batch }, input, output| {
            f32::adaptive_avg_pool2d(isa, pool, batch, size, channels, out, input(0), output);
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let (channels, zero_point) = (shapes.channels(), cx.output.zero_point);
        let (size, max) = (shapes.size(), int8::AdaptiveAvgPool2d::MAX_PIXELS);
        if size[0] * size[1] > max {
            return Err(format!(
                "expected an input of at most {max} pixels for an average in int8, found {} x {}",
                size[0], size[1]
            ));
        }
        let kernel = int8::AdaptiveAvgPool2d::new(cx.isa, channels, self.output_size, zero_point);
        function(NAME, move |call, input, output| {
            kernel.run(call.pool, call.batch, size, input(0), output);
        })
    }
}

impl Train for AdaptiveAvgPool2d {
    fn training(&self) -> Training {
        let out = self.output_size;
        Training::Function(linear(move |from, target| {
            let (size, channels) = (from.shapes.size(), from.shapes.channels());
            let Backward { call: Call { isa, pool, batch }, gradient, .. } = from;
            f32::training::adaptive_avg_pool2d_backward(
                isa, pool, batch, size, channels, out, gradient, target,
            );
        }))
    }
}

#[cfg(test)]
mod tests {
    use posterize_kernels::Isa;
    use posterize_kernels::int8::QParams8;

    use super::*;
    use crate::ops::kernel::Packs;

    /// A saved model may have pictures of any size.
    #[test]
    fn an_int8_average_of_too_many_pixels_is_an_error() {
        let (pool, packs) = (AdaptiveAvgPool2d::new([1, 1]), Packs::default());
        let q = QParams8 { scale: 1.0, zero_point: 0 };
        let (inputs, range) = (vec![q], [0, 255]);
        let isa = Isa::SCALAR;
        let cx = Int8Context { isa, inputs, output: q, range, weights: None, packs: &packs };
        let made = |h, w| {
            pool.int8(&cx, &Shapes { inputs: vec![vec![1, 3, h, w]], output: vec![1, 3, 1, 1] })
        };
        assert!(made(2896, 2896).is_ok());
        let error = made(4000, 4000).unwrap_err();
        assert!(error.contains("at most 8388607 pixels"), "{error}");
    }
}
