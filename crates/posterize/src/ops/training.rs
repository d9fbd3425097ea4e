//! The gradients of operators.

use std::fmt;

use posterize_kernels::Conv2dGeometry;

use super::Padding;
use super::kernel::{Call, Inputs, Shapes};

/// How an operator is computed in training.
#[derive(Debug)]
pub(crate) enum Training {
    /// The network's input.
    Input,
    /// The identity, followed by the operator's activation if it has one.
    Identity,
    /// A batch norm over the last axis in memory.
    BatchNorm {
        /// Value added to the variance.
        eps: f32,
        /// Weight of the batch in the running estimates.
        momentum: f32,
    },
    /// A convolution, or a linear layer as a convolution over one pixel.
    Product(Product),
    /// Dropout with this probability of a zero.
    Dropout(f32),
    /// A function without parameters: its kernel for inference goes forward, this back.
    Function(Gradient),
    /// It cannot be trained; the reason, as a sentence without a full stop.
    Untrainable(&'static str),
}

/// A convolution of the input with a weight.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    /// The geometry without padding.
    pub(crate) unpadded: Conv2dGeometry,
    pub(crate) padding: Padding,
    /// Whether it has a bias.
    pub(crate) bias: bool,
}

impl Product {
    /// Returns the geometry for an input of `[h, w]`, with the padding in pixels.
    pub(crate) fn geometry(&self, size: [usize; 2]) -> Conv2dGeometry {
        let Conv2dGeometry { kernel, stride, dilation, .. } = self.unpadded;
        let padding = self.padding.resolve(kernel, stride, dilation, size);
        Conv2dGeometry { padding, ..self.unpadded }
    }
}

/// An operator that says how it is computed in training.
///
/// There is no default, so that it is not forgotten for a new operator.
pub(crate) trait Train {
    /// Returns how the operator is computed in training.
    fn training(&self) -> Training;
}

/// The gradient of a function without parameters.
pub(crate) struct Gradient {
    keeps_inputs: bool,
    passes: fn(&Shapes) -> bool,
    backward: BackwardFn,
}

/// Writes the gradient of one input.
type BackwardFn = Box<dyn Fn(Backward<'_, '_>, &mut [f32]) + Send + Sync>;

/// What the gradient of one input is computed from.
pub(crate) struct Backward<'c, 'a> {
    pub(crate) call: Call<'c>,
    pub(crate) shapes: &'c Shapes,
    /// Which of the inputs it is.
    pub(crate) position: usize,
    /// The gradient of the output.
    pub(crate) gradient: &'c [f32],
    /// The values of each input, where the function [keeps](Gradient::keeps_inputs) them.
    pub(crate) input: Inputs<'c, 'a, f32>,
}

impl Gradient {
    /// Whether the gradient depends on the inputs of the forward pass.
    pub(crate) fn keeps_inputs(&self) -> bool {
        self.keeps_inputs
    }

    /// Whether the gradient of each input is that of the output as it lies in memory, so that both
    /// may share it.
    pub(crate) fn passes(&self, shapes: &Shapes) -> bool {
        (self.passes)(shapes)
    }

    /// Writes the gradient of an input to `target`.
    pub(crate) fn backward(&self, from: Backward<'_, '_>, target: &mut [f32]) {
        (self.backward)(from, target);
    }

    /// The same gradient, which is that of the output for inputs of such shapes.
    pub(super) fn passing(self, passes: fn(&Shapes) -> bool) -> Self {
        Self { passes, ..self }
    }
}

impl fmt::Debug for Gradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gradient").field("keeps_inputs", &self.keeps_inputs).finish_non_exhaustive()
    }
}

/// The gradient of a linear function: it depends on that of the output alone.
pub(super) fn linear(
    backward: impl Fn(Backward<'_, '_>, &mut [f32]) + Send + Sync + 'static,
) -> Gradient {
    Gradient { keeps_inputs: false, passes: |_| false, backward: Box::new(backward) }
}

/// The gradient of a function that is not linear: it also depends on the inputs.
pub(super) fn nonlinear(
    backward: impl Fn(Backward<'_, '_>, &mut [f32]) + Send + Sync + 'static,
) -> Gradient {
    Gradient { keeps_inputs: true, ..linear(backward) }
}

#[cfg(test)]
mod tests {
    use posterize_kernels::{Isa, Pool};

    use super::*;
    use crate::ops::kernel::{FloatContext, Packs};
    use crate::ops::{AdaptiveAvgPool2d, Add, Cat, Div, Flatten, Mean, Mul, Op, Sub, ZeroPad2d};

    const BATCH: usize = 3;

    /// Small integers, whose sums and products are exact.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7 + seed * 13) % 11) as f32 - 5.0).collect()
    }

    fn shapes(op: &Op, inputs: &[&[usize]]) -> Shapes {
        let output = op.infer(inputs).unwrap();
        Shapes { inputs: inputs.iter().map(|shape| shape.to_vec()).collect(), output }
    }

    fn len(shape: &[usize]) -> usize {
        BATCH * shape.iter().product::<usize>()
    }

    fn back(op: &Op, shapes: &Shapes, position: usize, inputs: &[Vec<f32>]) -> Vec<f32> {
        let Training::Function(function) = op.training() else { panic!("{op:?} is no function") };
        let gradient = numbers(len(&shapes.output), 5);
        let found = [1, 3].map(|threads| {
            let pool = Pool::new(threads);
            let call = Call { isa: Isa::detect(), pool: &pool, batch: BATCH };
            let mut target = vec![f32::NAN; len(&shapes.inputs[position])];
            let input = |index: usize| inputs[index].as_slice();
            let input: Inputs<'_, '_, f32> = &input;
            let gradient = gradient.as_slice();
            let from = Backward { call, shapes, position, gradient, input };
            function.backward(from, &mut target);
            if function.passes(shapes) {
                assert_eq!(target, gradient, "{op:?}");
            }
            target
        });
        assert_eq!(found[0], found[1], "{op:?}");
        let [found, _] = found;
        found
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }

    /// The backward pass of a linear function `A` is its transpose: `⟨g, A x⟩ = ⟨Aᵀ g, x⟩`.
    #[test]
    fn the_backward_pass_of_a_linear_function_is_its_transpose() {
        let picture: &[usize] = &[1, 4, 6, 5];
        let cases: Vec<(Op, Vec<&[usize]>)> = vec![
            (Add::new().into(), vec![picture, picture]),
            (Sub.into(), vec![picture, picture]),
            (Cat::new(1).into(), vec![picture, &[1, 3, 6, 5], picture]),
            (Cat::new(2).into(), vec![picture, &[1, 4, 2, 5]]),
            (Cat::new(3).into(), vec![&[1, 4, 6, 1], picture]),
            (Cat::new(2).into(), vec![&[1, 4, 6], &[1, 4, 2]]),
            (Flatten.into(), vec![picture]),
            (Flatten.into(), vec![&[1, 4, 6]]),
            (Mean.into(), vec![picture]),
            (AdaptiveAvgPool2d::new([2, 3]).into(), vec![picture]),
            (ZeroPad2d::new([1, 2, 3, 0]).into(), vec![picture]),
        ];
        for (op, inputs) in cases {
            let shapes = shapes(&op, &inputs);
            let values: Vec<Vec<f32>> =
                (0..inputs.len()).map(|i| numbers(len(inputs[i]), i)).collect();
            let packs = Packs::default();
            let cx = FloatContext {
                isa: Isa::detect(),
                parameter: &|_| None,
                int8_weight: None,
                packs: &packs,
            };
            let kernel = op.compute().float(&cx, &shapes).unwrap();
            let mut output = vec![0.0; len(&shapes.output)];
            let pool = Pool::new(2);
            match kernel {
                Some(kernel) => {
                    let call = Call { isa: Isa::detect(), pool: &pool, batch: BATCH };
                    let mut scratch = vec![0.0; kernel.scratch_len(2, BATCH)];
                    kernel.run(call, &|i| &values[i], &mut output, &mut scratch);
                }
                None => output.copy_from_slice(&values[0]),
            }
            let forward = dot(&numbers(output.len(), 5), &output);
            let transposed: f64 = (0..inputs.len())
                .map(|position| dot(&back(&op, &shapes, position, &values), &values[position]))
                .sum();
            assert!((forward - transposed).abs() <= 1e-3, "{op:?}: {forward}, {transposed}");
        }
    }

    #[test]
    fn gradients_of_two_inputs_are_summed_over_the_axes_of_a_broadcast() {
        let cases: [[&[usize]; 2]; 6] = [
            [&[1, 4, 6, 5], &[1, 4, 6, 5]],
            [&[1, 4, 6, 5], &[1, 4, 1, 1]],
            [&[1, 1, 6, 1], &[1, 4, 1, 5]],
            [&[1, 1, 1, 1], &[1, 4, 6, 5]],
            [&[1, 4, 1], &[1, 4, 3]],
            [&[1, 1], &[1, 7]],
        ];
        for inputs in cases {
            for op in [Op::from(Add::new()), Sub.into(), Mul.into(), Div.into()] {
                let shapes = shapes(&op, &inputs);
                let mut values = [0, 1].map(|i| numbers(len(inputs[i]), i)).to_vec();
                if matches!(op, Op::Div(_)) {
                    // Powers of two, by which quotients are exact.
                    values[1].iter_mut().for_each(|y| *y = (*y % 3.0).exp2());
                }
                for position in [0, 1] {
                    let found = back(&op, &shapes, position, &values);
                    let expected = by_definition(&op, &shapes, position, &values);
                    assert_eq!(found, expected, "{op:?} of {inputs:?}, input {position}");
                }
            }
        }
    }

    fn by_definition(op: &Op, shapes: &Shapes, position: usize, values: &[Vec<f32>]) -> Vec<f32> {
        let batched = |shape: &[usize]| [&[BATCH], &shape[1..]].concat();
        let output = batched(&shapes.output);
        let gradient = numbers(len(&shapes.output), 5);
        let mut target = vec![0.0; values[position].len()];
        for index in 0..gradient.len() {
            // The index of the element along each axis of the shape.
            let mut rest = index;
            let mut at = vec![0; output.len()];
            for axis in (0..output.len()).rev() {
                (at[axis], rest) = (rest % output[axis], rest / output[axis]);
            }
            let [x, y] = [0, 1].map(|i| values[i][offset(&batched(&shapes.inputs[i]), &at)]);
            let derivative = match (op, position) {
                (Op::Add(_), _) | (Op::Sub(_), 0) => 1.0,
                (Op::Sub(_), _) => -1.0,
                (Op::Mul(_), 0) => y,
                (Op::Mul(_), _) => x,
                (Op::Div(_), 0) => 1.0 / y,
                (Op::Div(_), _) => -x / (y * y),
                _ => panic!("{op:?}"),
            };
            let to = offset(&batched(&shapes.inputs[position]), &at);
            target[to] += gradient[offset(&output, &at)] * derivative;
        }
        target
    }

    /// Returns the offset of an element in memory; the index along a broadcast axis is taken as 0.
    fn offset(shape: &[usize], at: &[usize]) -> usize {
        let order: &[usize] = if shape.len() == 4 { &[0, 2, 3, 1] } else { &[0, 1, 2] };
        order[..shape.len()]
            .iter()
            .fold(0, |offset, &axis| offset * shape[axis] + at[axis].min(shape[axis] - 1))
    }
}
