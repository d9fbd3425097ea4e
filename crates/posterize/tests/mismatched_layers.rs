//! Tests that layers which do not fit each other, and parameters that do not fit their layer, are
//! errors that name them.

use std::sync::Arc;

use posterize::nn::Sequential;
use posterize::ops::{BatchNorm, Conv2d, Linear, Role};
use posterize::{Architecture, ErrorKind, FloatModel, Tensor};

#[test]
fn a_batch_norm_of_another_number_of_channels_is_not_fused() {
    for (channels, features) in [(8, 4), (4, 8), (1, 2), (2, 1)] {
        let convolution = Sequential::new()
            .then(Conv2d::new(3, channels, 3).bias(false))
            .then(BatchNorm::two_d(features));
        let linear =
            Sequential::new().then(Linear::new(3, channels)).then(BatchNorm::one_d(features));
        let image = Tensor::zeros([2, 3, 8, 8]);
        for (net, x) in [(convolution, image), (linear, Tensor::zeros([2, 3]))] {
            let model = Architecture::trace(&net).unwrap().init(0);
            let chain: &[&str] = &["0", "1"];
            for error in [
                model.forward(&x).unwrap_err(),
                model.fuse().unwrap_err(),
                model.fuse_modules(&[chain]).unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::ShapeMismatch, "{error}");
                assert_eq!(error.layer_name(), Some("1"), "{error}");
                let text = error.to_string();
                let numbers = format!("expected {features} channels");
                assert!(text.contains(&numbers) && text.contains(&channels.to_string()), "{text}");
            }
        }
    }
}

#[test]
fn a_batch_norm_without_channels_is_an_error() {
    for dimensions in [BatchNorm::one_d(0), BatchNorm::two_d(0)] {
        let net = Sequential::new().then(Conv2d::new(3, 8, 3)).then(dimensions);
        let error = Architecture::trace(&net).unwrap_err();
        assert_eq!(error.layer_name(), Some("1"), "{error}");
        assert!(error.to_string().contains("num_features must be at least 1"), "{error}");
    }
    let error = Architecture::trace(&Conv2d::new(3, 0, 3)).unwrap_err().to_string();
    assert!(error.contains("out_channels is zero"), "{error}");
}

#[test]
fn a_parameter_of_another_shape_is_an_error() {
    let net = Sequential::new()
        .then(Conv2d::new(3, 8, 3))
        .then(BatchNorm::two_d(8))
        .then(Conv2d::new(8, 8, 3).groups(8));
    let model = Architecture::trace(&net).unwrap().init(0);
    for (&key, tensor) in model.parameters() {
        let name = model.graph().parameter_name(key);
        let mut flat = vec![tensor.data().len()];
        if tensor.shape().len() == 1 {
            flat.push(1);
        }
        let mut longer = tensor.shape().to_vec();
        longer[0] += 1;
        // The same number of values in another shape, and other numbers.
        for shape in [flat, longer, vec![1], vec![0], Vec::new()] {
            let mut parameters = model.parameters().clone();
            let count = shape.iter().product();
            let other = Tensor::new(shape.clone(), vec![0.5; count]).unwrap();
            parameters.insert(key, Arc::new(other));
            let error = FloatModel::new(model.graph().clone(), parameters).unwrap_err();
            assert_eq!(error.layer_name(), Some(name.as_str()), "{error}");
            let expected = format!("expected {:?}, found {shape:?}", tensor.shape());
            assert!(error.to_string().contains(&expected), "{error}");
        }
        let mut parameters = model.parameters().clone();
        parameters.remove(&key);
        let error = FloatModel::new(model.graph().clone(), parameters).unwrap_err();
        assert_eq!(error.layer_name(), Some(name.as_str()), "{error}");
    }
    let mut parameters = model.parameters().clone();
    let input = model.graph().inputs().next().unwrap().0;
    parameters.insert((input, Role::Weight), Arc::new(Tensor::zeros([1])));
    assert!(FloatModel::new(model.graph().clone(), parameters).is_err());
}
