//! Padding of any axis.

use posterize_kernels::reference;
use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_parameters, prints_as_a_layer, reads_each_value_once, takes_one_input,
};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::limits::check_sizes;
use super::moves::{self, Moves, strides};
use super::training::{Train, Training};
use super::{Int8Rule, Layer, Operator, Saved};

/// How the values of a padding are made.
///
/// ```
/// use posterize::ops::{Op, Pad, PadMode};
///
/// let pad = Op::from(Pad::new([[0, 0], [0, 0], [1, 1], [2, 2]], PadMode::Constant(0.0)));
/// assert_eq!(pad.infer(&[&[1, 3, 8, 8]])?, [1, 3, 10, 12]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PadMode {
    /// They are this constant.
    Constant(f32),
    /// They mirror the input at its first and last position, which is not repeated.
    Reflect,
    /// They repeat the first or the last position; ONNX's `edge`.
    Replicate,
}

/// `torch.nn.functional.pad`, ONNX's `Pad`: pads axes other than the batch.
///
/// In int8 a constant is rounded to the scale of the input.
///
/// ```
/// use posterize::ops::{Pad, PadMode};
/// use posterize::{Architecture, Tensor};
///
/// let pad = Pad::new([[0, 0], [1, 2]], PadMode::Reflect);
/// let model = Architecture::trace(&pad)?.init(0);
/// let y = model.forward(&Tensor::new([1, 3], vec![1.0, 2.0, 3.0])?)?;
/// assert_eq!(y.data(), [2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Pad {
    /// The positions before and behind each axis. Those of the first axis, the batch, are 0.
    pub pads: Vec<[usize; 2]>,
    /// How the values of the padding are made.
    pub mode: PadMode,
}

impl Pad {
    /// Creates a padding of each axis, the first of which is the batch.
    pub fn new(pads: impl Into<Vec<[usize; 2]>>, mode: PadMode) -> Self {
        Self { pads: pads.into(), mode }
    }

    fn moves(&self, shapes: &Shapes) -> Moves {
        let input = &shapes.inputs[0];
        let strides = strides(input);
        Moves::new(shapes, |axis, index| {
            let (size, [before, _]) = (input[axis], self.pads[axis]);
            let inside = match self.mode {
                PadMode::Constant(_) => index.checked_sub(before).filter(|&at| at < size)?,
                PadMode::Replicate => index.saturating_sub(before).min(size - 1),
                PadMode::Reflect => {
                    let at = index.abs_diff(before);
                    if at < size { at } else { 2 * (size - 1) - at }
                }
            };
            Some(inside * strides[axis])
        })
    }

    /// Returns the constant; 0 if there is none.
    fn constant(&self) -> f32 {
        match self.mode {
            PadMode::Constant(value) => value,
            PadMode::Reflect | PadMode::Replicate => 0.0,
        }
    }
}

impl Operator for Pad {
    fn kind(&self) -> String {
        "Pad".into()
    }

    fn python(&self) -> String {
        format!("pads={:?}, mode={:?}", self.pads, self.mode)
    }

    prints_as_a_layer!();
    takes_one_input!();
    no_parameters!();
    reads_each_value_once!();
    fuses_nothing!();

    /// A constant other than 0 may lie between two integers.
    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: self.constant() != 0.0 }
    }

    fn validate(&self) -> Result<(), String> {
        if self.pads.first().is_some_and(|batch| *batch != [0, 0]) {
            return Err(format!("pads of the batch must be 0, found {:?}", self.pads[0]));
        }
        if !self.constant().is_finite() {
            return Err(format!("the constant must be finite, found {}", self.constant()));
        }
        self.pads.iter().try_for_each(|pads| check_sizes(pads))
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let shape = inputs[0];
        if shape.len() != self.pads.len() {
            return Err(format!(
                "expected an input of {} axes for pads={:?}, found {shape:?}",
                self.pads.len(),
                self.pads
            ));
        }
        for (axis, (&size, &[before, after])) in shape.iter().zip(&self.pads).enumerate() {
            let most = match self.mode {
                PadMode::Constant(_) => continue,
                PadMode::Reflect => size.saturating_sub(1),
                PadMode::Replicate if size > 0 => continue,
                PadMode::Replicate => 0,
            };
            if before.max(after) > most {
                return Err(format!(
                    "padding of {before} and {after} of axis {axis} is more than an input of \
                     {shape:?} has to repeat"
                ));
            }
        }
        Ok(shape
            .iter()
            .zip(&self.pads)
            .map(|(size, [before, after])| size + before + after)
            .collect())
    }
}

impl Layer for Pad {
    fn class(&self) -> &'static str {
        "Pad"
    }
}

impl Saved for Pad {
    const VERSION: u32 = 1;
}

impl Compute for Pad {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        moves::kernel("pad", self.moves(shapes), self.constant())
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let constant = reference::quantize(cx.output, 0, u8::MAX, self.constant());
        moves::kernel("pad", self.moves(shapes), constant)
    }
}

impl Train for Pad {
    fn training(&self) -> Training {
        let pad = self.clone();
        Training::Function(moves::gradient(move |shapes| pad.moves(shapes)))
    }
}
