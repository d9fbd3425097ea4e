//! Tests that engines give the same bits with any number of threads, for clones, batches, sizes and
//! pixels.

mod nets;

use std::path::Path;

use nets::{SIDE, mobilenet, others, pixels, preprocessed, preprocessing, quantized};
use posterize::data::{Picture, PixelBatch, Preprocessing, load_picture};
use posterize::runtime::{Engine, Input, Model, Normalize, Options, compile};
use posterize::{Error, MemoryFormat, PixelView, Tensor};

fn options(threads: usize) -> Options {
    Options::new(threads).unwrap().pictures(&preprocessing())
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.data().iter().map(|value| value.to_bits()).collect()
}

/// Calls `check` with an engine of each network, float and int8.
fn for_each_network(options: Options, check: &dyn Fn(&str, Engine)) {
    for (name, model) in [("mobilenet", mobilenet()), ("others", others())] {
        check(name, compile(&model, options).unwrap());
        check(&format!("{name} int8"), compile(quantized(&model), options).unwrap());
    }
}

/// Returns the bits of the output of every node.
fn observed<'a>(engine: &mut Engine, images: impl Into<Input<'a>>) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    let output = engine.run_observed(images, &mut |id, values| {
        assert_eq!(id.0, all.len());
        all.push(values.iter().map(|value| value.to_bits()).collect());
        Ok(())
    });
    assert_eq!(*all.last().unwrap(), bits(&output.unwrap()));
    all
}

#[test]
fn threads_clones_and_memory_formats_give_the_same_bits() {
    for_each_network(options(1), &|name, mut engine| {
        let images = preprocessed(&pixels(3, 9));
        let expected = bits(&engine.run(&images).unwrap());
        assert_eq!(engine.output_shape([3, 3, SIDE, SIDE]).unwrap(), [3, 10], "{name}");
        let contiguous = images.to_format(MemoryFormat::Contiguous);
        assert_eq!(bits(&engine.run(&contiguous).unwrap()), expected, "{name}");
        let mut output = [f32::NAN; 30];
        engine.run_into(&images, &mut output).unwrap();
        assert!(output.iter().map(|value| value.to_bits()).eq(expected.iter().copied()), "{name}");
        // Engines that run at the same time, some with more threads than there are CPUs.
        std::thread::scope(|scope| {
            for threads in 1..=4 {
                let (mut engine, images, expected) =
                    (engine.with_threads(threads).unwrap(), &images, &expected);
                scope.spawn(move || {
                    assert_eq!(engine.options().threads, threads);
                    for _ in 0..5 {
                        assert_eq!(bits(&engine.run(images).unwrap()), *expected);
                    }
                });
            }
        });
    });
}

#[test]
fn each_picture_of_a_batch_gives_the_same_bits_as_alone() {
    for_each_network(options(2), &|name, mut engine| {
        let images = preprocessed(&pixels(5, 2));
        let picture = 3 * SIDE * SIDE;
        let mut alone = Vec::new();
        for values in images.data().chunks_exact(picture) {
            let one = Tensor::channels_last([1, 3, SIDE, SIDE], values.to_vec()).unwrap();
            alone.extend(bits(&engine.run(&one).unwrap()));
        }
        assert_eq!(bits(&engine.run(&images).unwrap()), alone, "{name}");
        // A smaller batch in the memory of the larger one.
        let two = Tensor::channels_last([2, 3, SIDE, SIDE], images.data()[..2 * picture].to_vec());
        assert_eq!(bits(&engine.run(&two.unwrap()).unwrap()), alone[..20], "{name}");
    });
}

#[test]
fn pixels_give_the_same_bits_as_normalized_pictures_in_every_layer() {
    for_each_network(options(2), &|name, mut engine| {
        for batch in [1, 3] {
            let pixels = pixels(batch, batch);
            let images = preprocessed(&pixels);
            let expected = observed(&mut engine, &images);
            assert_eq!(observed(&mut engine, &pixels), expected, "{name}");
            // If nothing is observed, the input may not be computed in float.
            let output = engine.run(&pixels).unwrap();
            assert_eq!(bits(&output), bits(&engine.run(&images).unwrap()), "{name}");
        }
    });
}

#[test]
fn pixels_of_real_pictures_give_the_same_bits_as_their_tensors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/preprocess/pictures");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let crops: Vec<Picture> =
        files.iter().map(|file| load_picture(file, &preprocessing()).unwrap()).collect();
    assert!(crops.len() > 30);
    let expected = preprocessing().tensor(&crops).unwrap();
    let data = crops.iter().flat_map(|crop| crop.data().iter().copied()).collect();
    let pixels = PixelBatch::new([crops.len(), SIDE, SIDE], data).unwrap();
    for_each_network(options(1), &|name, mut engine| {
        let logits = bits(&engine.run(&expected).unwrap());
        assert_eq!(bits(&engine.run(&pixels).unwrap()), logits, "{name}");
        assert_eq!(bits(&engine.run(PixelView::from(&crops[0])).unwrap()), logits[..10], "{name}");
    });
}

#[test]
fn an_engine_runs_pictures_of_several_sizes() {
    let model = mobilenet();
    let mut engine = compile(&model, options(1)).unwrap();
    let mut lazy = compile(&model, Options::new(2).unwrap()).unwrap();
    for side in [SIDE, 64, SIDE, 33] {
        let images = Tensor::zeros([2, 3, side, side]);
        let logits = engine.run(&images).unwrap();
        assert_eq!(logits.shape(), [2, 10]);
        assert_eq!(bits(&lazy.clone().run(&images).unwrap()), bits(&logits));
        assert_eq!(bits(&lazy.run(&images).unwrap()), bits(&logits));
    }
}

#[test]
fn profiles_list_every_step_and_the_normalization_of_pixels() {
    for_each_network(options(1), &|name, mut engine| {
        let pixels = pixels(2, 1);
        let profile = engine.profile(&pixels, 3).unwrap();
        let prepared = profile.layers[0].kernel == "normalize";
        // If the network begins with quantization, one table does both.
        assert_eq!(prepared, name != "mobilenet int8", "{name}");
        let plain = engine.profile(&preprocessed(&pixels), 3).unwrap();
        assert_eq!(plain.layers.len() + usize::from(prepared), profile.layers.len());
        assert!(profile.layers.iter().all(|layer| layer.seconds > 0.0 && layer.shape[0] == 2));
        let shapes = engine.output_shape([2, 3, SIDE, SIDE]).unwrap();
        assert_eq!(profile.layers.last().unwrap().shape, shapes);
        assert!(profile.activation_bytes > 0);
    });
}

#[track_caller]
fn refused(model: impl Into<Model>, options: Options) -> String {
    match compile(model, options) {
        Ok(_) => panic!("{options:?} is accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_engine_can_be_used_after_an_error() {
    let model = others();
    let one = Options::new(1).unwrap();
    let message = refused(&model, one.threads(0));
    assert_eq!(message, "threads is 0; it must be at least 1");
    let message = refused(&model, one.batch(0));
    assert_eq!(message, "batch is 0; it must be at least 1");
    let message = refused(&model, one.picture([4, 32, 32]));
    assert!(message.starts_with("stem.1: expected 3 channels, found 4"), "{message}");
    let flat = Normalize::Rgb { mean: [0.0; 3], std: [1.0, 0.0, 1.0] };
    let message = refused(&model, one.normalize(flat));
    assert!(message.starts_with("normalization with mean [0.0, 0.0, 0.0], std"), "{message}");
    let huge = one.pictures(&Preprocessing::imagenet()).batch(usize::MAX / 2);
    assert!(refused(&model, huge).ends_with("is too large"));

    let mut engine = compile(&model, options(1)).unwrap();
    let good = pixels(1, 1);
    let mut output = [0.0; 10];
    let mut fails = |input: Input<'_>, length: usize, expected: &str| {
        let error: Error = engine.run_into(input, &mut output[..length]).unwrap_err();
        assert_eq!(error.to_string(), expected);
        engine.run_into(&good, &mut output).unwrap();
    };
    fails((&good).into(), 9, "output: [1, 10] does not fit 9 values");
    fails(
        (&Tensor::zeros([0, 3, SIDE, SIDE])).into(),
        0,
        "input: [0, 3, 40, 40] has an empty axis",
    );
    fails(
        (&Tensor::zeros([3, SIDE, SIDE])).into(),
        10,
        "stem.0: expected an input [N, C, H, W], found [3, 40, 40]",
    );
    let mut tensors_only = compile(&model, one).unwrap();
    let message = tensors_only.run(&good).unwrap_err().to_string();
    assert!(
        message.ends_with("compile it with Options::pictures or Options::normalize"),
        "{message}"
    );
    assert!(tensors_only.run(&preprocessed(&good)).is_ok());
}
