//! Concatenation.

use std::ops::RangeInclusive;

use posterize_kernels::Pool;
use posterize_kernels::int8::{QParams8, Table, requantize_table};
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_functional, reads_each_value_once};
use super::kernel::{Compute, FloatContext, Inputs, Int8Context, Made, Shapes, function};
use super::select::{Axis, Select, for_each_row};
use super::shapes::expect_axis;
use super::training::{Backward, Train, Training, linear};
use super::{Int8Rule, Operator, Saved};

/// `torch.cat(tensors, dim)`: concatenates one or more tensors along an axis.
///
/// ```
/// use posterize::ops::{Cat, Op};
///
/// let cat = Op::from(Cat::new(1));
/// assert_eq!(cat.infer(&[&[1, 8, 7, 7], &[1, 4, 7, 7]])?, [1, 12, 7, 7]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cat {
    /// The axis; 1 is that of the channels. The batch (0) cannot be concatenated.
    pub dim: usize,
}

impl Cat {
    /// Creates a concatenation along `dim`.
    pub const fn new(dim: usize) -> Self {
        Self { dim }
    }
}

impl Operator for Cat {
    fn kind(&self) -> String {
        "Cat".into()
    }

    fn python(&self) -> String {
        String::new()
    }

    prints_as_a_functional!();

    fn arity(&self) -> RangeInclusive<usize> {
        1..=usize::MAX
    }

    no_parameters!();

    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        if self.dim == 0 {
            return Err("cat along the batch axis; dim must be at least 1".into());
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let mut shape = inputs[0].to_vec();
        expect_axis(self.dim, &shape)?;
        for other in &inputs[1..] {
            let alike = other.len() == shape.len()
                && (0..shape.len()).all(|axis| axis == self.dim || other[axis] == shape[axis]);
            if !alike {
                return Err(format!("cannot concatenate {other:?} to {:?}", inputs[0]));
            }
            // Saturates, so that the caller's check finds it too large.
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
        let parts = self.parts(shapes);
        function("cat", move |call, input, output| {
            parts.each(call.pool, input, output, |_, from, to| to.copy_from_slice(from));
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        // As torch.ops.quantized.cat: inputs with another scale than the output are requantized.
        let table = |&from: &QParams8| {
            (from != cx.output)
                .then(|| Table::from_values(requantize_table(from, cx.output, [0, u8::MAX])))
        };
        let tables: Vec<Option<Table>> = cx.inputs.iter().map(table).collect();
        let parts = self.parts(shapes);
        function("cat", move |call, input, output| {
            parts.each(call.pool, input, output, |index, from, to| match &tables[index] {
                None => to.copy_from_slice(from),
                Some(table) => table.run_here(call.isa, from, to),
            });
        })
    }
}

impl Cat {
    fn parts(self, shapes: &Shapes) -> Parts {
        Parts(shapes.inputs.iter().map(|input| Axis::new(input, self.dim).values()).collect())
    }
}

/// The number of contiguous values of each input in the output.
struct Parts(Vec<usize>);

impl Parts {
    /// Calls `copy` with the index of each input, each run of its contiguous values, and their place
    /// in the output.
    fn each<T: Copy + Send + Sync>(
        &self,
        pool: &Pool,
        input: Inputs<'_, '_, T>,
        output: &mut [T],
        copy: impl Fn(usize, &[T], &mut [T]) + Sync,
    ) {
        let width = self.0.iter().sum();
        let mut start = 0;
        for (index, &len) in self.0.iter().enumerate() {
            let values = input(index);
            for_each_row(pool, output, width, |row, output| {
                copy(index, &values[row * len..][..len], &mut output[start..start + len]);
            });
            start += len;
        }
    }
}

impl Train for Cat {
    fn training(&self) -> Training {
        let dim = self.dim;
        Training::Function(linear(move |from, target| {
            let Backward { call, shapes, position, gradient, .. } = from;
            let size = |input: &Vec<usize>| input[dim];
            let start: usize = shapes.inputs[..position].iter().map(size).sum();
            let own = start..start + size(&shapes.inputs[position]);
            Select::new(Axis::new(&shapes.output, dim), own).copy(call.pool, gradient, target);
        }))
    }
}
