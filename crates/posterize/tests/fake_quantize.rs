//! Tests that fake quantization equals PyTorch's (`testdata/fake_quantize`).

use posterize::quantization::{Dtype, FakeQuantize, ObserverKind, ObserverSpec, QParams, QScheme};
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    functional: Vec<Functional>,
    modules: Vec<Module>,
}

#[derive(Deserialize)]
struct Functional {
    scales: Vec<f32>,
    zero_points: Vec<i32>,
    axis: Option<usize>,
    quant_range: (i32, i32),
    shape: Vec<usize>,
    x: Vec<f32>,
    y: Vec<f32>,
    mask: Vec<u8>,
}

#[derive(Deserialize)]
struct Module {
    name: String,
    spec: Spec,
    shape: Vec<usize>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Spec {
    kind: ObserverKind,
    dtype: Dtype,
    qscheme: QScheme,
    quant_range: Option<(i32, i32)>,
    #[serde(default)]
    reduce_range: bool,
}

#[derive(Deserialize)]
struct Step {
    observer_enabled: bool,
    fake_quant_enabled: bool,
    x: Vec<f32>,
    y: Vec<f32>,
    mask: Vec<u8>,
    scales: Vec<f32>,
    zero_points: Vec<i32>,
}

fn goldens() -> Goldens {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/fake_quantize/goldens.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn mask(gradient: &[f32]) -> Vec<u8> {
    gradient.iter().map(|&g| u8::from(g != 0.0)).collect()
}

#[test]
fn outputs_and_gradients_equal_pytorchs() {
    let cases = goldens().functional;
    assert!(cases.len() >= 12);
    for case in cases {
        let qparams: Vec<_> = case
            .scales
            .iter()
            .zip(&case.zero_points)
            .map(|(&scale, &zero_point)| QParams { scale, zero_point })
            .collect();
        let inner = case.axis.map_or(case.x.len(), |axis| case.shape[axis + 1..].iter().product());
        let mut output = vec![f32::NAN; case.x.len()];
        let mut gradient = vec![1.0; case.x.len()];
        let runs =
            case.x.chunks(inner).zip(output.chunks_mut(inner)).zip(gradient.chunks_mut(inner));
        for (((x, output), gradient), qparams) in runs.zip(qparams.iter().cycle()) {
            qparams.fake_quantize(case.quant_range, x, output);
            qparams.fake_quantize_backward(case.quant_range, x, gradient);
        }
        assert_eq!(output, case.y, "{qparams:?}");
        assert_eq!(mask(&gradient), case.mask, "{qparams:?}");
    }
}

#[test]
fn every_step_of_a_module_equals_pytorchs() {
    for Module { name, spec, shape, steps } in goldens().modules {
        let spec = ObserverSpec {
            dtype: spec.dtype,
            qscheme: spec.qscheme,
            quant_range: spec.quant_range,
            reduce_range: spec.reduce_range,
            ..ObserverSpec::new(spec.kind)
        };
        let mut module = FakeQuantize::new(&spec).unwrap();
        for (number, step) in steps.iter().enumerate() {
            module.enable_observer(step.observer_enabled);
            module.enable_fake_quant(step.fake_quant_enabled);
            let mut output = vec![f32::NAN; step.x.len()];
            let mut gradient = vec![1.0; step.x.len()];
            module.forward(&step.x, &shape, &mut output).unwrap();
            module.backward(&step.x, &shape, &mut gradient).unwrap();
            assert_eq!(output, step.y, "{name}, step {number}");
            assert_eq!(mask(&gradient), step.mask, "{name}, step {number}");
            let channels = module.qparams().channels();
            assert!(channels.iter().map(|qparams| &qparams.scale).eq(&step.scales), "{name}");
            assert!(
                channels.iter().map(|qparams| &qparams.zero_point).eq(&step.zero_points),
                "{name}, step {number}"
            );
        }
    }
}
