//! Concatenation.

use std::ops::RangeInclusive;

use posterize_kernels::int8::{self, QParams8};
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_functional};
use super::kernel::{Call, Compute, FloatContext, Inputs, Int8Context, Made, Shapes, function};
use super::shapes::memory_order;
use super::training::{Differentiable, Train, Training};
use super::{Int8Rule, Operator, Saved};

/// `torch.cat(tensors, dim)`: one or more tensors one behind the other along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cat {
    /// The axis; 1 is that of the channels. The batch (0) cannot be concatenated.
    pub dim: usize,
}

impl Cat {
    /// Concatenation along `dim`.
    pub const fn new(dim: usize) -> Self {
        Self { dim }
    }
}

impl Operator for Cat {
    fn kind(&self) -> String {
        "Cat".into()
    }

    prints_as_a_functional!();

    fn arity(&self) -> RangeInclusive<usize> {
        1..=usize::MAX
    }

    no_parameters!();

    fn validate(&self) -> Result<(), String> {
        if self.dim == 0 {
            return Err("cat along the batch axis; dim must be at least 1".into());
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let mut shape = inputs[0].to_vec();
        if shape.len() <= self.dim {
            return Err(format!("expected an input with an axis {}, found {shape:?}", self.dim));
        }
        for other in &inputs[1..] {
            let alike = other.len() == shape.len()
                && (0..shape.len()).all(|axis| axis == self.dim || other[axis] == shape[axis]);
            if !alike {
                return Err(format!("cannot concatenate {other:?} to {:?}", inputs[0]));
            }
            // Saturated, it is found too large by whoever asked.
            shape[self.dim] = shape[self.dim].saturating_add(other[self.dim]);
        }
        Ok(shape)
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl Saved for Cat {
    const VERSION: u32 = 1;
}

impl Compute for Cat {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let runs = Runs::new(shapes, self.dim);
        function("cat", move |_, input, output| {
            runs.each(input, output, |_, x, y| y.copy_from_slice(x));
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        // As torch.ops.quantized.cat: what has another scale than the output is brought to it.
        let table = |&from: &QParams8| {
            (from != cx.output)
                .then(|| Box::new(int8::requantize_table(from, cx.output, [0, u8::MAX])))
        };
        let tables: Vec<_> = cx.inputs.iter().map(table).collect();
        let runs = Runs::new(shapes, self.dim);
        function("cat", move |_, input, output| {
            runs.each(input, output, |index, x, y| match &tables[index] {
                None => y.copy_from_slice(x),
                Some(table) => {
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = table[usize::from(x)]);
                }
            });
        })
    }
}

/// How many values of each input lie together in the output.
#[derive(Debug)]
struct Runs(Vec<usize>);

impl Runs {
    fn new(shapes: &Shapes, dim: usize) -> Self {
        let run = |shape: &Vec<usize>| -> usize {
            let order = memory_order(shape.len());
            let axis = order.iter().position(|&axis| axis == dim).unwrap_or_default();
            order[axis..].iter().map(|&axis| shape[axis]).product()
        };
        Self(shapes.inputs.iter().map(run).collect())
    }

    /// Calls `copy` with each input's place, and each run of it and of the output.
    fn each<'a, T: 'a>(
        &self,
        input: Inputs<'_, 'a, T>,
        output: &mut [T],
        copy: impl Fn(usize, &[T], &mut [T]),
    ) {
        let width: usize = self.0.iter().sum();
        let mut start = 0;
        for (index, &run) in self.0.iter().enumerate() {
            for (x, y) in input(index).chunks_exact(run).zip(output.chunks_exact_mut(width)) {
                copy(index, x, &mut y[start..start + run]);
            }
            start += run;
        }
    }
}

impl Train for Cat {
    fn training(&self) -> Training {
        Training::Function(Box::new(*self))
    }
}

impl Differentiable for Cat {
    fn keeps_inputs(&self) -> bool {
        false
    }

    fn passes_gradient(&self, _: &Shapes) -> bool {
        false
    }

    fn backward<'a>(
        &self,
        _: Call<'_>,
        shapes: &Shapes,
        position: usize,
        _: &dyn Fn(usize) -> &'a [f32],
        gradient: &[f32],
        target: &mut [f32],
    ) {
        let Runs(runs) = Runs::new(shapes, self.dim);
        let (before, own) = (runs[..position].iter().sum::<usize>(), runs[position]);
        let all = runs.iter().sum();
        let rows = target.chunks_exact_mut(own).zip(gradient.chunks_exact(all));
        rows.for_each(|(to, from)| to.copy_from_slice(&from[before..before + own]));
    }
}
