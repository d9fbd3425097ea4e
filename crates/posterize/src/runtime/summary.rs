//! What a plan does, for people.

use serde::Serialize;

use super::plan::{Plan, Slot};
use super::step::Step;
use crate::graph::Graph;

/// The steps of a plan and where their values lie; see [`Engine::plan_summary`](super::Engine::plan_summary).
///
/// ```
/// use posterize::Architecture;
/// use posterize::ops::Conv2d;
/// use posterize::runtime::{Options, compile};
///
/// let model = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let plan = compile(&model, Options::new(1)?)?.plan_summary([2, 3, 8, 8])?;
/// assert_eq!(plan.input_shape, [2, 3, 8, 8]);
/// assert!(plan.float_bytes >= 4 * 2 * 8 * 6 * 6);
/// assert_eq!(plan.int8_bytes, 0);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanSummary {
    /// `[N, C, H, W]` of the batch.
    pub input_shape: [usize; 4],
    /// In execution order.
    pub steps: Vec<PlannedStep>,
    /// Bytes of the arena of f32 values.
    pub float_bytes: usize,
    /// Bytes of the arena of u8 values.
    pub int8_bytes: usize,
    /// Bytes of the kernels' scratch memory, that of all threads.
    pub scratch_bytes: usize,
}

impl PlanSummary {
    /// Bytes of all activations together, scratch memory included.
    pub fn activation_bytes(&self) -> usize {
        self.float_bytes + self.int8_bytes + self.scratch_bytes
    }
}

/// A step of a plan.
///
/// ```
/// use posterize::Architecture;
/// use posterize::ops::Conv2d;
/// use posterize::runtime::{Options, compile};
///
/// let model = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let plan = compile(&model, Options::new(1)?)?.plan_summary([2, 3, 8, 8])?;
/// let conv = plan.steps.last().unwrap();
/// assert!(conv.kernel.starts_with("f32_"), "{}", conv.kernel);
/// assert_eq!(conv.output_shape, [2, 8, 6, 6]);
/// assert_eq!(conv.bytes, 4 * 2 * 8 * 6 * 6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedStep {
    /// The layers that it computes at once, in execution order; the output is the last one's.
    pub layers: Vec<String>,
    /// Their operators: `ConvReLU6_2d`.
    pub kinds: Vec<String>,
    /// The kernel that runs.
    pub kernel: &'static str,
    /// The output's shape.
    pub output_shape: Vec<usize>,
    /// `float32` or `int8`: the output's type, and the arena that it lies in.
    pub precision: &'static str,
    /// Where in that arena the output begins, in bytes.
    pub offset: usize,
    /// Bytes of the output.
    pub bytes: usize,
}

impl PlanSummary {
    pub(super) fn new(plan: &Plan, graph: &Graph, input_shape: [usize; 4], threads: usize) -> Self {
        let batch = input_shape[0];
        let [float_scratch, int8_scratch] = plan.scratch_len(threads, batch);
        Self {
            input_shape,
            steps: plan.steps.iter().map(|step| planned(plan, graph, batch, step)).collect(),
            float_bytes: 4 * plan.float_len * batch,
            int8_bytes: plan.int8_len * batch,
            scratch_bytes: 4 * float_scratch + int8_scratch,
        }
    }
}

fn planned(plan: &Plan, graph: &Graph, batch: usize, step: &Step) -> PlannedStep {
    let (offset, bytes) = match &plan.slots[step.output().0] {
        Slot::Float(range) => (4 * range.start * batch, 4 * range.len() * batch),
        Slot::Int8(range) => (range.start * batch, range.len() * batch),
        Slot::Input(_) | Slot::Inside => (0, 0),
    };
    let nodes = || step.nodes.iter().map(|&id| graph.node(id));
    PlannedStep {
        layers: nodes().map(|node| node.name.clone()).collect(),
        kinds: nodes().map(|node| node.op.kind()).collect(),
        kernel: step.kernel.name(),
        output_shape: plan.shape(step.output(), batch),
        precision: step.kernel.precision(),
        offset,
        bytes,
    }
}
