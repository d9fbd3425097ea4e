//! Products of two matrices.

use posterize_kernels::Pool;
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_hyper_parameters, prints_as_a_functional};
use super::kernel::{Compute, FloatContext, Inputs, Int8Context, Made, Shapes, function};
use super::moves::strides;
use super::pairs::Pairs;
use super::select::for_each_row;
use super::shapes::values;
use super::training::{Backward, Train, Training, nonlinear};
use super::{Int8Rule, Operator, Parameter, Saved, work};

/// `torch.matmul`: the products of the matrices in the last two axes of two tensors.
///
/// From `[N, …, m, k]` and `[N, …, k, n]` to `[N, …, m, n]`; the axes before the last two are the same in
/// both. It stays in float in an int8 network.
///
/// ```
/// use posterize::ops::{MatMul, Op};
///
/// let matmul = Op::from(MatMul);
/// assert_eq!(matmul.infer(&[&[1, 4, 6], &[1, 6, 5]])?, [1, 4, 5]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MatMul;

const NO_INT8: &str = "products of two activations have no int8 kernel";

impl Operator for MatMul {
    fn kind(&self) -> String {
        "MatMul".into()
    }

    no_hyper_parameters!();
    prints_as_a_functional!();

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        2..=2
    }

    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    /// Not counted: the number depends on the inputs, of which only [`Operator::work`] knows.
    fn multiply_adds(&self, _: &[usize]) -> u64 {
        0
    }

    fn work(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        let inner = inputs[0].last().map_or(0, |&inner| inner as u64);
        // Its products are not computed in whole vectors.
        let products = values(output).saturating_mul(inner).saturating_mul(16);
        work::of_values(inputs, output).saturating_add(products)
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (a, b) = (inputs[0], inputs[1]);
        let outer = a.len().saturating_sub(2);
        let fits =
            outer > 0 && b.len() == a.len() && a[..outer] == b[..outer] && a[outer + 1] == b[outer];
        if !fits {
            return Err(format!(
                "expected inputs [N, …, m, k] and [N, …, k, n] with the same sizes before the last two \
                 axes, found {a:?} and {b:?}"
            ));
        }
        Ok([&a[..=outer], &b[outer + 1..]].concat())
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: NO_INT8 }
    }
}

impl Saved for MatMul {
    const VERSION: u32 = 1;
}

/// Sums of products of two factors over an axis that the output does not have.
#[derive(Clone, Debug)]
struct Products {
    pairs: Pairs,
    /// Number of products of each sum, and the distance between neighbors in both factors.
    inner: usize,
    steps: [usize; 2],
}

impl Products {
    /// Creates the product of two factors, of which a transposed one has its last two axes exchanged.
    fn new(output: &[usize], factors: [&[usize]; 2], transposed: [bool; 2]) -> Self {
        let (row, column) = (output.len() - 2, output.len() - 1);
        // The axes of a factor that its rows and columns are.
        let axes = |factor: usize| {
            if transposed[factor] { [column, row] } else { [row, column] }
        };
        let pairs = Pairs::new(output, factors, |factor, strides, axis| {
            let [rows, columns] = axes(factor);
            match (axis, factor) {
                (axis, _) if axis < row => strides[axis],
                (axis, 0) if axis == row => strides[rows],
                (axis, 1) if axis == column => strides[columns],
                _ => 0,
            }
        });
        let [left, right] = factors.map(strides);
        let steps = [left[axes(0)[1]], right[axes(1)[0]]];
        Self { pairs, inner: factors[0][axes(0)[1]], steps }
    }

    fn run(&self, pool: &Pool, factors: [&[f32]; 2], output: &mut [f32]) {
        let (width, [step_a, step_b]) = self.pairs.last();
        for_each_row(pool, output, width, |row, output| {
            let [start_a, start_b] = self.pairs.row(row);
            output.fill(0.0);
            for inner in 0..self.inner {
                let a = &factors[0][start_a + inner * self.steps[0]..];
                let b = &factors[1][start_b + inner * self.steps[1]..];
                for (at, sum) in output.iter_mut().enumerate() {
                    *sum += a[at * step_a] * b[at * step_b];
                }
            }
        });
    }
}

impl Compute for MatMul {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let factors = [shapes.inputs[0].as_slice(), &shapes.inputs[1]];
        let products = Products::new(&shapes.output, factors, [false; 2]);
        function("matmul", move |call, input: Inputs<'_, '_, f32>, output| {
            products.run(call.pool, [input(0), input(1)], output);
        })
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err(NO_INT8.into())
    }
}

impl Train for MatMul {
    /// `gradient · bᵀ` and `aᵀ · gradient`.
    fn training(&self) -> Training {
        Training::Function(nonlinear(|from, target| {
            let Backward { call, shapes, position, gradient, input } = from;
            let [a, b] = [shapes.inputs[0].as_slice(), &shapes.inputs[1]];
            if position == 0 {
                let products = Products::new(a, [&shapes.output, b], [false, true]);
                products.run(call.pool, [gradient, input(1)], target);
            } else {
                let products = Products::new(b, [a, &shapes.output], [true, false]);
                products.run(call.pool, [input(0), gradient], target);
            }
        }))
    }
}
