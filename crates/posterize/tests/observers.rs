//! Tests that the scales and zero points of every observer equal PyTorch's (`testdata/observers`).

use posterize::quantization::{Dtype, ObserverKind, ObserverSpec, QScheme};
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    specs: Vec<Spec>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Spec {
    kind: ObserverKind,
    dtype: Dtype,
    qscheme: QScheme,
    ch_axis: usize,
    #[serde(default)]
    reduce_range: bool,
    quant_range: Option<(i32, i32)>,
    eps: Option<f32>,
    averaging_constant: Option<f32>,
}

impl Spec {
    fn observer_spec(&self) -> ObserverSpec {
        let default = ObserverSpec::new(self.kind);
        ObserverSpec {
            dtype: self.dtype,
            qscheme: self.qscheme,
            ch_axis: self.ch_axis,
            reduce_range: self.reduce_range,
            quant_range: self.quant_range,
            eps: self.eps.unwrap_or(default.eps),
            averaging_constant: self.averaging_constant.unwrap_or(default.averaging_constant),
            ..default
        }
    }
}

#[derive(Deserialize)]
struct Case {
    name: String,
    batches: Vec<Form>,
    /// The scales and zero points for each spec; only one if those of all channels are equal.
    qparams: Vec<Option<(Vec<f32>, Vec<i32>)>>,
}

/// A tensor given by a formula, which is the same as in `testdata/observers/generate.py`.
#[derive(Deserialize)]
struct Form {
    #[serde(rename = "form")]
    formula: String,
    seed: u32,
    count: usize,
    low: f32,
    high: f32,
}

impl Form {
    fn values(&self) -> Vec<f32> {
        let Self { low, high, .. } = *self;
        let mut state = self.seed;
        (0..self.count)
            .map(|index| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let u = (state >> 8) as f32 * 2f32.powi(-24);
                let x = low + (high - low) * u;
                match self.formula.as_str() {
                    "constant" => low,
                    "relu" => x.max(0.0),
                    "peaked" => {
                        let v = u * 2.0 - 1.0;
                        (low + high) * 0.5 + (high - low) * 0.5 * (v * v * v)
                    }
                    "skewed" => low + (high - low) * (u * u * u * u),
                    "outliers" if index % 97 == 5 => x * 50.0,
                    "uniform" | "outliers" => x,
                    "grid" => x.floor(),
                    other => panic!("unknown form {other}"),
                }
            })
            .collect()
    }

    fn shape(&self) -> [usize; 3] {
        if self.count.is_multiple_of(12) { [3, 4, self.count / 12] } else { [1, 1, self.count] }
    }
}

fn goldens() -> Goldens {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/observers/qparams.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn qparams_equal_pytorchs() {
    let Goldens { specs, cases } = goldens();
    assert!(cases.len() >= 30);
    let mut compared = 0;
    for case in &cases {
        let batches: Vec<_> =
            case.batches.iter().map(|form| (form.values(), form.shape())).collect();
        assert_eq!(case.qparams.len(), specs.len());
        for (spec, expected) in specs.iter().zip(&case.qparams) {
            let Some((scales, zero_points)) = expected else { continue };
            let spec = spec.observer_spec();
            let mut observer = spec.build().unwrap();
            for (values, shape) in &batches {
                observer.observe(values, shape).unwrap();
            }
            let found = observer.calculate_qparams().unwrap();
            for (channel, found) in found.channels().iter().enumerate() {
                let of = |len: usize| if len == 1 { 0 } else { channel };
                let scale = scales[of(scales.len())];
                let zero_point = zero_points[of(zero_points.len())];
                assert_eq!(
                    found.zero_point, zero_point,
                    "{}, channel {channel}: {spec:?}",
                    case.name
                );
                // The documentation promises 1e-6 for histograms, but here they are equal bit for
                // bit.
                assert_eq!(found.scale, scale, "{}, channel {channel}: {spec:?}", case.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 2000, "{compared}");
}
