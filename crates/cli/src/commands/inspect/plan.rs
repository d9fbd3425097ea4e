//! Prints the steps of an engine.

use std::fmt;

use posterize::runtime::PlanSummary;
use serde::Serialize;

use super::module_path::is_below;
use crate::ui::{Align, Table, count, megabytes};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) model: String,
    pub(super) isa: String,
    pub(super) threads: usize,
    /// Bytes of all activations, scratch memory included.
    pub(super) activation_bytes: usize,
    #[serde(flatten)]
    pub(super) plan: PlanSummary,
}

impl Report {
    /// Keeps only the steps that compute layers of the module `path`.
    pub(super) fn below(mut self, path: &str) -> Self {
        self.plan.steps.retain(|step| step.layers.iter().any(|layer| is_below(path, layer)));
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("step", Align::Right),
            ("layers", Align::Left),
            ("kernel", Align::Left),
            ("output shape", Align::Left),
            ("memory", Align::Left),
            ("start byte", Align::Right),
            ("end byte", Align::Right),
            ("bytes", Align::Right),
        ]);
        let mut fused = 0;
        for (index, step) in self.plan.steps.iter().enumerate() {
            let layers = match &*step.layers {
                [first, .., last] => {
                    fused += 1;
                    format!("{first} … {last}")
                }
                layers => layers.concat(),
            };
            table.row([
                index.to_string(),
                layers,
                step.kernel.into(),
                format!("{:?}", step.output_shape),
                step.precision.into(),
                count(step.offset as u64),
                count((step.offset + step.bytes) as u64),
                count(step.bytes as u64),
            ]);
        }
        let PlanSummary { input_shape, float_bytes, int8_bytes, scratch_bytes, .. } = &self.plan;
        write!(
            f,
            "{table}\n\n{}: number of steps {}, of which {fused} with several layers, for an input of \
             {input_shape:?} on {} with {} threads\nmemory of activations: {} (float32 {}, int8 {}, \
             scratch {})",
            self.model,
            self.plan.steps.len(),
            self.isa,
            self.threads,
            megabytes(self.activation_bytes as u64),
            megabytes(*float_bytes as u64),
            megabytes(*int8_bytes as u64),
            megabytes(*scratch_bytes as u64),
        )
    }
}
