//! Steps that compute several nodes at once.

use std::any::Any;
use std::sync::Arc;

use posterize_kernels::int8::{self, InvertedResidual};

use super::step::{Step, StepKernel};
use crate::graph::{Graph, NodeId};
use crate::ops::kernel::{Call, Kernel};
use crate::ops::{Int8Add, Int8Conv2d};

/// Makes one step of each int8 inverted residual: a depthwise convolution and the pointwise one
/// behind it, the pointwise one before it, and the addition of the block's input, where there are
/// any. Makes one step of a convolution and the addition behind it elsewhere. Nothing else may use
/// the values in between. Blocks whose layers are as fast alone remain layers.
pub(super) fn fuse(graph: &Graph, steps: Vec<Step>) -> Vec<Step> {
    let mut users: Vec<Vec<NodeId>> = vec![Vec::new(); graph.nodes().len()];
    for (id, node) in graph.iter() {
        node.inputs.iter().for_each(|input| users[input.0].push(id));
    }
    // Whoever asked for an output uses it as well.
    for output in graph.outputs() {
        users[output.node.0].push(output.node);
    }
    let mut step_of: Vec<Option<usize>> = vec![None; graph.nodes().len()];
    for (index, step) in steps.iter().enumerate() {
        step_of[step.output().0] = Some(index);
    }
    let pattern = Pattern { steps: &steps, users, step_of };

    let mut fused: Vec<Option<Step>> = steps.iter().map(|_| None).collect();
    let mut replaced = vec![false; steps.len()];
    let mut replace = |found: Option<(Vec<usize>, Step)>| {
        let Some((parts, step)) = found else { return };
        // A block that ends where the next one begins shares no step with it, but two patterns can
        // both want a pointwise convolution between two depthwise ones, or an addition.
        if parts.iter().any(|&part| replaced[part]) {
            return;
        }
        for &part in &parts {
            replaced[part] = true;
        }
        fused[parts[parts.len() - 1]] = Some(step);
    };
    for index in 0..steps.len() {
        replace(pattern.inverted_residual(index));
    }
    for index in 0..steps.len() {
        replace(pattern.added(index));
    }
    let pairs = steps.into_iter().zip(fused).zip(replaced);
    pairs.filter_map(|((step, fused), replaced)| fused.or((!replaced).then_some(step))).collect()
}

/// What blocks are found in.
struct Pattern<'a> {
    steps: &'a [Step],
    /// Which nodes use each node's output.
    users: Vec<Vec<NodeId>>,
    /// The step that computes each node's output.
    step_of: Vec<Option<usize>>,
}

impl Pattern<'_> {
    /// The block around the depthwise convolution at step `depthwise`: its steps, and what replaces
    /// them.
    fn inverted_residual(&self, depthwise: usize) -> Option<(Vec<usize>, Step)> {
        let filter = self.convolution(depthwise).filter(|conv| conv.geometry().is_depthwise())?;
        let project = self.only_user(depthwise)?;
        let projection = self.convolution(project)?;
        let expand = self.step_of[self.steps[depthwise].inputs[0].0]
            .filter(|&expand| self.only_user(expand) == Some(depthwise))
            .filter(|&expand| {
                self.convolution(expand).is_some_and(|e| e.geometry().is_pointwise())
            });
        let first = &self.steps[expand.unwrap_or(depthwise)];

        let input = first.inputs[0];
        let add = self.only_user(project).and_then(|index| {
            let add = self.addition(index)?;
            let projected = self.steps[project].output();
            match *self.steps[index].inputs {
                [a, b] if a == input && b == projected => Some((index, add.clone())),
                [a, b] if a == projected && b == input => Some((index, add.swapped())),
                _ => None,
            }
        });
        let (added, add) = add.unzip();

        let block = InvertedResidual::new(
            expand.and_then(|expand| self.convolution(expand)).cloned(),
            Arc::clone(filter),
            Arc::clone(projection),
            add,
            self.kernel::<Int8Conv2d>(expand.unwrap_or(depthwise))?.size,
        )
        .filter(InvertedResidual::is_worthwhile)?;
        let parts: Vec<usize> =
            expand.into_iter().chain([depthwise, project]).chain(added).collect();
        let step = Step {
            nodes: parts.iter().map(|&part| self.steps[part].output()).collect(),
            kernel: StepKernel::Int8(Box::new(Block(block))),
            inputs: vec![input],
        };
        Some((parts, step))
    }

    /// The addition at step `add` and, of the convolutions that it sums up with something else, the
    /// last: both steps, and what replaces them.
    fn added(&self, add: usize) -> Option<(Vec<usize>, Step)> {
        let step = &self.steps[add];
        let kernel = self.addition(add)?;
        let [a, b] = *step.inputs else { return None };
        let sides = [(a, b, kernel.clone()), (b, a, kernel.swapped())];
        let (last, other, kernel) = sides
            .into_iter()
            .filter_map(|(side, other, kernel)| Some((self.step_of[side.0]?, other, kernel)))
            .filter(|&(side, ..)| self.only_user(side) == Some(add))
            .filter(|&(side, ..)| self.convolution(side).is_some_and(|conv| conv.adds()))
            .max_by_key(|&(side, ..)| side)?;
        let conv = &self.steps[last];
        let Int8Conv2d { packed, size } = self.kernel(last)?;
        let fused = Conv2dAdd { conv: Arc::clone(packed), add: kernel, size: *size };
        let fused = Step {
            nodes: vec![conv.output(), step.output()],
            kernel: StepKernel::Int8(Box::new(fused)),
            inputs: vec![conv.inputs[0], other],
        };
        Some((vec![last, add], fused))
    }

    /// The int8 kernel of a step, where it is of that type.
    fn kernel<K: Kernel<u8>>(&self, step: usize) -> Option<&K> {
        let StepKernel::Int8(kernel) = &self.steps[step].kernel else { return None };
        let kernel: &dyn Any = kernel.as_ref();
        kernel.downcast_ref()
    }

    fn convolution(&self, step: usize) -> Option<&Arc<int8::Conv2d>> {
        self.kernel(step).map(|Int8Conv2d { packed, .. }| packed)
    }

    fn addition(&self, step: usize) -> Option<&int8::Add> {
        self.kernel(step).map(|Int8Add { kernel }| kernel)
    }

    /// The one step that uses a step's output.
    fn only_user(&self, step: usize) -> Option<usize> {
        let output = self.steps[step].output();
        match *self.users[output.0] {
            [user] if user != output => self.step_of[user.0],
            _ => None,
        }
    }
}

/// An inverted residual.
#[derive(Debug)]
struct Block(InvertedResidual);

impl Kernel<u8> for Block {
    fn name(&self) -> &'static str {
        self.0.kernel_name()
    }

    fn scratch_len(&self, threads: usize, _: usize) -> usize {
        self.0.scratch_len(threads)
    }

    fn run<'a>(
        &self,
        call: Call<'_>,
        input: &dyn Fn(usize) -> &'a [u8],
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        self.0.run(call.pool, call.batch, input(0), output, scratch);
    }
}

/// A convolution, and the addition of the step's second input to what it gives.
#[derive(Debug)]
struct Conv2dAdd {
    conv: Arc<int8::Conv2d>,
    add: int8::Add,
    size: [usize; 2],
}

impl Kernel<u8> for Conv2dAdd {
    fn name(&self) -> &'static str {
        self.conv.kernel_name_with_add()
    }

    fn scratch_len(&self, threads: usize, batch: usize) -> usize {
        self.conv.scratch_len(threads, batch, self.size)
    }

    fn run<'a>(
        &self,
        call: Call<'_>,
        input: &dyn Fn(usize) -> &'a [u8],
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        let added = (&self.add, input(1));
        self.conv.run_and_add(call.pool, (call.batch, self.size), input(0), added, output, scratch);
    }
}
