//! Flattening of all axes but the batch.

use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_parameters, prints_as_a_layer, reads_each_value_once, takes_one_input,
};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::training::{Backward, Train, Training, linear};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.nn.Flatten`, or `torch.flatten(x, 1)`: flattens all axes but the batch into one.
///
/// The values of `[N, C, H, W]` are in PyTorch's order C, H, W afterwards, although they are
/// channels last in memory before.
///
/// ```
/// use posterize::ops::Flatten;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Flatten)?.init(0);
/// // Two channels of one row of two pixels.
/// let y = model.forward(&Tensor::new([1, 2, 1, 2], vec![1.0, 2.0, 3.0, 4.0])?)?;
/// assert_eq!(y.shape(), [1, 4]);
/// assert_eq!(y.data(), [1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flatten;

impl Operator for Flatten {
    fn kind(&self) -> String {
        "Flatten".into()
    }

    fn python(&self) -> String {
        "start_dim=1, end_dim=-1".into()
    }

    prints_as_a_layer!();

    takes_one_input!();

    no_parameters!();

    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            [n, rest @ ..] => Ok(vec![*n, rest.iter().product()]),
            [] => Err("expected an input with a batch axis, found a scalar".into()),
        }
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: false }
    }
}

impl Layer for Flatten {
    fn class(&self) -> &'static str {
        "Flatten"
    }
}

impl Saved for Flatten {
    const VERSION: u32 = 1;
}

impl Compute for Flatten {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        permute(shapes)
    }

    fn int8(&self, _: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        permute(shapes)
    }
}

/// Creates the kernel that reorders channels-last values to PyTorch's order C, H, W; `None` if both
/// orders are the same.
fn permute<T: Copy + 'static>(shapes: &Shapes) -> Made<T> {
    let ([h, w], channels) = (shapes.size(), shapes.channels());
    if [h, w] == [1, 1] {
        return Ok(None);
    }
    let plane = h * w;
    let picture = plane * channels;
    function("flatten", move |_, input, output: &mut [T]| {
        let pictures = input(0).chunks_exact(picture).zip(output.chunks_exact_mut(picture));
        for (x, y) in pictures {
            for (pixel, values) in x.chunks_exact(channels).enumerate() {
                for (channel, &value) in values.iter().enumerate() {
                    y[channel * plane + pixel] = value;
                }
            }
        }
    })
}

impl Train for Flatten {
    fn training(&self) -> Training {
        Training::Function(linear(|Backward { shapes, gradient, .. }, target| {
            let plane = shapes.size().into_iter().product::<usize>();
            let channels = shapes.channels();
            if plane == 1 {
                target.copy_from_slice(gradient);
                return;
            }
            // From PyTorch's C, H, W to H, W, C in memory.
            let picture = plane * channels;
            let pictures = gradient.chunks_exact(picture).zip(target.chunks_exact_mut(picture));
            for (from, to) in pictures {
                for (pixel, values) in to.chunks_exact_mut(channels).enumerate() {
                    for (channel, value) in values.iter_mut().enumerate() {
                        *value = from[channel * plane + pixel];
                    }
                }
            }
        }))
    }
}
