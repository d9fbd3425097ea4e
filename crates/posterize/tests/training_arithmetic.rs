//! Tests that losses, the optimizer, clipping and schedules equal PyTorch's (`testdata/training`).

use std::collections::BTreeMap;

use posterize::Tensor;
use posterize::training::{
    AdamOptions, Criterion, CrossEntropy, Decay, Distillation, DistillationLoss, LearningRate,
    Optimizer, OptimizerBuffer, OptimizerOptions, ParameterGroup, Schedule, Sgd, SgdOptions,
    TrainedMut, clip_grad_norm,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    cross_entropy: Vec<LossCase>,
    sgd: Vec<SgdCase>,
    schedules: Vec<ScheduleCase>,
    distillation: Vec<DistillationCase>,
    adam: Vec<AdamCase>,
}

#[derive(Deserialize)]
struct DistillationCase {
    shape: [usize; 2],
    logits: Vec<f32>,
    teacher: Vec<f32>,
    labels: Vec<usize>,
    label_smoothing: f64,
    alpha: f64,
    temperature: f64,
    loss: f64,
    gradient: Vec<f32>,
}

#[derive(Deserialize)]
struct LossCase {
    shape: [usize; 2],
    logits: Vec<f32>,
    labels: Vec<usize>,
    label_smoothing: f64,
    loss: f64,
    gradient: Vec<f32>,
    correct: usize,
}

#[derive(Deserialize)]
struct SgdCase {
    momentum: f64,
    weight_decay: f64,
    nesterov: bool,
    decay_all: bool,
    clip: Option<f64>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    lr: f64,
    weight_grad: Vec<f32>,
    bias_grad: Vec<f32>,
    norm: Option<f64>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Deserialize)]
struct AdamCase {
    optimizer: String,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    decay_all: bool,
    weight: Vec<f32>,
    bias: Vec<f32>,
    steps: Vec<AdamStep>,
}

#[derive(Deserialize)]
struct AdamStep {
    lr: f64,
    weight_grad: Vec<f32>,
    bias_grad: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    exp_avg: Vec<f32>,
    exp_avg_sq: Vec<f32>,
}

#[derive(Deserialize)]
struct ScheduleCase {
    schedule: Schedule,
    warmup: usize,
    total: usize,
    rates: Vec<f64>,
}

fn goldens() -> Goldens {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/training/goldens.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[track_caller]
fn close(found: &[f32], expected: &[f32], relative: f32, absolute: f32) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let allowed = absolute + relative * expected.abs();
        assert!((found - expected).abs() <= allowed, "{found} is not {expected}");
    }
}

#[test]
fn cross_entropy_and_its_gradient_equal_pytorchs() {
    for case in goldens().cross_entropy {
        let logits = Tensor::new(case.shape, case.logits).unwrap();
        let mut gradient = vec![f32::NAN; case.gradient.len()];
        let loss = CrossEntropy { label_smoothing: case.label_smoothing }
            .forward_backward(&logits, &case.labels, &mut gradient)
            .unwrap();
        close(&[loss.value], &[case.loss as f32], 1e-6, 0.0);
        close(&gradient, &case.gradient, 1e-6, 1e-12);
        assert_eq!(loss.correct, case.correct);
    }
}

#[test]
fn distillation_and_its_gradient_equal_pytorchs() {
    for case in goldens().distillation {
        let logits = Tensor::new(case.shape, case.logits).unwrap();
        let teacher = Tensor::new(case.shape, case.teacher).unwrap();
        let mut gradient = vec![f32::NAN; case.gradient.len()];
        let loss = DistillationLoss {
            labels: CrossEntropy { label_smoothing: case.label_smoothing },
            distillation: Distillation { alpha: case.alpha, temperature: case.temperature },
            teacher: &teacher,
        };
        let found = loss.forward_backward(&logits, &case.labels, &mut gradient).unwrap();
        close(&[found.value], &[case.loss as f32], 1e-6, 1e-12);
        close(&gradient, &case.gradient, 1e-6, 1e-8);
    }
}

#[test]
fn sgd_and_clipping_equal_pytorchs() {
    for case in goldens().sgd {
        let mut sgd = Sgd::new(SgdOptions {
            momentum: case.momentum,
            weight_decay: case.weight_decay,
            decay: if case.decay_all { Decay::All } else { Decay::Weights },
            nesterov: case.nesterov,
        })
        .unwrap();
        let (mut weight, mut bias) = (case.weight, case.bias);
        for mut step in case.steps {
            let mut trained = [
                TrainedMut {
                    name: "weight",
                    group: ParameterGroup::Weight,
                    lr_factor: 1.0,
                    value: &mut weight,
                    gradient: &mut step.weight_grad,
                },
                TrainedMut {
                    name: "bias",
                    group: ParameterGroup::Bias,
                    lr_factor: 1.0,
                    value: &mut bias,
                    gradient: &mut step.bias_grad,
                },
            ];
            if let Some(max_norm) = case.clip {
                let norm = clip_grad_norm(&mut trained, max_norm).unwrap();
                assert!((norm / step.norm.unwrap() - 1.0).abs() < 1e-6);
            }
            sgd.step(step.lr, &mut trained);
            close(&weight, &step.weight, 2e-6, 1e-7);
            close(&bias, &step.bias, 2e-6, 1e-7);
        }
        let buffers = sgd.state().buffers;
        assert_eq!(
            buffers.values().next().map_or(0, BTreeMap::len),
            if case.momentum > 0.0 { 2 } else { 0 }
        );
    }
}

#[test]
fn adam_and_adamw_equal_pytorchs() {
    for case in goldens().adam {
        let options = AdamOptions {
            betas: case.betas,
            eps: case.eps,
            weight_decay: case.weight_decay,
            decay: if case.decay_all { Decay::All } else { Decay::Weights },
        };
        let options = match case.optimizer.as_str() {
            "Adam" => OptimizerOptions::Adam(options),
            "AdamW" => OptimizerOptions::AdamW(options),
            other => panic!("{other}"),
        };
        let mut adam = options.build().unwrap();
        let (mut weight, mut bias) = (case.weight, case.bias);
        for mut step in case.steps {
            let tensor = |name, group, value, gradient| TrainedMut {
                name,
                group,
                lr_factor: 1.0,
                value,
                gradient,
            };
            adam.step(
                step.lr,
                &mut [
                    tensor("weight", ParameterGroup::Weight, &mut weight, &mut step.weight_grad),
                    tensor("bias", ParameterGroup::Bias, &mut bias, &mut step.bias_grad),
                ],
            );
            close(&weight, &step.weight, 2e-6, 1e-7);
            close(&bias, &step.bias, 2e-6, 1e-7);
            let state = adam.state();
            for (kind, expected) in [
                (OptimizerBuffer::ExpAvg, &step.exp_avg),
                (OptimizerBuffer::ExpAvgSq, &step.exp_avg_sq),
            ] {
                // Squared gradients may be as small as 1e-16.
                close(&state.buffers[&kind]["weight"], expected, 1e-5, 1e-20);
            }
        }
        assert_eq!(adam.state().step, 6);
    }
}

#[test]
fn learning_rates_equal_pytorchs() {
    for case in goldens().schedules {
        let lr = LearningRate {
            base: 0.3,
            schedule: case.schedule,
            warmup: case.warmup,
            total: case.total,
        };
        lr.validate().unwrap();
        for (step, expected) in case.rates.iter().enumerate() {
            let found = lr.at(step);
            assert!((found - expected).abs() < 1e-12, "{:?} {step}: {found}", case.schedule);
        }
    }
}
