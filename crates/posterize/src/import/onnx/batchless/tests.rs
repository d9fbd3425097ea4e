//! Tests of files without a batch axis.

use super::super::proto::tensor_proto::DataType;
use super::super::proto::{AttributeProto, NodeProto, ValueInfoProto};
use super::super::testing::{counting, float, floats, import, int, ints, model, node, run, value};
use super::super::{BatchAxis, OnnxOptions};
use crate::tensor::Tensor;

fn options() -> OnnxOptions {
    OnnxOptions::new().batch_axis(BatchAxis::None)
}

/// Runs nodes from `x`, which counts from 1, to `y`, and returns the shape in the file and the values.
fn of_x(shape: &[usize], nodes: Vec<NodeProto>) -> (Vec<usize>, Vec<f32>) {
    let sizes: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    let file = model(vec![floats("x", &sizes)], nodes, "y");
    let x = counting(&[&[1], shape].concat());
    let y = &run(&file, &options(), &[x])[0];
    assert_eq!(y.shape()[0], 1);
    (y.shape()[1..].to_vec(), y.data().to_vec())
}

fn one(op_type: &str, shape: &[usize], attributes: Vec<AttributeProto>) -> (Vec<usize>, Vec<f32>) {
    of_x(shape, vec![node(op_type, "x", "y", attributes)])
}

#[test]
fn operators_go_along_the_first_axis() {
    let sum = one("Softmax", &[2, 3], vec![int("axis", 0)]);
    assert_eq!(sum.0, [2, 3]);
    let [low, high] = [1.0 / (1.0 + 3.0_f32.exp()), 1.0 / (1.0 + (-3.0_f32).exp())];
    for (found, expected) in sum.1.iter().zip([low, low, low, high, high, high]) {
        assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
    }
    let transposed = (vec![3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(one("Transpose", &[2, 3], Vec::new()), transposed);
    assert_eq!(one("Transpose", &[2, 3], vec![ints("perm", &[1, 0])]), transposed);
    let largest = one("ArgMax", &[2, 3], vec![int("keepdims", 0)]);
    assert_eq!(largest, (vec![3], vec![1.0, 1.0, 1.0]));
    let mean = one("ReduceMean", &[2, 3], vec![ints("axes", &[0]), int("keepdims", 0)]);
    assert_eq!(mean, (vec![3], vec![2.5, 3.5, 4.5]));
    let twice = of_x(&[2, 2], vec![node("Concat", "x x", "y", vec![int("axis", 0)])]);
    assert_eq!(twice, (vec![4, 2], vec![1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]));
}

#[test]
fn a_reduction_of_all_axes_is_a_scalar() {
    let sum = one("ReduceSum", &[2, 3], vec![int("keepdims", 0)]);
    assert_eq!(sum, (Vec::new(), vec![21.0]));
    assert_eq!(one("ReduceMax", &[2, 3], Vec::new()), (vec![1, 1], vec![6.0]));
}

#[test]
fn scalars_and_vectors_are_values() {
    assert_eq!(one("Neg", &[], Vec::new()), (Vec::new(), vec![-1.0]));
    assert_eq!(one("Relu", &[3], Vec::new()), (vec![3], vec![1.0, 2.0, 3.0]));
}

#[test]
fn flattening_splits_the_axes_anywhere() {
    for (axis, shape) in [(0, [1, 24]), (1, [2, 12]), (2, [6, 4]), (3, [24, 1]), (-1, [6, 4])] {
        let (found, values) = one("Flatten", &[2, 3, 4], vec![int("axis", axis)]);
        assert_eq!((found, &values), (shape.to_vec(), &counting(&[24]).data().to_vec()));
    }
}

/// Runs a node on `x` of this shape and an input of integers, which is a constant.
fn with_ints(op_type: &str, shape: &[usize], second: &[f32], axis: Option<i64>) -> Vec<usize> {
    let sizes: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    let inputs = vec![floats("x", &sizes), value("ints", DataType::Int64, &[second.len() as i64])];
    let axis = axis.map(|axis| int("axis", axis)).into_iter().collect();
    let file = model(inputs, vec![node(op_type, "x ints", "y", axis)], "y");
    let constant = Tensor::new([second.len()], second.to_vec()).unwrap();
    let options = options().constant("ints", constant);
    let x = counting(&[&[1], shape].concat());
    run(&file, &options, &[x])[0].shape()[1..].to_vec()
}

#[test]
fn inputs_that_are_constants_are_sizes_and_axes() {
    assert_eq!(with_ints("Reshape", &[2, 3, 4], &[4.0, -1.0], None), [4, 6]);
    assert_eq!(with_ints("Reshape", &[2, 3, 4], &[0.0, -1.0, 2.0, 2.0], None), [2, 3, 2, 2]);
    assert_eq!(with_ints("Expand", &[3, 1], &[2.0, 1.0, 4.0], None), [2, 3, 4]);
    assert_eq!(with_ints("Tile", &[2, 3], &[2.0, 1.0], None), [4, 3]);
    assert_eq!(with_ints("Unsqueeze", &[3, 4], &[0.0, -1.0], None), [1, 3, 4, 1]);
    assert_eq!(with_ints("Squeeze", &[1, 3, 1], &[0.0], None), [3, 1]);
    assert_eq!(with_ints("Pad", &[2, 3], &[1.0, 0.0, 0.0, 2.0], None), [3, 5]);
    assert_eq!(with_ints("ReduceMin", &[2, 3], &[0.0], None), [1, 3]);
    assert_eq!(with_ints("Gather", &[4, 2], &[3.0, 0.0, 1.0], None), [3, 2]);
    assert_eq!(with_ints("Gather", &[2, 4], &[3.0, 0.0, 1.0], Some(-1)), [2, 3]);
}

#[test]
fn shapes_are_known() {
    // Half of the positions of the first axis, by arithmetic on the shape.
    let constant =
        |name: &str, value: i64| node("Constant", "", name, vec![ints("value_ints", &[value])]);
    let nodes = vec![
        node("Shape", "x", "all", vec![int("start", 0), int("end", 1)]),
        constant("two", 2),
        constant("zero", 0),
        node("Div", "all two", "half", Vec::new()),
        node("Slice", "x zero half", "y", Vec::new()),
    ];
    assert_eq!(of_x(&[4, 1], nodes), (vec![2, 1], vec![1.0, 2.0]));
}

fn two(op_type: &str, shapes: [&[usize]; 2], attributes: Vec<AttributeProto>) -> Tensor {
    let sizes = shapes.map(|shape| shape.iter().map(|&size| size as i64).collect::<Vec<_>>());
    let inputs: Vec<ValueInfoProto> = vec![floats("a", &sizes[0]), floats("b", &sizes[1])];
    let file = model(inputs, vec![node(op_type, "a b", "y", attributes)], "y");
    let values = shapes.map(|shape| counting(&[&[1], shape].concat()));
    run(&file, &options(), &values).remove(0)
}

#[test]
fn values_of_other_ranks_are_broadcast() {
    let sum = two("Add", [&[2, 2], &[2]], Vec::new());
    assert_eq!((sum.shape(), sum.data()), (&[1, 2, 2][..], &[2.0, 4.0, 4.0, 6.0][..]));
    let difference = two("Sub", [&[2], &[2, 1]], Vec::new());
    assert_eq!(difference.data(), [0.0, 1.0, -1.0, 0.0]);
}

#[test]
fn products_of_matrices_and_vectors_are_those_of_numpy() {
    let product = two("MatMul", [&[2, 3], &[3]], Vec::new());
    assert_eq!((product.shape(), product.data()), (&[1, 2][..], &[14.0, 32.0][..]));
    let product = two("MatMul", [&[2], &[2, 2]], Vec::new());
    assert_eq!((product.shape(), product.data()), (&[1, 2][..], &[7.0, 10.0][..]));
    let product = two("MatMul", [&[2], &[2]], Vec::new());
    assert_eq!((product.shape(), product.data()), (&[1][..], &[5.0][..]));
    let product = two("MatMul", [&[2, 1, 2], &[2, 1]], Vec::new());
    assert_eq!((product.shape(), product.data()), (&[1, 2, 1, 1][..], &[5.0, 11.0][..]));
    // 2 · aᵀ · b.
    let attributes = vec![int("transA", 1), float("alpha", 2.0)];
    let product = two("Gemm", [&[2, 1], &[2, 2]], attributes);
    assert_eq!((product.shape(), product.data()), (&[1, 1, 2][..], &[14.0, 20.0][..]));
}

#[test]
fn an_operator_of_pictures_needs_one_picture() {
    let pool = || vec![node("GlobalMaxPool", "x", "y", Vec::new())];
    assert_eq!(of_x(&[1, 2, 1, 2], pool()), (vec![1, 2, 1, 1], vec![2.0, 4.0]));
    let file = model(vec![floats("x", &[2, 2, 1, 2])], pool(), "y");
    let error = import(&file, &options()).unwrap_err().to_string();
    assert!(error.contains("without a batch axis"), "{error}");
}

#[test]
fn the_batch_axis_is_in_front_of_those_of_the_file() {
    let file = model(vec![floats("x", &[2])], vec![node("Softmax", "x", "y", Vec::new())], "y");
    let onnx = import(&file, &options()).unwrap();
    assert_eq!((onnx.inputs()[0].shape(), onnx.inputs()[0].batch()), (&[1, 2][..], None));
    let x = Tensor::new([3, 2], vec![1.0, 1.0, 5.0, 5.0, 0.0, 0.0]).unwrap();
    assert_eq!(run(&file, &options(), &[x])[0].data(), [0.5; 6]);
}

#[test]
fn constants_are_checked() {
    let inputs = vec![floats("x", &[1, 2]), value("axes", DataType::Int64, &[1])];
    let file = model(inputs, vec![node("ReduceSum", "x axes", "y", Vec::new())], "y");
    let message = |name: &str, shape: &[usize]| {
        let options = OnnxOptions::new().constant(name, Tensor::zeros(shape.to_vec()));
        import(&file, &options).unwrap_err().to_string()
    };
    let error = message("axis", &[1]);
    assert!(error.contains("`axis`") && error.contains("x, axes"), "{error}");
    let error = message("axes", &[2]);
    assert!(error.contains("[2]") && error.contains("expected [1]"), "{error}");
    let error = import(&file, &OnnxOptions::new()).unwrap_err().to_string();
    assert!(error.contains("`axes`"), "{error}");
}
