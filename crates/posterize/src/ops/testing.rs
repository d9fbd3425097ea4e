//! Runs the kernels and gradients of operators in tests.

use posterize_kernels::int8::QParams8;
use posterize_kernels::{Isa, Pool};

use super::Op;
use super::kernel::{Call, FloatContext, Inputs, Int8Context, Int8Weights, Packs, Shapes};
use super::training::{Backward, Training};

/// The number of pictures of each run.
pub(super) const BATCH: usize = 2;

/// Returns the shapes of an operator's inputs, which have a batch of one, and its output.
pub(super) fn shapes(op: &Op, inputs: &[&[usize]]) -> Shapes {
    let output = op.infer(inputs).unwrap_or_else(|error| panic!("{op:?}: {error}"));
    Shapes { inputs: inputs.iter().map(|shape| shape.to_vec()).collect(), output }
}

/// Returns the number of values of a batch.
pub(super) fn len(shape: &[usize]) -> usize {
    BATCH * shape.iter().product::<usize>()
}

/// Returns integers that look random.
pub(super) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(77);
    let next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Returns the output of the float kernel of an operator without parameters.
pub(super) fn float(op: &Op, shapes: &Shapes, inputs: &[Vec<f32>]) -> Vec<f32> {
    let packs = Packs::default();
    let isa = Isa::detect();
    let cx = FloatContext { isa, parameter: &|_| None, int8_weight: None, packs: &packs };
    let kernel = op.compute().float(&cx, shapes).unwrap();
    on_threads(|pool| {
        let Some(kernel) = &kernel else { return inputs[0].clone() };
        let mut output = vec![f32::NAN; len(&shapes.output)];
        let mut scratch = vec![f32::NAN; kernel.scratch_len(pool.threads(), BATCH)];
        let call = Call { isa, pool, batch: BATCH };
        kernel.run(call, &|index| &inputs[index], &mut output, &mut scratch);
        output
    })
}

/// Returns the output of the int8 kernel of an operator, whose inputs and output have these scales.
pub(super) fn int8(
    op: &Op,
    shapes: &Shapes,
    inputs: &[Vec<u8>],
    (from, to): (&[QParams8], QParams8),
    weights: Option<Int8Weights<'_>>,
) -> Vec<u8> {
    let (packs, isa) = (Packs::default(), Isa::detect());
    let inputs_q = from.to_vec();
    let cx =
        Int8Context { isa, inputs: inputs_q, output: to, range: [0, 255], weights, packs: &packs };
    let kernel = op.compute().int8(&cx, shapes).unwrap();
    on_threads(|pool| {
        let Some(kernel) = &kernel else { return inputs[0].clone() };
        let mut output = vec![99; len(&shapes.output)];
        let mut scratch = vec![99; kernel.scratch_len(pool.threads(), BATCH)];
        let call = Call { isa, pool, batch: BATCH };
        kernel.run(call, &|index| &inputs[index], &mut output, &mut scratch);
        output
    })
}

/// Returns the gradient of an input from that of the output.
pub(super) fn backward(
    op: &Op,
    shapes: &Shapes,
    position: usize,
    inputs: &[Vec<f32>],
    gradient: &[f32],
) -> Vec<f32> {
    let Training::Function(function) = op.training() else { panic!("{op:?} is no function") };
    on_threads(|pool| {
        let call = Call { isa: Isa::detect(), pool, batch: BATCH };
        let mut target = vec![f32::NAN; inputs[position].len()];
        let input = |index: usize| inputs[index].as_slice();
        let input: Inputs<'_, '_, f32> = &input;
        function.backward(Backward { call, shapes, position, gradient, input }, &mut target);
        target
    })
}

/// Returns what one thread gives, which three give too.
fn on_threads<T: PartialEq + std::fmt::Debug>(run: impl Fn(&Pool) -> T) -> T {
    let [one, three] = [1, 3].map(|threads| run(&Pool::new(threads)));
    assert_eq!(one, three);
    one
}
