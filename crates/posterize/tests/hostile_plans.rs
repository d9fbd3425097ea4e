//! Tests that networks which would take too much memory or work are refused before anything is
//! allocated, wherever a plan is made: inference, calibration and training.

use posterize::graph::{Builder, NodeId};
use posterize::nn::{Flatten, Sequential};
use posterize::ops::{Activation, AdaptiveAvgPool2d, Conv2d, Linear, MaxPool2d, Op, Padding};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::{Options, compile};
use posterize::training::{CrossEntropy, Network};
use posterize::{Architecture, Error, ErrorKind, FloatModel, Tensor};

fn options() -> Options {
    Options::new(1).unwrap()
}

/// A network of operators one after the other, with outputs of all of them if `all`.
fn network(all: bool, ops: impl IntoIterator<Item = Op>) -> FloatModel {
    let mut builder = Builder::new("Hostile");
    let mut last: NodeId = builder.input("input");
    let input = last;
    for (index, op) in ops.into_iter().enumerate() {
        last = builder.add(format!("layer{index}"), op, &[if all { input } else { last }]);
        if all {
            builder.output(format!("output{index}"), last);
        }
    }
    if !all {
        builder.output("output", last);
    }
    Architecture::from(builder.build().unwrap()).init(0)
}

#[track_caller]
fn refused<T>(found: Result<T, Error>, layer: &str) -> String {
    let error = found.err().expect("it was not refused");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    assert_eq!(error.layer_name(), Some(layer), "{error}");
    error.to_string()
}

#[test]
fn a_value_that_no_memory_holds_is_refused() {
    for size in [1 << 24, 1 << 16] {
        let model = network(false, [AdaptiveAvgPool2d::new([size; 2]).into()]);
        let image = Tensor::zeros([1, 3, 8, 8]);
        refused(compile(&model, options()).unwrap().run(&image), "layer0");
        refused(compile(&model, options().picture([3, 8, 8])), "layer0");
        refused(model.forward(&image), "layer0");
        // Whoever raises both limits gets the system's answer.
        let unlimited = options().max_memory(usize::MAX).max_work(u64::MAX);
        let error = compile(&model, unlimited).unwrap().run(&image).unwrap_err();
        let kinds = [ErrorKind::OutOfResources, ErrorKind::LimitExceeded];
        assert!(size < 1 << 24 || kinds.contains(&error.kind()), "{error}");
        if size < 1 << 24 {
            break;
        }
    }
}

#[test]
fn all_values_of_a_network_together_are_limited() {
    // Each takes 200 MB.
    let model = network(true, vec![Op::from(Activation::ReLU); 120]);
    let message = refused(compile(&model, options().picture([3, 4096, 4096])), "layer0");
    assert!(message.contains("more than the limit of"), "{message}");
    let small = options().picture([3, 64, 64]).max_memory(4 * 3 * 64 * 64 * 200);
    refused(compile(&model, small), "layer0");
    compile(&model, small.max_memory(4 * 3 * 64 * 64 * 300)).unwrap();
}

#[test]
fn a_batch_that_comes_later_is_limited() {
    let model = network(false, [Conv2d::new(3, 64, 3).into(), Activation::ReLU.into()]);
    let pictures = options().picture([3, 224, 224]);
    let message = refused(compile(&model, pictures.batch(65_535)), "layer0");
    assert!(message.contains("a batch of 65535") && message.contains("smaller batch"), "{message}");

    let mut engine = compile(&model, options().max_memory(1 << 20)).unwrap();
    let before = engine.run(&Tensor::zeros([1, 3, 16, 16])).unwrap();
    refused(engine.run(&Tensor::zeros([100, 3, 16, 16])), "layer0");
    assert_eq!(engine.run(&Tensor::zeros([1, 3, 16, 16])).unwrap(), before);
}

#[test]
fn scratch_memory_of_every_thread_is_counted() {
    let model = network(false, [Conv2d::new(16, 16, 5).into()]);
    let size = [1, 16, 64, 64];
    let bytes = |threads| {
        let mut engine = compile(&model, options().threads(threads)).unwrap();
        engine.plan_summary(size).unwrap().scratch_bytes
    };
    let [one, eight] = [bytes(1), bytes(8)];
    assert!(one > 0 && eight > one);
    // With room for the scratch memory of one thread, and copies of the input and the output.
    let values = 4 * (16 * 64 * 64 + 2 * 16 * 60 * 60);
    let limit = options().max_memory(values + one);
    assert!(compile(&model, limit).unwrap().run(&Tensor::zeros(size)).is_ok());
    let message =
        refused(compile(&model, limit.threads(8)).unwrap().run(&Tensor::zeros(size)), "layer0");
    assert!(message.contains("8 threads"), "{message}");
}

#[test]
fn padding_of_any_size_is_an_error_or_computed() {
    let far = 1 << 24;
    for (padding, stride) in [
        (Padding::all(far), far),
        (Padding::Explicit { top: 0, bottom: 0, left: far, right: far }, far),
        (Padding::Explicit { top: far, bottom: far, left: 0, right: 0 }, far),
        (
            Padding::Explicit { top: 1 << 12, bottom: 1 << 12, left: 1 << 12, right: 1 << 12 },
            1 << 12,
        ),
    ] {
        let conv = Conv2d::new(3, 2, 1).stride(stride).padding(padding);
        let model = network(false, [conv.into(), AdaptiveAvgPool2d::new([1, 1]).into()]);
        match compile(&model, options().threads(8)).unwrap().run(&Tensor::zeros([1, 3, 8, 8])) {
            Ok(output) => assert_eq!(output.shape(), [1, 2, 1, 1]),
            Err(error) => assert_eq!(error.layer_name(), Some("layer0"), "{error}"),
        }
        let flat = Sequential::new()
            .then(Conv2d::new(3, 2, 1).stride(stride).padding(padding))
            .then(AdaptiveAvgPool2d::new([1, 1]))
            .then(Flatten);
        let model = Architecture::trace(&flat).unwrap().init(0);
        let mut network = Network::float(&model, options()).unwrap();
        let step = network.forward_backward(
            &Tensor::zeros([2, 3, 8, 8]),
            &[0, 1],
            &CrossEntropy::default(),
        );
        if let Err(error) = step {
            assert_eq!(error.layer_name(), Some("0"), "{error}");
        }
    }
}

#[test]
fn calibration_and_training_are_limited() {
    let net = Sequential::new()
        .then(Conv2d::new(3, 8, 3))
        .then(Activation::ReLU)
        .then(AdaptiveAvgPool2d::new([1, 1]))
        .then(Flatten)
        .then(Linear::new(8, 2));
    let model = Architecture::trace(&net).unwrap().init(0);
    let images = Tensor::new([2, 3, 32, 32], vec![0.5; 2 * 3 * 32 * 32]).unwrap();
    let small = options().max_memory(10_000);
    let idle = options().max_work(1000);

    let mut observed = model.prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
    refused(observed.calibrate(small, [Ok(images.clone())]), "0");
    refused(observed.calibrate(idle, [Ok(images.clone())]), "2");
    observed.calibrate(options(), [Ok(images.clone())]).unwrap();
    let int8 = observed.convert().unwrap();
    refused(compile(&int8, small).unwrap().run(&images), "0");

    let loss = CrossEntropy::default();
    for (limited, layer) in [(small, "0"), (idle, "2")] {
        let mut network = Network::float(&model, limited).unwrap();
        refused(network.forward_backward(&images, &[0, 1], &loss), layer);
        refused(network.evaluate_forward(&images), layer);
        let qat = model.prepare_qat(&QConfigMapping::global(QConfig::recommended_qat())).unwrap();
        let mut network = Network::qat(qat, limited).unwrap();
        refused(network.forward_backward(&images, &[0, 1], &loss), layer);
    }
    let mut network = Network::float(&model, options()).unwrap();
    network.forward_backward(&images, &[0, 1], &loss).unwrap();
}

#[test]
fn windows_that_take_ages_are_refused() {
    let pool = |size: usize| Op::from(MaxPool2d::new(size).stride(1).padding(size / 2));
    let picture = |size| options().picture([3, size, size]);
    refused(compile(network(false, [pool(400)]), picture(400)), "layer0");
    refused(compile(network(false, vec![pool(101); 400]), picture(101)), "layer0");
    // Pools one after the other, as in a network with spatial pyramid pooling.
    compile(network(false, vec![pool(13); 3]), picture(640)).unwrap();
    compile(network(false, [pool(400)]), picture(400).max_work(u64::MAX)).unwrap();
    let average = |size| Op::from(AdaptiveAvgPool2d::new([size; 2]));
    refused(compile(network(false, vec![average(4096); 300]), picture(4096)), "layer0");
}

#[test]
fn real_networks_are_far_below_the_limit() {
    // ResNet-152 at 1024 pixels: 0.24 · 10^12 multiply-adds.
    let mut ops = Vec::new();
    ops.push(Op::from(Conv2d::new(3, 64, 7).stride(2).padding(Padding::all(3))));
    ops.push(MaxPool2d::new(3).stride(2).padding(1).into());
    let mut channels = 64;
    for (stage, blocks) in [3, 8, 36, 3].into_iter().enumerate() {
        let width = 64 << stage;
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            ops.push(Conv2d::new(channels, width, 1).into());
            ops.push(Conv2d::new(width, width, 3).stride(stride).padding(Padding::all(1)).into());
            ops.push(Conv2d::new(width, 4 * width, 1).into());
            channels = 4 * width;
        }
    }
    let mut builder = Builder::new("ResNet152");
    let mut last = builder.input("input");
    for (index, op) in ops.into_iter().enumerate() {
        last = builder.add(index.to_string(), op, &[last]);
    }
    builder.output("output", last);
    let layers = builder.build().unwrap().infer(&[1, 3, 1024, 1024]).unwrap();
    let products: u64 = layers.iter().map(|layer| layer.multiply_adds).sum();
    assert!((220e9..250e9).contains(&(products as f64)), "{products}");
    let work: u64 = layers.iter().map(|layer| layer.work).sum();
    assert!(work > products && work * 5 < options().max_work, "{work}");
}

#[test]
fn more_threads_than_the_maximum_are_an_error() {
    for threads in [0, Options::MAX_THREADS + 1, 65_535, usize::MAX] {
        let error = Options::new(threads).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        let model = network(false, [Activation::ReLU.into()]);
        let engine = compile(&model, options()).unwrap();
        for error in [
            compile(&model, options().threads(threads)).unwrap_err(),
            engine.with_threads(threads).unwrap_err(),
            Network::float(&model, options().threads(threads)).unwrap_err(),
        ] {
            assert!(error.to_string().starts_with("threads is "), "{error}");
        }
    }
}
