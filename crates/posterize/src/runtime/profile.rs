//! Where the time of a run goes.

use std::time::Duration;

use serde::Serialize;

use super::input::{Given, Values};
use super::plan::Plan;
use crate::graph::{Graph, NodeId};
use crate::ops::Op;

/// The median times of an engine's steps; see [`Engine::profile`](super::Engine::profile).
///
/// ```
/// use posterize::ops::Conv2d;
/// use posterize::runtime::{Options, compile};
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let mut engine = compile(&model, Options::new(1)?)?;
/// let profile = engine.profile(&Tensor::zeros([2, 3, 8, 8]), 3)?;
/// assert_eq!(profile.layers.last().unwrap().kind, "Conv2d");
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// The steps in execution order.
    pub layers: Vec<LayerProfile>,
    /// Memory for all activations of the batch, scratch included, in bytes.
    pub activation_bytes: usize,
}

/// The median time of one step of a run.
///
/// ```
/// use posterize::ops::Conv2d;
/// use posterize::runtime::{Options, compile};
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let mut engine = compile(&model, Options::new(1)?)?;
/// let profile = engine.profile(&Tensor::zeros([2, 3, 8, 8]), 3)?;
/// let conv = profile.layers.last().unwrap();
/// assert_eq!((conv.precision, conv.multiply_adds), ("float32", 2 * (8 * 6 * 6) * (3 * 3 * 3)));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerProfile {
    /// The name of the node, or of the last one that the step computes.
    pub name: String,
    /// Its operator: `ConvReLU6_2d`.
    pub kind: String,
    /// The kernel that ran.
    pub kernel: &'static str,
    /// `float32` or `int8`, the output's type; or `int8 dynamic` for a layer that is quantized dynamically, which
    /// multiplies int8 values and has a float output.
    pub precision: &'static str,
    /// The output's shape for the whole batch.
    pub shape: Vec<usize>,
    /// Multiply-adds for the whole batch; 0 where there is no product.
    pub multiply_adds: u64,
    /// Median time for the whole batch, in seconds.
    pub seconds: f64,
}

/// The profile of runs whose times are given: of preparing the input, then of each step.
pub(super) fn of(
    plan: &Plan,
    graph: &Graph,
    given: &Given<'_>,
    threads: usize,
    times: Vec<Vec<Duration>>,
) -> Profile {
    let batch = given.shape.batch();
    let mut times = times.into_iter().map(|mut all| {
        all.sort_unstable();
        all.get(all.len() / 2).map_or(0.0, Duration::as_secs_f64)
    });
    let layer = |nodes: &[NodeId], kernel: &'static str, precision: &'static str, seconds: f64| {
        let last = nodes[nodes.len() - 1];
        let node = graph.node(last);
        let is_dynamic = matches!(node.op, Op::DynamicQuantizedLinear(_));
        LayerProfile {
            name: node.name.clone(),
            kind: node.op.kind(),
            kernel,
            precision: if is_dynamic { "int8 dynamic" } else { precision },
            shape: plan.shape(last, batch),
            multiply_adds: nodes
                .iter()
                .map(|id| plan.shapes[id.0].multiply_adds * batch as u64)
                .sum(),
            seconds,
        }
    };
    let preparation = match given.values {
        Values::InPlace(_) => None,
        Values::Contiguous(_) => Some("channels_last"),
        Values::Pixels(_) => plan.reads_float_input.then_some("normalize"),
    };
    let seconds = times.next().unwrap_or_default();
    let input = preparation.map(|kernel| layer(&[NodeId(0)], kernel, "float32", seconds));
    let steps =
        plan.steps.iter().zip(times).map(|(step, time)| {
            layer(&step.nodes, step.kernel.name(), step.kernel.precision(), time)
        });
    let [float_scratch, int8_scratch] = plan.scratch_len(threads, batch);
    let activation_bytes =
        4 * (plan.float_len * batch + float_scratch) + plan.int8_len * batch + int8_scratch;
    Profile { layers: input.into_iter().chain(steps).collect(), activation_bytes }
}
