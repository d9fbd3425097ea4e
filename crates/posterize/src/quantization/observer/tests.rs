use posterize_kernels::Pool;
use proptest::prelude::*;

use super::*;
use crate::quantization::{Dtype, QScheme};

/// Specs of each kind with an affine and a symmetric qscheme.
fn specs() -> Vec<ObserverSpec> {
    let kinds = [
        ObserverKind::MinMax,
        ObserverKind::MovingAverageMinMax,
        ObserverKind::PerChannelMinMax,
        ObserverKind::MovingAveragePerChannelMinMax,
        ObserverKind::Histogram,
        ObserverKind::Percentile,
        ObserverKind::Mse,
        ObserverKind::Entropy,
    ];
    kinds
        .into_iter()
        .flat_map(|kind| {
            let affine = ObserverSpec::new(kind);
            let qscheme = if kind.is_per_channel() {
                QScheme::PerChannelSymmetric
            } else {
                QScheme::PerTensorSymmetric
            };
            [affine.clone(), ObserverSpec { qscheme, dtype: Dtype::Qint8, ..affine }]
        })
        .collect()
}

/// Returns an observer with the data of `batches`, each of shape `[2, n]`.
fn observed(spec: &ObserverSpec, batches: &[Vec<f32>]) -> Observer {
    let mut observer = spec.build().unwrap();
    for batch in batches {
        observer.observe(batch, &[2, batch.len() / 2]).unwrap();
    }
    observer
}

#[test]
fn a_range_contains_ranges_within_both_of_its_ends() {
    let range = Range { min: -1.0, max: 3.0 };
    for (min, max, contained) in
        [(-1.0, 3.0, true), (0.0, 1.0, true), (-2.0, 1.0, false), (0.0, 4.0, false)]
    {
        assert_eq!(range.contains(Range { min, max }), contained, "{min} to {max}");
    }
}

#[test]
fn the_range_is_that_of_all_channels() {
    for spec in specs() {
        assert_eq!(spec.build().unwrap().range(), None);
        let observer = observed(&spec, &[vec![-1.0, 2.0, 0.5, 3.0]]);
        assert_eq!(observer.range(), Some(Range { min: -1.0, max: 3.0 }), "{spec:?}");
    }
}

fn scales(observer: &Observer) -> Vec<f32> {
    observer.calculate_qparams().unwrap().channels().iter().map(|qparams| qparams.scale).collect()
}

#[test]
fn an_observer_without_data_has_no_qparams() {
    for spec in specs() {
        let mut observer = spec.build().unwrap();
        observer.observe(&[], &[2, 0]).unwrap();
        assert!(!observer.has_data());
        assert_eq!(observer.calculate_qparams(), None);
        assert_eq!(observer.range(), None);
        observer.observe(&[1.0, 2.0], &[2, 1]).unwrap();
        assert!(observer.has_data());
        observer.reset();
        assert_eq!(observer, spec.build().unwrap());
    }
}

#[test]
fn nan_and_infinities_are_errors_that_change_nothing() {
    for spec in specs() {
        let mut observer = observed(&spec, &[vec![-1.0, 1.0, 2.0, 3.0]]);
        let before = observer.clone();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = observer.observe(&[0.0, 9.0, bad, 0.0], &[2, 2]).unwrap_err();
            let message = error.in_layer("features.1.conv").to_string();
            assert!(message.starts_with("features.1.conv: value 2 is "), "{message}");
            assert_eq!(observer, before);
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let mut observer = ObserverSpec::min_max().build().unwrap();
    assert!(matches!(observer.observe(&[1.0], &[2]), Err(ObserveError::Shape(_))));
    assert!(matches!(observer.observe(&[1.0], &[usize::MAX, 2]), Err(ObserveError::Shape(_))));
    assert_eq!(observer.observe(&[1.0], &[]), Ok(()), "a scalar has the empty shape");
    let mut observer = ObserverSpec::default_per_channel_weight_observer().build().unwrap();
    observer.observe(&[1.0, 2.0], &[2, 1]).unwrap();
    assert_eq!(
        observer.observe(&[1.0; 3], &[3, 1]),
        Err(ObserveError::Channels { expected: 2, found: 3 })
    );
    let spec = ObserverSpec { ch_axis: 2, ..observer.spec().clone() };
    let mut observer = spec.build().unwrap();
    assert!(matches!(observer.observe(&[1.0; 4], &[2, 2]), Err(ObserveError::Shape(_))));
}

#[test]
fn invalid_specs_are_errors() {
    let good = ObserverSpec::min_max();
    for bad in [
        ObserverSpec { qscheme: QScheme::PerChannelAffine, ..good.clone() },
        ObserverSpec { kind: ObserverKind::PerChannelMinMax, ..good.clone() },
        ObserverSpec { averaging_constant: 0.0, ..good.clone() },
        ObserverSpec { averaging_constant: 1.5, ..good.clone() },
        ObserverSpec { averaging_constant: f32::NAN, ..good.clone() },
        ObserverSpec { bins: 0, ..good.clone() },
        ObserverSpec { bins: usize::MAX, ..good.clone() },
        ObserverSpec { percentile: 0.4, ..good.clone() },
        ObserverSpec { percentile: f64::NAN, ..good.clone() },
        ObserverSpec { quant_range: Some((-1, 10)), ..good.clone() },
        ObserverSpec { quant_range: Some((0, 1)), reduce_range: true, ..good.clone() },
    ] {
        assert!(bad.build().is_err(), "{bad:?}");
    }
}

#[test]
fn observers_print_as_in_pytorch() {
    let print = |spec: &ObserverSpec| spec.build().unwrap().to_string();
    assert_eq!(print(&ObserverSpec::histogram()), "HistogramObserver(min_val=inf, max_val=-inf)");
    let weight = ObserverSpec::default_per_channel_weight_observer();
    assert_eq!(print(&weight), "PerChannelMinMaxObserver(min_val=tensor([]), max_val=tensor([]))");
    let mut observer = weight.build().unwrap();
    let values: Vec<f32> = (0..9u8).map(f32::from).collect();
    observer.observe(&values, &[9, 1]).unwrap();
    let all = "tensor([0, 1, 2, ..., 6, 7, 8])";
    assert_eq!(
        observer.to_string(),
        format!("PerChannelMinMaxObserver(min_val={all}, max_val={all})")
    );
}

#[test]
fn observers_with_different_specs_cannot_be_merged() {
    let mut observer = ObserverSpec::min_max().build().unwrap();
    let other = ObserverSpec::default_observer().build().unwrap();
    assert!(observer.merge(&other).is_err());
}

#[test]
fn damaged_saved_statistics_are_errors() {
    for spec in specs() {
        let observer = observed(&spec, &[vec![-1.0, 1.0, 2.0, 3.0], vec![5.0, 1.0]]);
        let saved = serde_json::to_value(&observer).unwrap();
        let read: Observer = serde_json::from_value(saved.clone()).unwrap();
        assert_eq!(read, observer);

        let text = saved.to_string();
        for (good, bad) in [
            ("\"max\":3.0", "\"max\":-9.0"),
            ("\"max\":5.0", "\"max\":-9.0"),
            ("\"batches\":2", "\"batches\":0"),
            ("\"counts\":[", "\"counts\":[1.0,"),
            ("\"counts\":[", "\"counts\":[-"),
            ("\"eps\":1", "\"eps\":-1"),
        ] {
            let damaged = text.replace(good, bad);
            if damaged != text {
                assert!(serde_json::from_str::<Observer>(&damaged).is_err(), "{good} → {bad}");
            }
        }
    }
    let per_tensor = observed(&ObserverSpec::min_max(), &[vec![0.0, 1.0]]);
    let several = serde_json::to_string(&per_tensor)
        .unwrap()
        .replace("\"ranges\":[", "\"ranges\":[{\"min\":0.0,\"max\":1.0},");
    assert!(serde_json::from_str::<Observer>(&several).is_err());
}

#[test]
fn large_batches_do_not_depend_on_the_number_of_threads() {
    let values: Vec<f32> =
        (0..1_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 9) as f32).collect();
    for spec in specs() {
        let with_threads = |threads| {
            let (pool, mut observer) = (Pool::new(threads), spec.build().unwrap());
            for batch in [&values[..600_000], &values] {
                observer.observe_on(&pool, batch, &[2, batch.len() / 2]).unwrap();
            }
            observer
        };
        assert_eq!(with_threads(1), with_threads(5));
    }
}

fn batches() -> impl Strategy<Value = Vec<Vec<f32>>> {
    let batch = (1usize..40, -3i32..4).prop_flat_map(|(half, exponent)| {
        let limit = 10f32.powi(exponent);
        prop::collection::vec(-limit..limit, 2 * half)
    });
    prop::collection::vec(batch, 1..6)
}

proptest! {
    #[test]
    fn minima_and_maxima_of_batches_are_those_of_one_batch(batches in batches()) {
        let spec = ObserverSpec::min_max();
        let at_once = observed(&spec, &[batches.concat()]);
        prop_assert_eq!(observed(&spec, &batches), at_once);
    }

    #[test]
    fn merged_observers_equal_one_observer_of_all_batches(batches in batches(), at in 0usize..6) {
        let at = at.min(batches.len());
        for spec in specs() {
            let mut merged = observed(&spec, &batches[..at]);
            merged.merge(&observed(&spec, &batches[at..])).unwrap();
            let whole = observed(&spec, &batches);
            match spec.kind {
                ObserverKind::MinMax
                | ObserverKind::PerChannelMinMax
                | ObserverKind::Percentile
                | ObserverKind::Mse
                | ObserverKind::Entropy => {
                    prop_assert_eq!(&merged, &whole);
                }
                ObserverKind::MovingAverageMinMax | ObserverKind::MovingAveragePerChannelMinMax => {
                    for (merged, whole) in scales(&merged).iter().zip(scales(&whole)) {
                        prop_assert!((merged - whole).abs() <= 1e-4 * whole, "{merged}, {whole}");
                    }
                }
                ObserverKind::Histogram => {
                    prop_assert_eq!(merged.range(), whole.range());
                    let count = |observer: &Observer| match &observer.statistics {
                        Statistics::Histogram(histogram) => histogram.counts.iter().sum::<f64>(),
                        _ => unreachable!("a histogram observer"),
                    };
                    prop_assert_eq!(count(&merged), count(&whole));
                }
            }
        }
    }

    #[test]
    fn histograms_of_the_same_range_merge_exactly(batches in batches(), at in 0usize..6) {
        let spec = ObserverSpec::histogram();
        let at = at.min(batches.len());
        let ends = vec![-1000.0, 1000.0];
        let with_ends = |part: &[Vec<f32>]| [std::slice::from_ref(&ends), part].concat();
        let mut merged = observed(&spec, &with_ends(&batches[..at]));
        merged.merge(&observed(&spec, &with_ends(&batches[at..]))).unwrap();
        let whole = observed(&spec, &[vec![ends.clone(), ends.clone()], batches.clone()].concat());
        prop_assert_eq!(merged, whole);
    }

    #[test]
    fn merging_an_observer_without_data_changes_nothing(batches in batches()) {
        for spec in specs() {
            let observer = observed(&spec, &batches);
            let mut left = observer.clone();
            left.merge(&spec.build().unwrap()).unwrap();
            prop_assert_eq!(&left, &observer);
            let mut right = spec.build().unwrap();
            right.merge(&observer).unwrap();
            prop_assert_eq!(&right, &observer);
        }
    }
}
