//! Calibrated ranges that are written, read, changed and used again.

use std::sync::Arc;

use posterize::nn::Sequential;
use posterize::ops::{Activation, BatchNorm, Conv2d, Padding, Role};
use posterize::quantization::{
    BiasCorrection, Equalization, ObserverSpec, PostTraining, PostTrainingResult, QConfig,
    QConfigMapping, Ranges, Rounding,
};
use posterize::runtime::Options;
use posterize::{Architecture, ErrorKind, FloatModel, Tensor};

/// An inverted residual whose channels have ranges that are far apart, so that they are equalized.
fn net() -> FloatModel {
    let net = Sequential::new()
        .then(Conv2d::new(3, 16, 1).bias(false))
        .then(BatchNorm::two_d(16))
        .then(Activation::ReLU6)
        .then(Conv2d::new(16, 16, 3).padding(Padding::all(1)).groups(16))
        .then(Activation::ReLU)
        .then(Conv2d::new(16, 8, 1))
        .then(Conv2d::new(8, 4, 1));
    let model = Architecture::trace(&net).unwrap().init(7);
    let mut parameters = model.parameters().clone();
    let norm = model.graph().find("1").unwrap();
    for role in [Role::Weight, Role::Bias] {
        let tensor = Arc::make_mut(parameters.get_mut(&(norm, role)).unwrap());
        for (channel, x) in tensor.data_mut().iter_mut().enumerate() {
            *x = (*x + 0.1) * 0.01 * 4f32.powi((channel % 5) as i32);
        }
    }
    FloatModel::new(model.graph().clone(), parameters).unwrap()
}

fn pictures() -> Vec<Tensor> {
    let value = |i: usize, batch: usize| ((i * 37 + batch * 29) % 101) as f32 / 60.0 - 0.8;
    let batch = |batch| (0..2 * 3 * 64).map(move |i| value(i, batch)).collect();
    (0..4).map(|index| Tensor::new([2, 3, 8, 8], batch(index)).unwrap()).collect()
}

fn options() -> Options {
    Options::new(2).unwrap()
}

fn calibrated(mapping: &QConfigMapping, passes: &PostTraining) -> (FloatModel, PostTrainingResult) {
    let model = net();
    let result = model.quantize(mapping, passes, options(), &mut pictures()).unwrap();
    (model, result)
}

fn read(ranges: &Ranges) -> Ranges {
    serde_json::from_str(&serde_json::to_string(ranges).unwrap()).unwrap()
}

#[test]
fn ranges_that_were_read_give_the_same_model() {
    let percentile =
        QConfig { activation: ObserverSpec::percentile(0.99), ..QConfig::recommended() };
    let mut equalized = 0;
    for qconfig in
        [QConfig::recommended(), QConfig::default_qconfig(), QConfig::fbgemm(), percentile]
    {
        let mapping = QConfigMapping::global(qconfig).set_module_name("6", None);
        for equalization in [
            Equalization::Never,
            Equalization::Unbounded,
            Equalization::Always,
            Equalization::IfBetter,
        ] {
            for (bias_correction, rounding) in [
                (BiasCorrection::None, Rounding::Nearest),
                (BiasCorrection::Fast, Rounding::Nearest),
                (BiasCorrection::Empirical, Rounding::CoordinateDescent),
            ] {
                let passes = PostTraining::pytorch()
                    .equalization(equalization)
                    .bias_correction(bias_correction)
                    .rounding(rounding);
                let (model, result) = calibrated(&mapping, &passes);
                equalized += usize::from(result.equalized);
                let ranges = read(&result.ranges(&model).unwrap());
                assert_eq!(ranges, result.ranges(&model).unwrap());
                let names = ranges.values.iter().map(|value| value.name.as_str());
                assert!(names.eq(result.observed.ranges().map(|(name, ..)| name)));
                assert!(ranges.changed().is_empty());
                let mut data = if passes.needs_pictures() { pictures() } else { Vec::new() };
                let again =
                    model.quantize_with_ranges(&ranges, &mapping, &passes, options(), &mut data);
                let again = again.unwrap();
                assert_eq!(again.model, result.model, "{passes:?}");
                assert!(again.observed.ranges().eq(result.observed.ranges()));
                assert_eq!((again.pictures, again.equalized), (8, result.equalized));
                // They are also found in the result.
                assert_eq!(again.ranges(&model).unwrap(), ranges);
            }
        }
    }
    assert!(equalized > 12, "{equalized} networks were equalized");
}

#[test]
fn channels_of_weights_and_activations_are_scaled_by_the_factors() {
    let passes = PostTraining::pytorch().equalization(Equalization::Always);
    for qconfig in [QConfig::recommended(), QConfig::qnnpack()] {
        let (model, result) = calibrated(&QConfigMapping::global(qconfig), &passes);
        let equalization = result.ranges(&model).unwrap().equalization.unwrap();
        let first = &equalization[0];
        assert_eq!((&*first.divided, &*first.multiplied), (&["0".into()][..], &["3".into()][..]));
        assert!(first.factors.len() == 16 && first.factors.iter().any(|&x| x != 1.0));
        let fused = model.fuse().unwrap();
        let id = fused.graph().find("0").unwrap();
        let weight =
            |model: &FloatModel| model.parameter(id, Role::Weight).unwrap().data().to_vec();
        let (before, after) = (weight(&fused), weight(result.observed.model()));
        for (index, (before, after)) in before.iter().zip(after).enumerate() {
            assert_eq!(before / first.factors[index / 3], after);
        }
    }
}

#[test]
fn a_changed_range_takes_effect() {
    let mapping = QConfigMapping::global(QConfig::recommended());
    let (model, result) = calibrated(&mapping, &PostTraining::pytorch());
    let mut ranges = result.ranges(&model).unwrap();
    (ranges.values[0].min, ranges.values[0].max) = (-1.0, 4.1);
    assert_eq!(ranges.changed(), ["input"]);
    let passes = PostTraining::pytorch();
    let again = model.quantize_with_ranges(&ranges, &mapping, &passes, options(), &mut Vec::new());
    let again = again.unwrap();
    let (name, _, qparams) = again.observed.ranges().next().unwrap();
    assert_eq!((name, qparams.scale, qparams.zero_point), ("input", 5.1 / 255.0, 50));
    assert!(again.observed.ranges().skip(1).eq(result.observed.ranges().skip(1)));
    assert_ne!(again.model, result.model);
}

#[test]
fn ranges_that_do_not_fit_are_errors() {
    let mapping = QConfigMapping::global(QConfig::recommended());
    let passes = PostTraining::recommended().equalization(Equalization::Always);
    let (model, result) = calibrated(&mapping, &passes);
    let ranges = result.ranges(&model).unwrap();
    let plain = calibrated(&mapping, &PostTraining::pytorch()).1.ranges(&model).unwrap();
    let quantize = |model: &FloatModel, ranges: &Ranges, mapping: &QConfigMapping| {
        let passes = PostTraining::pytorch().equalization(Equalization::IfBetter);
        model.quantize_with_ranges(ranges, mapping, &passes, options(), &mut Vec::new())
    };
    let error = |model: &FloatModel, ranges: &Ranges, mapping: &QConfigMapping| {
        let error = quantize(model, ranges, mapping).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRanges, "{error}");
        error.to_string()
    };
    let other = Architecture::from(model.graph().clone()).init(8);
    assert!(error(&other, &ranges, &mapping).contains("of other weights: expected the digest"));

    let changed = |change: &dyn Fn(&mut Ranges)| {
        let mut changed = ranges.clone();
        change(&mut changed);
        error(&model, &changed, &mapping)
    };
    for (change, expected) in [
        (
            &(|ranges: &mut Ranges| ranges.values[1].min = f32::NAN) as &dyn Fn(&mut Ranges),
            "0: expected a finite range with min <= max, found min NaN",
        ),
        (&|ranges| ranges.values[1].max = f32::INFINITY, "and max inf"),
        (
            &|ranges| (ranges.values[0].min, ranges.values[0].max) = (-3e38, 3e38),
            "input: expected a finite",
        ),
        (&|ranges| ranges.values[1].min = 99.0, "found min 99 and max"),
        (
            &|ranges| ranges.values[1].name = "faetures".into(),
            "faetures: the network has no observed value",
        ),
        (
            &|ranges| drop(ranges.values.remove(1)),
            "1 of 5 ranges are missing; add them, or calibrate again: 0",
        ),
        (&|ranges| ranges.values.push(ranges.values[1].clone()), "0: there are two ranges"),
        (
            &|ranges| ranges.values[1].quant_range = (0, 127),
            "found MSEObserver for torch.quint8 from 0 to 127",
        ),
        (
            &|ranges| ranges.equalization.as_mut().unwrap()[0].divided[0] = "9".into(),
            "equalization, 9: the network has no such layer",
        ),
        (
            &|ranges| ranges.equalization.as_mut().unwrap()[0].factors.truncate(15),
            "equalization, 0: expected a factor for each of its 16 output channels, found 15",
        ),
        (
            &|ranges| ranges.equalization.as_mut().unwrap()[0].factors[3] = 0.0,
            "equalization, 0: expected positive factors, found 0",
        ),
        (
            &|ranges| ranges.equalization.as_mut().unwrap()[0].divided.clear(),
            "expected each layer once",
        ),
    ] {
        let error = changed(change);
        assert!(error.contains(expected), "{error}");
    }

    // Fewer observed values are enough, but other observers or more values are not.
    let some = mapping.clone().set_module_name("5", None).set_module_name("6", None);
    quantize(&model, &ranges, &some).unwrap();
    let found = error(&model, &ranges, &QConfigMapping::global(QConfig::qnnpack()));
    assert!(found.contains("expected a range for HistogramObserver for torch.quint8"), "{found}");
    for (ranges, equalization, expected) in [
        (ranges.clone(), Equalization::Never, "found those of an equalized network"),
        (plain, Equalization::Always, "found those of a network that is not"),
    ] {
        let passes = PostTraining::pytorch().equalization(equalization);
        let found =
            model.quantize_with_ranges(&ranges, &mapping, &passes, options(), &mut Vec::new());
        let found = found.unwrap_err();
        assert_eq!(found.kind(), ErrorKind::InvalidRanges);
        assert!(found.to_string().contains(expected), "{found}");
    }
    let without = mapping.clone().set_module_name("0", None);
    let few = model.quantize(&without, &passes, options(), &mut pictures()).unwrap();
    let found = error(&model, &few.ranges(&model).unwrap(), &mapping);
    assert!(
        found.contains("input: with these options the range of its output is needed"),
        "{found}"
    );
}

#[test]
fn other_formats_are_errors() {
    let mapping = QConfigMapping::global(QConfig::recommended());
    let (model, result) = calibrated(&mapping, &PostTraining::pytorch());
    let json = serde_json::to_string(&result.ranges(&model).unwrap()).unwrap();
    assert!(json.starts_with("{\"format_version\":1,"), "{json}");
    let error = |from: &str, to: &str| {
        let changed = json.replacen(from, to, 1);
        assert_ne!(changed, json);
        serde_json::from_str::<Ranges>(&changed).unwrap_err().to_string()
    };
    let found = error("\"format_version\":1", "\"format_version\":2");
    assert!(found.starts_with("expected format version 1 of ranges, found 2; use"), "{found}");
    assert!(error("\"pictures\":", "\"picture\":").contains("unknown field `picture`"));
    assert!(error("\"pictures\":", "\"pictures\":1,\"pictures\":").contains("duplicate field"));
    assert!(error("\"min\":", "\"min\":null,\"mix\":").contains("expected f32"));
}
