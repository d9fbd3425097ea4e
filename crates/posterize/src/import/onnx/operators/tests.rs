//! Tests of forms of operators that exporters rarely write; testdata/onnx has those that they do.

use super::super::OnnxOptions;
use super::super::proto::tensor_proto::DataType;
use super::super::proto::{AttributeProto, NodeProto};
use super::super::testing::{
    constant, counting, float, floats, import, int, ints, model, node, run, string,
};
use crate::tensor::Tensor;

/// Runs nodes from `x` to `y`.
fn of(x: &Tensor, nodes: Vec<NodeProto>) -> Tensor {
    let sizes: Vec<i64> = x.shape().iter().map(|&size| size as i64).collect();
    let file = model(vec![floats("x", &sizes)], nodes, "y");
    run(&file, &OnnxOptions::new(), std::slice::from_ref(x)).remove(0)
}

fn one(x: &Tensor, op_type: &str, attributes: Vec<AttributeProto>) -> Tensor {
    of(x, vec![node(op_type, "x", "y", attributes)])
}

/// Runs a node with `x` and a constant of floats.
fn with(x: &Tensor, op_type: &str, shape: &[i64], values: &[f32]) -> Tensor {
    let nodes = vec![constant("c", shape, values), node(op_type, "x c", "y", Vec::new())];
    of(x, nodes)
}

fn row(values: &[f32]) -> Tensor {
    Tensor::new([1, values.len()], values.to_vec()).unwrap()
}

fn assert_close(found: &Tensor, expected: &[f32]) {
    assert_eq!(found.data().len(), expected.len());
    for (found, expected) in found.data().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
    }
}

#[test]
fn each_value_has_its_own_exponent() {
    let powers = with(&row(&[3.0, -2.0, 4.0, -2.0]), "Pow", &[4], &[2.0, 3.0, 0.5, 2.0]);
    assert_close(&powers, &[9.0, -8.0, 2.0, 4.0]);
    let x = counting(&[1, 2, 2]);
    assert_close(&with(&x, "Pow", &[2, 1], &[2.0, 1.0]), &[1.0, 4.0, 3.0, 4.0]);
    // One exponent along the batch, which may be of any size.
    assert_close(&with(&counting(&[1, 2]), "Pow", &[1, 2], &[1.0, 3.0]), &[1.0, 8.0]);
}

#[test]
fn each_value_has_its_own_slope() {
    let x = Tensor::new([1, 2, 2], vec![-1.0, -2.0, 3.0, -4.0]).unwrap();
    let slopes = with(&x, "PRelu", &[2, 2], &[0.5, 0.25, 0.1, 2.0]);
    assert_close(&slopes, &[-0.5, -0.5, 3.0, -8.0]);
    assert_close(&with(&x, "PRelu", &[2], &[0.5, 3.0]), &[-0.5, -6.0, 3.0, -12.0]);
}

#[test]
fn functions_have_factors_of_their_own() {
    let x = row(&[-1.0, 2.0]);
    let selu = one(&x, "Selu", vec![float("alpha", 2.0), float("gamma", 3.0)]);
    assert_close(&selu, &[6.0 * ((-1.0_f32).exp() - 1.0), 6.0]);
    let swish = one(&x, "Swish", vec![float("alpha", 2.0)]);
    let expected = [-1.0_f32, 2.0].map(|x| x / (1.0 + (-2.0 * x).exp()));
    assert_close(&swish, &expected);
}

#[test]
fn exchanged_bounds_are_the_upper_one() {
    let nodes = vec![
        constant("low", &[], &[2.0]),
        constant("high", &[], &[1.0]),
        node("Clip", "x low high", "y", Vec::new()),
    ];
    assert_eq!(of(&row(&[0.0, 1.5, 3.0]), nodes).data(), [1.0; 3]);
}

#[test]
fn a_layer_norm_has_its_statistics() {
    let x = Tensor::new([1, 2, 2], vec![1.0, 3.0, -2.0, 4.0]).unwrap();
    let nodes = vec![
        constant("weight", &[2], &[1.0, 1.0]),
        node("LayerNormalization", "x weight", "z y inverse", Vec::new()),
    ];
    let file = model(vec![floats("x", &[1, 2, 2])], nodes, "z y inverse");
    let found = run(&file, &OnnxOptions::new(), &[x]);
    assert_eq!(found[1].shape(), [1, 2, 1]);
    assert_close(&found[1], &[2.0, 1.0]);
    assert_close(&found[2], &[1.0 / (1.0_f32 + 1e-5).sqrt(), 1.0 / (9.0_f32 + 1e-5).sqrt()]);
    assert!((found[0].data()[1] - found[2].data()[0]).abs() < 1e-5);
}

#[test]
fn windows_go_over_three_axes() {
    let x = counting(&[1, 1, 2, 2, 3]);
    let kernel = || ints("kernel_shape", &[2, 2, 2]);
    let largest = one(&x, "MaxPool", vec![kernel()]);
    assert_eq!((largest.shape(), largest.data()), (&[1, 1, 1, 1, 2][..], &[11.0, 12.0][..]));
    let average = one(&x, "AveragePool", vec![kernel()]);
    assert_close(&average, &[6.0, 7.0]);
    // Padding in front of the depth is not counted.
    let pads = ints("pads", &[1, 0, 0, 0, 0, 0]);
    let padded = one(&x, "AveragePool", vec![kernel(), pads]);
    assert_close(&padded, &[3.0, 4.0, 6.0, 7.0]);
}

#[test]
fn an_average_has_dilation() {
    let x = counting(&[1, 1, 3, 4]);
    let attributes = || vec![ints("kernel_shape", &[2, 2]), ints("dilations", &[2, 2])];
    assert_close(&one(&x, "AveragePool", attributes()), &[6.0, 7.0]);
    let mut with_pads = attributes();
    with_pads.push(ints("pads", &[1, 1, 1, 1]));
    let file = model(
        vec![floats("x", &[1, 1, 3, 4])],
        vec![node("AveragePool", "x", "y", with_pads)],
        "y",
    );
    let error = import(&file, &OnnxOptions::new()).unwrap_err().to_string();
    assert!(error.contains("over the edge"), "{error}");
}

#[test]
fn a_transposed_convolution_goes_over_one_axis() {
    let x = counting(&[1, 1, 3]);
    let run = |attributes: Vec<AttributeProto>| {
        of(
            &x,
            vec![
                constant("w", &[1, 1, 2], &[1.0, 10.0]),
                node("ConvTranspose", "x w", "y", attributes),
            ],
        )
    };
    let y = run(vec![ints("strides", &[2])]);
    assert_eq!((y.shape(), y.data()), (&[1, 1, 6][..], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0][..]));
    // A pixel more than have values, and one less, which is cut off in front.
    let longer = run(vec![ints("strides", &[2]), ints("output_shape", &[7])]);
    assert_eq!(longer.data(), [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 0.0]);
    let shorter = run(vec![ints("strides", &[2]), ints("output_shape", &[5])]);
    assert_eq!(shorter.data(), [10.0, 2.0, 20.0, 3.0, 30.0]);
}

#[test]
fn parts_without_values_add_nothing() {
    let mut nodes = vec![node("Constant", "", "parts", vec![ints("value_ints", &[2, 0, 1])])];
    nodes.push(node("Split", "x parts", "a none b", vec![int("axis", 1)]));
    nodes.push(node("Concat", "b none a", "y", vec![int("axis", 1)]));
    assert_eq!(of(&counting(&[1, 3]), nodes).data(), [3.0, 1.0, 2.0]);
}

#[test]
fn positions_of_several_axes_are_gathered() {
    let nodes = vec![
        node("Constant", "", "flat", vec![ints("value_ints", &[2, 0, 1, 1])]),
        node("Constant", "", "shape", vec![ints("value_ints", &[2, 2])]),
        node("Reshape", "flat shape", "indices", Vec::new()),
        node("Gather", "x indices", "y", vec![int("axis", 1)]),
    ];
    let y = of(&counting(&[1, 3, 2]), nodes);
    assert_eq!(y.shape(), [1, 2, 2, 2]);
    assert_eq!(y.data(), [5.0, 6.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
}

#[test]
fn channels_are_before_pixels_where_the_node_says_so() {
    let x = counting(&[1, 2, 2, 2]);
    let block = || int("blocksize", 2);
    let crd = one(&x, "SpaceToDepth", vec![block(), string("mode", "CRD")]);
    assert_eq!(crd.data(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let dcr = one(&x, "SpaceToDepth", vec![block()]);
    assert_eq!(dcr.data(), [1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0]);
}

#[test]
fn a_resize_keeps_the_ratio_of_the_sides() {
    let resized = |policy: &str| {
        let nodes = vec![
            node("Constant", "", "sizes", vec![ints("value_ints", &[6, 8])]),
            NodeProto {
                input: ["x", "", "", "sizes"].map(str::to_owned).to_vec(),
                ..node(
                    "Resize",
                    "",
                    "y",
                    vec![ints("axes", &[2, 3]), string("keep_aspect_ratio_policy", policy)],
                )
            },
        ];
        of(&counting(&[1, 1, 2, 2]), nodes).shape().to_vec()
    };
    assert_eq!(resized("stretch"), [1, 1, 6, 8]);
    assert_eq!(resized("not_larger"), [1, 1, 6, 6]);
    assert_eq!(resized("not_smaller"), [1, 1, 8, 8]);
}

#[test]
fn dropout_of_training_is_unsupported() {
    let nodes = vec![node("Dropout", "x ratio training", "y", Vec::new())];
    let inputs = vec![
        floats("x", &[1, 2]),
        floats("ratio", &[]),
        super::super::testing::value("training", DataType::Bool, &[]),
    ];
    let file = model(inputs, nodes, "y");
    let options = |training: f32| {
        let scalar = |value: f32| Tensor::new(Vec::new(), vec![value]).unwrap();
        OnnxOptions::new().constant("ratio", scalar(0.5)).constant("training", scalar(training))
    };
    let x = row(&[1.0, 2.0]);
    assert_eq!(run(&file, &options(0.0), &[x])[0].data(), [1.0, 2.0]);
    let error = import(&file, &options(1.0)).unwrap_err().to_string();
    assert!(error.contains("training"), "{error}");
}
