//! Tests of classifiers, and of values that are not finite in engines, evaluations and classifiers.

use posterize::data::{Batch, Class, Picture, Preprocessing};
use posterize::format::SavedModel;
use posterize::nn::Sequential;
use posterize::ops::{Activation, BatchNorm, Conv2d, Flatten, Linear, Role};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::{Isa, Model, Options, compile};
use posterize::{Architecture, Classifier, ErrorKind, FloatModel, Tensor, evaluate};

const SIZE: usize = 8;

fn float() -> FloatModel {
    let net = Sequential::new()
        .then(Conv2d::new(3, 8, 3).stride(2))
        .then(BatchNorm::two_d(8))
        .then(Activation::ReLU)
        .then(Flatten)
        .then(Linear::new(8 * 3 * 3, 3));
    Architecture::trace(&net).unwrap().init(4)
}

fn int8() -> Model {
    let mapping = QConfigMapping::global(QConfig::recommended());
    let mut observed = float().fuse().unwrap().prepare(&mapping).unwrap();
    let images = preprocessing().tensor(&[preprocessing().apply(&picture(1))]).unwrap();
    observed.calibrate(Options::new(1).unwrap(), [Ok(images)]).unwrap();
    observed.convert().unwrap().into()
}

fn preprocessing() -> Preprocessing {
    Preprocessing::imagenet().with_sizes(9, SIZE)
}

fn classes() -> Vec<Class> {
    let class = |name: &str| Class { folder: format!("n_{name}"), name: name.into() };
    ["ant", "bee", "cat"].map(class).into()
}

fn saved(model: impl Into<Model>) -> SavedModel {
    SavedModel::new(model).with_preprocessing(preprocessing()).with_classes(classes())
}

fn picture(seed: usize) -> Picture {
    let values = (0..20 * 15 * 3).map(|i| (i * (seed + 7) * 31 % 251) as u8).collect();
    Picture::new(20, 15, values).unwrap()
}

/// Returns the network with one value of a parameter replaced.
fn damaged(layer: &str, role: Role, value: f32) -> FloatModel {
    let model = float();
    let node = model.graph().find(layer).unwrap();
    let mut parameters = model.parameters().clone();
    let tensor = std::sync::Arc::make_mut(parameters.get_mut(&(node, role)).unwrap());
    tensor.data_mut()[0] = value;
    FloatModel::new(model.graph().clone(), parameters).unwrap()
}

#[test]
fn a_classifier_gives_the_logits_of_the_preprocessed_picture() {
    for model in [Model::from(float()), int8()] {
        let mut classifier = Classifier::new(saved(&model), Options::new(2).unwrap()).unwrap();
        assert_eq!(classifier.classes(), classes());
        let fused = model.as_float().map(|float| float.fuse().unwrap());
        let fused = fused.map_or(model.clone(), Model::from);
        for seed in 0..5 {
            let picture = picture(seed);
            let crop = preprocessing().apply(&picture);
            let expected = fused.forward(&preprocessing().tensor(&[crop]).unwrap()).unwrap();
            let found = classifier.classify(&picture).unwrap();
            assert_eq!(found.logits(), expected.data());
            let (width, height) = (picture.width(), picture.height());
            assert_eq!(classifier.classify_rgb(width, height, picture.data()).unwrap(), found);

            let top = found.top(9);
            assert_eq!(top.len(), 3);
            assert!(top.is_sorted_by(|a, b| a.probability >= b.probability));
            assert_eq!(top[0], found.best());
            assert_eq!(top[0].folder, Some(&*classes()[top[0].class].folder));
            assert_eq!(top[0].name, Some(&*classes()[top[0].class].name));
            let sum: f64 = found.probabilities().iter().sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
    }
}

#[cfg(feature = "pnm")]
#[test]
fn encoded_pictures_are_decoded() {
    let mut classifier = Classifier::new(saved(float()), Options::new(1).unwrap()).unwrap();
    let picture = picture(3);
    let file = [&b"P6 20 15 255 "[..], picture.data()].concat();
    let expected = classifier.classify(&picture).unwrap();
    assert_eq!(classifier.classify_bytes("body", &file).unwrap(), expected);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.ppm");
    std::fs::write(&path, &file).unwrap();
    assert_eq!(classifier.classify_file(&path).unwrap(), expected);
    let error = classifier.classify_bytes("body", &file[..100]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image);
    assert!(classifier.classify_rgb(20, 16, picture.data()).is_err());
}

#[test]
fn clones_on_other_threads_give_the_same() {
    fn is_shareable<T: Send + Sync + Clone>(_: &T) {}
    let mut classifier = Classifier::new(saved(int8()), Options::new(2).unwrap()).unwrap();
    is_shareable(&classifier);
    let expected: Vec<_> = (0..20).map(|n| classifier.classify(&picture(n)).unwrap()).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (mut classifier, expected) = (classifier.clone(), &expected);
            scope.spawn(move || {
                for (seed, expected) in expected.iter().enumerate() {
                    assert_eq!(classifier.classify(&picture(seed)).unwrap(), *expected);
                }
            });
        }
    });
}

#[test]
fn models_that_are_no_classifiers_are_errors() {
    let options = Options::new(1).unwrap();
    let error = |saved: SavedModel| Classifier::new(saved, options).unwrap_err().to_string();
    let none = SavedModel::new(float());
    assert!(error(none).contains("has no preprocessing of its pictures"));
    let few = saved(float()).with_classes(&classes()[..2]);
    assert!(error(few).contains("there are classes (2), found [1, 3]"));
    let conv = Architecture::trace(&Conv2d::new(3, 4, 3)).unwrap().init(0);
    let features = SavedModel::new(conv).with_preprocessing(preprocessing());
    assert!(error(features).contains("expected an output [1, classes]"));
    let mut classifier = Classifier::new(saved(float()), options).unwrap();
    let error = classifier.classify_crop(&picture(0)).unwrap_err().to_string();
    assert!(error.contains("expected a crop of 8 x 8 pixels, found 20 x 15"), "{error}");
}

#[test]
fn logits_that_are_not_finite_are_errors_that_name_the_first_layer() {
    for (layer, role, value) in [
        ("4", Role::Bias, f32::NAN),
        ("4", Role::Bias, f32::INFINITY),
        ("0", Role::Weight, f32::NAN),
        ("1", Role::RunningMean, f32::NEG_INFINITY),
    ] {
        let model = damaged(layer, role, value);
        for isa in Isa::supported() {
            let options = Options::new(2).unwrap().isa(isa);
            let Ok(mut classifier) = Classifier::new(saved(&model), options) else {
                panic!("{layer} {role}")
            };
            let error = classifier.classify(&picture(0)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFinite);
            // A batch norm is fused into the convolution before it.
            let expected = if layer == "1" { "0" } else { layer };
            assert_eq!(error.layer_name(), Some(expected), "{value}: {error}");
            assert!(error.to_string().contains("the logit of class"), "{error}");

            let mut engine = compile(&model, options).unwrap();
            let images = preprocessing().tensor(&[preprocessing().apply(&picture(0))]).unwrap();
            // An engine returns what the network computes.
            assert!(engine.run(&images).unwrap().data().iter().any(|logit| !logit.is_finite()));
            let batch = Batch { images, labels: vec![1], indices: vec![0] };
            let error = evaluate(&mut engine, [Ok(batch)], &mut |_, _, _| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFinite);
            assert_eq!(error.layer_name(), Some(layer), "{value}: {error}");
        }
    }
}

#[test]
fn inputs_with_nan_are_errors_that_name_the_input_and_the_index() {
    for model in [Model::from(float()), int8()] {
        let mut engine = compile(&model, Options::new(1).unwrap()).unwrap();
        let mut logits = [0.0; 6];
        for index in [0, 1, 3 * SIZE * SIZE, 2 * 3 * SIZE * SIZE - 1] {
            let mut images = Tensor::zeros([2, 3, SIZE, SIZE]);
            images.data_mut()[index] = f32::NAN;
            for error in [
                engine.run(&images).unwrap_err(),
                engine.run_into(&images, &mut logits).unwrap_err(),
                engine.run_all(&[(&images).into()]).unwrap_err(),
                engine.run_named(&[("input", (&images).into())]).unwrap_err(),
                engine.profile(&images, 1).unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::NotFinite);
                let expected = format!("input: value {index} of the input [2, 3, 8, 8] is NaN");
                assert!(error.to_string().starts_with(&expected), "{error}");
            }
        }
        // Infinite values have a meaning: the ends of the range in int8.
        let mut images = Tensor::zeros([1, 3, SIZE, SIZE]);
        images.data_mut()[0] = f32::INFINITY;
        assert!(engine.run(&images).is_ok());
    }
}
