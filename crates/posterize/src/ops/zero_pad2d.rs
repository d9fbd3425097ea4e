//! Padding with zeros.

use posterize_kernels as kernels;
use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_parameters, prints_as_a_layer, reads_each_value_once, takes_one_input,
};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::limits::check_sizes;
use super::shapes::picture;
use super::training::{Train, Training, linear};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.nn.ZeroPad2d`: pads the height and width of `[N, C, H, W]` with zeros.
///
/// ```
/// use posterize::ops::{Op, ZeroPad2d};
///
/// let pad = Op::from(ZeroPad2d::new([0, 1, 0, 2]));
/// assert_eq!(pad.infer(&[&[1, 3, 8, 8]])?, [1, 3, 10, 9]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ZeroPad2d {
    /// Number of columns on the left.
    pub left: usize,
    /// Number of columns on the right.
    pub right: usize,
    /// Number of rows at the top.
    pub top: usize,
    /// Number of rows at the bottom.
    pub bottom: usize,
}

impl ZeroPad2d {
    /// Creates a padding of `[left, right, top, bottom]` pixels, which is PyTorch's order.
    pub const fn new([left, right, top, bottom]: [usize; 4]) -> Self {
        Self { left, right, top, bottom }
    }

    /// Returns the kernel's padding.
    pub(crate) fn padding(self) -> kernels::Padding {
        let Self { left, right, top, bottom } = self;
        kernels::Padding { top, bottom, left, right }
    }
}

impl Operator for ZeroPad2d {
    fn kind(&self) -> String {
        "ZeroPad2d".into()
    }

    fn python(&self) -> String {
        format!("({}, {}, {}, {})", self.left, self.right, self.top, self.bottom)
    }

    prints_as_a_layer!();

    takes_one_input!();

    no_parameters!();

    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        check_sizes(&[self.left, self.right, self.top, self.bottom])
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [n, c, h, w] = picture(inputs[0])?;
        Ok(vec![n, c, h + self.top + self.bottom, w + self.left + self.right])
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: false }
    }
}

impl Layer for ZeroPad2d {
    fn class(&self) -> &'static str {
        "ZeroPad2d"
    }
}

impl Saved for ZeroPad2d {
    const VERSION: u32 = 1;
}

impl Compute for ZeroPad2d {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        self.kernel(shapes, 0.0)
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        self.kernel(shapes, cx.output.zero_point)
    }
}

impl ZeroPad2d {
    /// Creates the kernel that pads with `zero`, the value that represents 0.
    fn kernel<T: Copy + Send + Sync + 'static>(self, shapes: &Shapes, zero: T) -> Made<T> {
        let (padding, size, channels) = (self.padding(), shapes.size(), shapes.channels());
        function("pad", move |call, input, output: &mut [T]| {
            kernels::pad(call.batch, size, channels, padding, zero, input(0), output);
        })
    }
}

impl Train for ZeroPad2d {
    fn training(&self) -> Training {
        let Self { left, right, top, bottom } = *self;
        Training::Function(linear(move |from, target| {
            let ([h, w], channels) = (from.shapes.size(), from.shapes.channels());
            let padded = (w + left + right) * channels;
            let pictures = from.gradient.chunks_exact((h + top + bottom) * padded);
            for (from, to) in pictures.zip(target.chunks_exact_mut(h * w * channels)) {
                let rows = from[top * padded..].chunks_exact(padded);
                for (from, to) in rows.zip(to.chunks_exact_mut(w * channels)) {
                    to.copy_from_slice(&from[left * channels..][..w * channels]);
                }
            }
        }))
    }
}
