//! Sums, averages and extremes over axes.

use posterize_kernels::int8::QParams8;
use posterize_kernels::reference;
use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_parameters, prints_as_a_layer, reads_each_value_once, takes_one_input,
};
use super::kernel::{Compute, FloatContext, Inputs, Int8Context, Made, Shapes, function};
use super::largest::Compare;
use super::lines::Grid;
use super::moves::strides;
use super::select::for_each_row;
use super::shapes::{expect_axis, memory_order};
use super::training::{Backward, Train, Training, nonlinear};
use super::{Int8Rule, Layer, Operator, Saved, python};

/// What [`Reduce`] computes of the values along its axes.
///
/// ```
/// use posterize::ops::{Int8Rule, Op, Reduce, Reduction};
///
/// let max = Op::from(Reduce::new(Reduction::Max, [1]));
/// assert_eq!(max.kind(), "ReduceMax");
/// assert_eq!(max.int8_rule(), Int8Rule::InputScale { rounds: false });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reduction {
    /// Their average.
    Mean,
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// `torch.mean`, `sum`, `amax` and `amin`, ONNX's `ReduceMean` and the others: a sum, an average or an
/// extreme over axes other than the batch.
///
/// ```
/// use posterize::ops::{Reduce, Reduction};
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Reduce::new(Reduction::Sum, [1]))?.init(0);
/// let y = model.forward(&Tensor::new([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0])?)?;
/// assert_eq!((y.shape(), y.data()), (&[1, 2][..], &[4.0, 6.0][..]));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Reduce {
    /// What is computed.
    pub reduction: Reduction,
    /// The axes, in increasing order. The batch (0) cannot be one.
    pub dims: Vec<usize>,
    /// Whether the axes stay, with size 1.
    pub keepdim: bool,
}

impl Reduce {
    /// Creates the reduction of some axes, which do not stay.
    pub fn new(reduction: Reduction, dims: impl Into<Vec<usize>>) -> Self {
        Self { reduction, dims: dims.into(), keepdim: false }
    }

    /// Sets whether the axes stay, with size 1.
    #[must_use]
    pub const fn keepdim(mut self, keepdim: bool) -> Self {
        self.keepdim = keepdim;
        self
    }

    fn plan(&self, shapes: &Shapes) -> Plan {
        Plan::new(&shapes.inputs[0], &self.dims, self.keepdim)
    }
}

/// Number of values that one task reduces.
const TASK: usize = 1 << 14;

/// Where the values of each result lie in a picture.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The first value of each result, in the order of the output.
    starts: Grid,
    /// The others from it.
    along: Grid,
    /// Number of values of a picture.
    input: usize,
}

impl Plan {
    /// Creates the plan of a reduction of the axes `dims` of an input.
    pub(super) fn new(input: &[usize], dims: &[usize], keepdim: bool) -> Self {
        let strides = strides(input);
        // The axis of the input that each axis of the output is.
        let kept: Vec<usize> = if keepdim {
            (0..input.len()).collect()
        } else {
            (0..input.len()).filter(|axis| !dims.contains(axis)).collect()
        };
        let order = memory_order(kept.len()).into_iter().map(|axis| kept[axis]);
        let outer = order.filter(|axis| *axis > 0 && !dims.contains(axis));
        let starts = Grid::new(outer.map(|axis| [input[axis], strides[axis]]));
        let along = Grid::of_axes(input, |axis| dims.contains(&axis));
        Self { starts, along, input: input.iter().skip(1).product() }
    }

    /// Returns the offset of the first value of a result of a batch.
    fn start(&self, index: usize) -> usize {
        let results = self.starts.len();
        index / results * self.input + self.starts.offset(index % results)
    }

    /// Creates the kernel that computes each result by `fold` from a start and `finish`.
    pub(super) fn kernel<T: Copy + Send + Sync + 'static, S: Copy + Send + Sync + 'static>(
        self,
        name: &'static str,
        start: S,
        fold: impl Fn(S, T) -> S + Send + Sync + 'static,
        finish: impl Fn(S) -> T + Send + Sync + 'static,
    ) -> Made<T> {
        function(name, move |call, input: Inputs<'_, '_, T>, output: &mut [T]| {
            let input = input(0);
            let chunk = (TASK / self.along.len().max(1)).max(1);
            call.pool.for_each_chunk_mut(output, chunk, &|task, output| {
                for (at, output) in output.iter_mut().enumerate() {
                    let first = self.start(task * chunk + at);
                    let mut state = start;
                    self.along.each(|_, offset| state = fold(state, input[first + offset]));
                    *output = finish(state);
                }
            });
        })
    }
}

impl Operator for Reduce {
    fn kind(&self) -> String {
        format!("Reduce{:?}", self.reduction)
    }

    fn python(&self) -> String {
        let keepdim = python::boolean(self.keepdim);
        format!("dim={}, keepdim={keepdim}", python::tuple(&self.dims))
    }

    prints_as_a_layer!();
    takes_one_input!();
    no_parameters!();
    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        if self.dims.first() == Some(&0) {
            return Err("a reduction of the batch axis; dims must be at least 1".into());
        }
        if self.dims.is_empty() || !self.dims.is_sorted_by(|a, b| a < b) {
            return Err(format!("dims must be different and in order, found {:?}", self.dims));
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let shape = inputs[0];
        for &dim in &self.dims {
            expect_axis(dim, shape)?;
        }
        if self.dims.iter().any(|&dim| shape[dim] == 0) {
            return Err(format!("an input of {shape:?} has no values to reduce"));
        }
        let reduced = |axis: &usize| self.dims.contains(axis);
        Ok(if self.keepdim {
            (0..shape.len()).map(|axis| if reduced(&axis) { 1 } else { shape[axis] }).collect()
        } else {
            (0..shape.len()).filter(|axis| !reduced(axis)).map(|axis| shape[axis]).collect()
        })
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        match self.reduction {
            Reduction::Mean => Int8Rule::InputScale { rounds: true },
            Reduction::Sum => Int8Rule::OwnScale,
            Reduction::Max | Reduction::Min => Int8Rule::InputScale { rounds: false },
        }
    }
}

impl Layer for Reduce {
    fn class(&self) -> &'static str {
        match self.reduction {
            Reduction::Mean => "ReduceMean",
            Reduction::Sum => "ReduceSum",
            Reduction::Max => "ReduceMax",
            Reduction::Min => "ReduceMin",
        }
    }
}

impl Saved for Reduce {
    const VERSION: u32 = 1;
}

impl Compute for Reduce {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let (plan, name) = (self.plan(shapes), self.class());
        let count = plan.along.len() as f64;
        let sum = |sum: f64, x: f32| sum + f64::from(x);
        match self.reduction {
            Reduction::Mean => plan.kernel(name, 0.0, sum, move |sum| (sum / count) as f32),
            Reduction::Sum => plan.kernel(name, 0.0, sum, |sum| sum as f32),
            Reduction::Max => plan.kernel(name, f32::LOWEST, f32::larger, |x| x),
            Reduction::Min => plan.kernel(name, f32::HIGHEST, f32::smaller, |x| x),
        }
    }

    /// A sum of `q − zero_point` is multiplied by the scale of the input divided by that of the output,
    /// that of an average by the reciprocal of the count, and rounded half to even.
    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let (plan, name) = (self.plan(shapes), self.class());
        let zero = i32::from(cx.inputs[0].zero_point);
        let multiplier = match self.reduction {
            Reduction::Max => return plan.kernel(name, u8::LOWEST, u8::larger, |q| q),
            Reduction::Min => return plan.kernel(name, u8::HIGHEST, u8::smaller, |q| q),
            Reduction::Mean => 1.0 / plan.along.len() as f32,
            Reduction::Sum => cx.inputs[0].scale / cx.output.scale,
        };
        let max = (i32::MAX / 255) as usize;
        if plan.along.len() > max {
            return Err(format!(
                "expected at most {max} values for each sum in int8, found {}",
                plan.along.len()
            ));
        }
        let to = QParams8 { scale: 1.0, zero_point: cx.output.zero_point };
        let sum = move |sum: i32, q: u8| sum + i32::from(q) - zero;
        plan.kernel(name, 0, sum, move |sum| {
            reference::quantize(to, 0, u8::MAX, sum as f32 * multiplier)
        })
    }
}

impl Train for Reduce {
    /// The gradient of an extreme goes to the first value that is it.
    fn training(&self) -> Training {
        let op = self.clone();
        Training::Function(nonlinear(move |from, target| {
            let Backward { call, shapes, gradient, input, .. } = from;
            let (plan, input) = (op.plan(shapes), input(0));
            let results = plan.starts.len();
            let share = match op.reduction {
                Reduction::Mean => 1.0 / plan.along.len() as f32,
                _ => 1.0,
            };
            let better = |x: f32, best: f32| match op.reduction {
                Reduction::Min => x < best,
                _ => x > best,
            };
            for_each_row(call.pool, target, plan.input, |picture, target| {
                let input = &input[picture * plan.input..][..plan.input];
                target.fill(0.0);
                for (result, gradient) in
                    gradient[picture * results..][..results].iter().enumerate()
                {
                    let first = plan.starts.offset(result);
                    if matches!(op.reduction, Reduction::Mean | Reduction::Sum) {
                        plan.along.each(|_, offset| target[first + offset] = gradient * share);
                        continue;
                    }
                    let mut best = first;
                    plan.along.each(|_, offset| {
                        if better(input[first + offset], input[best]) {
                            best = first + offset;
                        }
                    });
                    target[best] = *gradient;
                }
            });
        }))
    }
}
