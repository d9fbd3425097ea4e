//! Tests of the sensitivity of layers, and of the search for an accuracy target, on a small network that is
//! hard to quantize.

use std::sync::Arc;

use posterize::metrics::topk;
use posterize::nn::{Module, Sequential, Tracer, Value};
use posterize::ops::{
    Activation, AdaptiveAvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Padding, Role,
};
use posterize::quantization::{
    AccuracyTarget, Cause, Equalization, Half, PostTraining, PostTrainingResult, QConfig,
    QConfigMapping, QuantizedModel, Recipe, Remedy, SearchEvent, SearchResult, Sensitivity, Varied,
};
use posterize::runtime::{Engine, Options};
use posterize::{Architecture, FloatModel, Result, Tensor, compile};

/// A residual block with a depthwise convolution.
struct Net(Sequential, Sequential, Sequential);

impl Module for Net {
    fn kind(&self) -> &'static str {
        "Net"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let x = cx.call("stem", &self.0, x);
        let y = cx.call("block", &self.1, x);
        let x = cx.add(x, y);
        cx.call("head", &self.2, x)
    }
}

/// A budget in milliseconds that every network keeps, so that results do not depend on times.
const ANY_TIME: f64 = 1e9;

const CHANNELS: usize = 24;
const DEPTHWISE: &str = "block.2";

fn net() -> FloatModel {
    let stem = Sequential::new()
        .then(Conv2d::new(3, 8, 3).padding(Padding::all(1)))
        .then(Activation::ReLU)
        .then(MaxPool2d::new(2));
    let block = Sequential::new()
        .then(Conv2d::new(8, CHANNELS, 1))
        .then(Activation::ReLU)
        .then(Conv2d::new(CHANNELS, CHANNELS, 3).padding(Padding::all(1)).groups(CHANNELS))
        .then(Activation::ReLU)
        .then(Conv2d::new(CHANNELS, 8, 1));
    let head = Sequential::new()
        .then(AdaptiveAvgPool2d::new([2, 2]))
        .then(Flatten)
        .then(Linear::new(32, 10));
    Architecture::trace(&Net(stem, block, head)).unwrap().init(11)
}

/// The network with one channel before its depthwise convolution divided by 1,000, and its weights there
/// multiplied by 1,000, so that it computes the same.
fn hard() -> FloatModel {
    let model = net();
    let mut parameters = model.parameters().clone();
    let mut scale = |name: &str, values: std::ops::Range<usize>, factor: f32| {
        for role in [Role::Weight, Role::Bias] {
            let values = if role == Role::Bias { 0..1 } else { values.clone() };
            let id = model.graph().find(name).unwrap();
            if role == Role::Bias && factor > 1.0 {
                continue;
            }
            let tensor = Arc::make_mut(parameters.get_mut(&(id, role)).unwrap());
            tensor.data_mut()[values].iter_mut().for_each(|value| *value *= factor);
        }
    };
    scale("block.0", 0..8, 1e-3);
    scale(DEPTHWISE, 0..9, 1e3);
    FloatModel::new(model.graph().clone(), parameters).unwrap()
}

/// The network with most output channels of `block.0` divided by 64, and their weights in the depthwise
/// convolution multiplied by 64, so that it computes the same.
fn spread() -> FloatModel {
    let model = net();
    let mut parameters = model.parameters().clone();
    for (name, per_channel, factor) in [("block.0", 8, 1.0 / 64.0), (DEPTHWISE, 9, 64.0)] {
        for role in [Role::Weight, Role::Bias] {
            if (name, role) == (DEPTHWISE, Role::Bias) {
                continue;
            }
            let id = model.graph().find(name).unwrap();
            let tensor = Arc::make_mut(parameters.get_mut(&(id, role)).unwrap());
            let width = if role == Role::Weight { per_channel } else { 1 };
            for (channel, values) in tensor.data_mut().chunks_exact_mut(width).enumerate() {
                if channel % 8 != 0 {
                    for value in values {
                        *value *= factor;
                    }
                }
            }
        }
    }
    FloatModel::new(model.graph().clone(), parameters).unwrap()
}

/// Batches of four pictures of blobs.
fn pictures(seeds: std::ops::Range<usize>) -> Vec<Tensor> {
    let value = |seed: usize, i: usize| {
        let (picture, channel, y, x) = (i / 432, i / 144 % 3, i / 12 % 12, i % 12);
        let at = (seed * 4 + picture) as f32;
        let wave = (0.37 * at * (channel + 1) as f32 + 0.5 * x as f32).sin()
            * (0.23 * at + 0.4 * y as f32 * (1.0 + (at * 0.11).cos())).cos();
        wave + 0.3 * (at * 1.7 + channel as f32).sin()
    };
    let batch = |seed| (0..4 * 432).map(|i| value(seed, i)).collect();
    seeds.map(|seed| Tensor::new([4, 3, 12, 12], batch(seed)).unwrap()).collect()
}

fn options(threads: usize) -> Options {
    Options::new(threads).unwrap()
}

fn quantize(
    model: &FloatModel,
    mapping: &QConfigMapping,
    passes: &PostTraining,
) -> PostTrainingResult {
    model.quantize(mapping, passes, options(1), &mut pictures(0..6)).unwrap()
}

fn per_tensor() -> QConfig {
    QConfig::qnnpack()
}

fn sensitivity(quantized: &PostTrainingResult, threads: usize) -> Sensitivity {
    let batches: Vec<Vec<Tensor>> =
        pictures(6..10).into_iter().map(|images| vec![images]).collect();
    quantized.sensitivity(&batches, None, options(threads), &mut |_, _| ()).unwrap()
}

/// Returns the SQNR in dB and the agreement in percent of an int8 network.
fn quality(float: &FloatModel, int8: &QuantizedModel) -> (f64, f64) {
    let (mut signal, mut noise, mut equal) = (0.0, 0.0, 0);
    for images in pictures(6..10) {
        let (x, y) = (float.forward(&images).unwrap(), int8.forward(&images).unwrap());
        for (x, y) in x.data().chunks(10).zip(y.data().chunks(10)) {
            equal += usize::from(topk(x, 1)[0].0 == topk(y, 1)[0].0);
            for (&x, &y) in x.iter().zip(y) {
                signal += f64::from(x).powi(2);
                noise += f64::from(x - y).powi(2);
            }
        }
    }
    (10.0 * (signal / noise).log10(), 100.0 * f64::from(equal as u32) / 16.0)
}

#[test]
fn the_layer_with_channels_scaled_apart_is_the_most_sensitive_because_of_them() {
    let mapping = QConfigMapping::global(per_tensor());
    let quantized = quantize(&hard(), &mapping, &PostTraining::pytorch());
    let found = sensitivity(&quantized, 1);
    assert_eq!(found.layers.len(), 6, "five layers with weights and an addition");
    let worst = &found.layers[0];
    assert_eq!(worst.name, DEPTHWISE);
    let cause = &worst.causes[0];
    let Cause::WeightChannelRanges { largest, median, levels } = cause.cause else {
        panic!("{cause:?}")
    };
    assert!((300.0..3000.0).contains(&(largest / median)) && levels <= 3, "{cause:?}");
    assert_eq!(cause.remedy, Remedy::Equalize);
    assert!(cause.cause.to_string().starts_with("channel ranges of its weights differ"));
    // Without it, the loss is gone; it alone has the whole loss.
    assert!(worst.only_float.sqnr_db > found.int8.sqnr_db + 10.0, "{found:?}");
    assert!(worst.only_int8.sqnr_db < found.layers[1].only_int8.sqnr_db - 10.0, "{found:?}");
    assert_eq!(worst.extra_bytes, 3 * 9 * CHANNELS as u64 - 4);

    // The network as it was has no such layer, nor the hard one with a scale for each channel.
    for (model, qconfig) in [(net(), per_tensor()), (hard(), QConfig::recommended())] {
        let mapping = QConfigMapping::global(qconfig);
        let found = sensitivity(&quantize(&model, &mapping, &PostTraining::pytorch()), 1);
        let of_weights = |cause| matches!(cause, Cause::WeightChannelRanges { .. });
        let causes = found.layers.iter().flat_map(|layer| &layer.causes);
        assert!(!causes.into_iter().any(|cause| of_weights(cause.cause)), "{found:?}");
    }
}

#[test]
fn the_layer_whose_outputs_are_scaled_apart_is_named_before_the_one_that_reads_them() {
    let mapping = QConfigMapping::global(QConfig::recommended());
    let passes = PostTraining::recommended().equalization(Equalization::Never);
    let quantized = quantize(&spread(), &mapping, &passes);
    let found = sensitivity(&quantized, 1);
    let names: Vec<&str> = found.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names[..2], ["block.0", DEPTHWISE], "{found:?}");
    let [worst, reader, third] = [0, 1, 2].map(|at| &found.layers[at]);
    assert!(matches!(worst.causes[0].cause, Cause::OutputChannelRanges { .. }), "{worst:?}");
    assert_eq!((&worst.causes[0].input, worst.causes[0].remedy), (&None, Remedy::Equalize));
    assert_eq!(reader.causes[0].input.as_deref(), Some("block.0"), "{reader:?}");
    assert!(worst.only_int8.sqnr_db < third.only_int8.sqnr_db - 6.0, "{found:?}");

    // The remedy is one.
    let equalized = passes.clone().equalization(Equalization::Always);
    let better = sensitivity(&quantize(&spread(), &mapping, &equalized), 1);
    assert!(better.int8.sqnr_db > found.int8.sqnr_db + 6.0, "{better:?}");

    // Where it is not allowed, a search gives back both, in this order.
    let target = AccuracyTarget::new(-50.0).keep(Varied::Equalization).budget_ms(ANY_TIME);
    let start = Recipe::new(QConfig::recommended(), passes);
    let mut metric = |engine: &mut Engine, _| {
        let float_layers = engine.model().graph().nodes().iter();
        let is_float = |node: &&posterize::graph::Node| node.op.kind().contains("QuantStub");
        // More is better with each layer in float, whatever the layer.
        Ok(float_layers.filter(is_float).count() as f64)
    };
    let found = spread()
        .quantize_to_target(
            &start,
            &target,
            options(1),
            &mut pictures(0..6),
            &mut metric,
            &mut |_| (),
        )
        .unwrap();
    let given_back: Vec<&str> = found.given_back.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(given_back[..2], ["block.0", DEPTHWISE], "{found:?}");
}

#[test]
fn one_calibration_gives_what_a_quantization_for_each_layer_gives() {
    let model = net();
    let mapping = QConfigMapping::global(QConfig::recommended());
    let passes = PostTraining::pytorch();
    let quantized = quantize(&model, &mapping, &passes);
    let found = sensitivity(&quantized, 1);
    let float = model.fuse().unwrap();
    assert_eq!((found.int8.sqnr_db, found.int8.top1.unwrap()), quality(&float, &quantized.model));
    assert_eq!((found.float_top1, found.pictures, found.labelled), (Some(100.0), 16, false));
    for layer in &found.layers {
        let alone = QConfigMapping::new().set_module_name(&layer.name, QConfig::recommended());
        let others = mapping.clone().set_module_name(&layer.name, None);
        for (mapping, found) in [(alone, layer.only_int8), (others, layer.only_float)] {
            let int8 = quantize(&model, &mapping, &passes).model;
            assert_eq!((found.sqnr_db, found.top1.unwrap()), quality(&float, &int8), "{layer:?}");
        }
    }
    let sorted = |a: f64, b: f64| a <= b;
    assert!(found.layers.is_sorted_by(|a, b| sorted(a.only_int8.sqnr_db, b.only_int8.sqnr_db)));
}

#[test]
fn the_ranking_does_not_depend_on_the_number_of_threads() {
    let mapping = QConfigMapping::global(per_tensor());
    let quantized = quantize(&hard(), &mapping, &PostTraining::recommended());
    let without_times = |threads| {
        let mut found = sensitivity(&quantized, threads);
        found.layers.iter_mut().for_each(|layer| layer.extra_ms = None);
        found
    };
    assert_eq!(without_times(1), without_times(3));
}

#[test]
fn labels_replace_the_agreement_and_there_must_be_one_for_each_picture() {
    let quantized =
        quantize(&net(), &QConfigMapping::global(per_tensor()), &PostTraining::pytorch());
    let batches = [vec![pictures(6..7).swap_remove(0)]];
    let run = |labels: &[usize]| {
        quantized.sensitivity(&batches, Some(labels), options(1), &mut |_, _| ())
    };
    let logits = net().fuse().unwrap().forward(&batches[0][0]).unwrap();
    let mut labels: Vec<usize> = logits.data().chunks(10).map(|row| topk(row, 1)[0].0).collect();
    assert_eq!(run(&labels).unwrap().float_top1, Some(100.0));
    labels[0] = (labels[0] + 1) % 10;
    let found = run(&labels).unwrap();
    assert_eq!((found.float_top1, found.labelled), (Some(75.0), true));
    let error = run(&labels[..3]).unwrap_err().to_string();
    assert_eq!(error, "expected a label for each of the 4 pictures, found 3");
    let error = quantized.sensitivity(&[], None, options(1), &mut |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("no picture"), "{error}");
}

/// Returns the percentage of the pictures of a half for which the engine predicts what the float network
/// does. There are 40 pictures.
fn agreement(engine: &mut Engine, float: &mut Engine, half: Half) -> Result<f64> {
    let seeds = if half == Half::Search { 20..30 } else { 30..40 };
    let mut equal = 0;
    for images in pictures(seeds) {
        let (x, y) = (float.run(&images)?, engine.run(&images)?);
        let same = x.data().chunks(10).zip(y.data().chunks(10));
        equal += same.filter(|(x, y)| topk(x, 1)[0].0 == topk(y, 1)[0].0).count();
    }
    Ok(100.0 * equal as f64 / 40.0)
}

fn search(target: &AccuracyTarget, halves: &mut Vec<Half>) -> SearchResult {
    let model = hard();
    let mut float = compile(model.fuse().unwrap(), options(1)).unwrap();
    let mut metric = |engine: &mut Engine, half| {
        halves.push(half);
        agreement(engine, &mut float, half)
    };
    let start = Recipe::new(per_tensor(), PostTraining::recommended());
    let mut data = pictures(0..6);
    model
        .quantize_to_target(&start, target, options(1), &mut data, &mut metric, &mut |_| ())
        .unwrap()
}

/// Checks that the network of a result meets the target on the half that the search did not see, and that
/// the recipe repeats it.
fn check_met(found: &SearchResult, max_drop: f64) {
    let model = hard();
    assert!(found.met && found.attempts[found.chosen].met);
    let mut float = compile(model.fuse().unwrap(), options(1)).unwrap();
    let mut engine = compile(&found.quantized.model, options(1)).unwrap();
    let drop = 100.0 - agreement(&mut engine, &mut float, Half::Confirmation).unwrap();
    assert!(drop <= max_drop, "{drop}");
    assert_eq!(found.attempts[found.chosen].drop.confirmation, Some(drop));
    let json = serde_json::to_string(&found.recipe).unwrap();
    let recipe: Recipe = serde_json::from_str(&json).unwrap();
    let mapping = recipe.mapping().unwrap();
    let again = model.quantize(&mapping, &recipe.passes, options(3), &mut pictures(0..6)).unwrap();
    assert_eq!(again.model, found.quantized.model);
}

#[test]
fn equalization_alone_meets_the_target() {
    let mut halves = Vec::new();
    let found = search(&AccuracyTarget::new(2.5), &mut halves);
    check_met(&found, 2.5);
    assert_eq!(found.recipe.passes.equalization, Equalization::Always);
    assert_eq!((&*found.given_back, &*found.recipe.float_layers), (&[][..], &[][..]));
    let first = &found.attempts[0];
    assert!(first.drop.search > 2.5 && first.drop.confirmation.is_none(), "{found:?}");
    // The other half is looked at only after the target was met on the first.
    let looks = halves.iter().filter(|&&half| half == Half::Confirmation).count();
    let looked_at = found.attempts.iter().filter(|attempt| attempt.drop.confirmation.is_some());
    assert_eq!(looks, 1 + looked_at.count());
}

#[test]
fn the_sensitive_layer_is_given_back_where_nothing_else_helps() {
    let target = AccuracyTarget::new(2.5).keep(Varied::Equalization).budget_ms(ANY_TIME);
    let mut recipe = Vec::new();
    let found = {
        let model = hard();
        let mut float = compile(model.fuse().unwrap(), options(1)).unwrap();
        let mut metric = |engine: &mut Engine, half| agreement(engine, &mut float, half);
        let passes = PostTraining::recommended().equalization(Equalization::Never);
        let start = Recipe::new(per_tensor(), passes);
        let mut event = |event: SearchEvent<'_>| {
            if let SearchEvent::Tried(attempt) = event {
                recipe.push(attempt.what.clone());
            }
        };
        let mut data = pictures(0..6);
        model
            .quantize_to_target(&start, &target, options(1), &mut data, &mut metric, &mut event)
            .unwrap()
    };
    check_met(&found, 2.5);
    assert_eq!(found.given_back[0].name, DEPTHWISE, "{:?}", found.given_back);
    assert_eq!(found.recipe.float_layers[0], DEPTHWISE);
    assert!(found.quantized.model.layer_named(DEPTHWISE).is_none());
    let tried: Vec<&String> = found.attempts.iter().map(|attempt| &attempt.what).collect();
    assert_eq!(tried, recipe.iter().collect::<Vec<_>>());
    assert_eq!(recipe[0], "ranges: as in the qconfig");
    assert!(recipe.iter().any(|what| what == "1 layer in float"), "{recipe:?}");
    let [base, chosen] = [0, found.chosen].map(|at| found.attempts[at].bytes as u64);
    let extra: u64 = found.given_back.iter().map(|layer| layer.extra_bytes).sum();
    assert_eq!(chosen - base, extra);
}

#[test]
fn a_target_that_cannot_be_met_ends_with_the_best_attempt() {
    // No network is better than float by so much.
    let found = search(&AccuracyTarget::new(-50.0).budget_ms(ANY_TIME), &mut Vec::new());
    assert!(!found.met);
    let best = found.attempts.iter().map(|attempt| attempt.metric.search).fold(0.0, f64::max);
    assert_eq!(found.attempts[found.chosen].metric.search, best);

    // Every network takes longer than no time, so no layer is given back.
    let found = search(&AccuracyTarget::new(100.0).budget_ms(0.0), &mut Vec::new());
    assert!(!found.met && found.given_back.is_empty());
    assert!(found.attempts.iter().all(|attempt| !attempt.met && attempt.ms.unwrap() > 0.0));

    let target = AccuracyTarget::new(f64::NAN);
    let start = Recipe::new(per_tensor(), PostTraining::recommended());
    let mut metric = |_: &mut Engine, _| Ok(0.0);
    let found = hard().quantize_to_target(
        &start,
        &target,
        options(1),
        &mut pictures(0..1),
        &mut metric,
        &mut |_| (),
    );
    assert!(found.unwrap_err().to_string().contains("must be a number"));
}
