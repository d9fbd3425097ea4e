//! What a step changes besides gradients, so that a refused one can be undone.

use std::collections::BTreeMap;

use super::layers::Program;
use crate::graph::NodeId;
use crate::quantization::{FakeQuantize, QatModel};

/// The number of steps, the running estimates and the fake quantization before a step.
#[derive(Debug, Default)]
pub(super) struct Before {
    step: u64,
    /// The running mean and variance of each batch norm. The memory is used again for each step.
    running: Vec<[Vec<f32>; 2]>,
    quantization: Option<[BTreeMap<NodeId, FakeQuantize>; 2]>,
}

impl Before {
    pub(super) fn save(&mut self, step: u64, net: &Program, qat: Option<&QatModel>) {
        self.step = step;
        self.running.resize_with(net.running.len(), Default::default);
        for ([mean, var], running) in self.running.iter_mut().zip(&net.running) {
            mean.clone_from(&running.mean.value);
            var.clone_from(&running.var.value);
        }
        self.quantization = qat.map(QatModel::fake_quantization);
    }

    /// Returns the number of steps.
    pub(super) fn restore(&mut self, net: &mut Program, qat: Option<&mut QatModel>) -> u64 {
        for ([mean, var], running) in self.running.iter().zip(&mut net.running) {
            running.mean.value.clone_from(mean);
            running.var.value.clone_from(var);
        }
        if let (Some(qat), Some(saved)) = (qat, self.quantization.take()) {
            qat.set_fake_quantization(saved);
        }
        self.step
    }
}
