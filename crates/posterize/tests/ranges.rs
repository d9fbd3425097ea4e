//! Tests that ranges are near those of ONNX Runtime's calibrators (`testdata/ranges`), whose histograms have
//! other bins.

use std::collections::BTreeMap;

use posterize::quantization::ObserverSpec;
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    values: Formula,
    /// The ranges by `entropy` or a percentile.
    ranges: BTreeMap<String, [f32; 2]>,
}

/// Values given by a formula, which is the same as in `testdata/ranges/generate.py`.
#[derive(Deserialize)]
struct Formula {
    form: String,
    seed: u32,
    count: usize,
    low: f32,
    high: f32,
}

impl Formula {
    fn values(&self) -> Vec<f32> {
        let mut state = self.seed;
        let u: Vec<f32> = (0..self.count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 * 2f32.powi(-24)
            })
            .collect();
        let (low, width) = (self.low, self.high - self.low);
        if self.form == "uniform" {
            return u.into_iter().map(|u| low + width * u).collect();
        }
        let bell = |u: &[f32]| low + width * ((u[0] + u[1] + u[2] + u[3]) * 0.25);
        u.chunks(4)
            .enumerate()
            .map(|(index, u)| match self.form.as_str() {
                "relu_bell" => bell(u).max(0.0),
                "long_tail" if index % 50 == 7 => bell(u) * (1.0 + 15.0 * u[0]),
                "bell" | "long_tail" => bell(u),
                other => panic!("unknown form {other}"),
            })
            .collect()
    }
}

#[test]
fn ranges_are_near_those_of_onnx_runtime() {
    let goldens: Goldens =
        serde_json::from_str(include_str!("../../../testdata/ranges/values.json")).unwrap();
    assert_eq!(goldens.cases.len(), 5);
    for case in goldens.cases {
        let values = case.values.values();
        let largest = values.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        for (name, expected) in case.ranges {
            let spec = match name.parse::<f64>() {
                Ok(percentile) => ObserverSpec::percentile(percentile / 100.0),
                Err(_) => ObserverSpec::entropy(),
            };
            let mut observer = spec.build().unwrap();
            for batch in values.chunks(7000) {
                observer.observe(batch, &[batch.len()]).unwrap();
            }
            let found = observer.chosen_range().unwrap();
            for (found, expected) in [found.min, found.max].into_iter().zip(expected) {
                // A bin of ONNX Runtime's, and one of ours. Divergences of many ranges are nearly equal.
                let bins = 2.0 * largest / 2048.0 + expected.abs() / 128.0;
                let allowed = if name == "entropy" { bins + largest / 64.0 } else { bins };
                assert!(
                    (found - expected).abs() <= allowed,
                    "{}, {name}: {found}, {expected}",
                    case.name
                );
            }
        }
    }
}
