//! Where the time of a run goes.

use std::time::Duration;

use serde::Serialize;

use super::input::{Given, Values};
use super::plan::Plan;
use crate::graph::{Graph, NodeId};

/// Where the time of a run goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// The steps in execution order.
    pub layers: Vec<LayerProfile>,
    /// Memory for all activations of the batch, scratch included, in bytes.
    pub activation_bytes: usize,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerProfile {
    /// The name of the node, or of the last one that the step computes.
    pub name: String,
    /// Its operator: `ConvReLU6_2d`.
    pub kind: String,
    /// The kernel that ran.
    pub kernel: &'static str,
    /// `float32` or `int8`: the output's type.
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
        LayerProfile {
            name: node.name.clone(),
            kind: node.op.kind(),
            kernel,
            precision,
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
