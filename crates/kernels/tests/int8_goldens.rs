//! Tests that int8 convolutions and linear layers give the same bits as PyTorch's
//! (`testdata/int8_ops`).

use std::path::Path;

use posterize_kernels::f32::Clamp;
use posterize_kernels::int8::{Conv2d, DynamicLinear, Linear, Requantize};
use posterize_kernels::{Conv2dGeometry, Isa, Padding, Pool, reference};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The parameters, input and output that all layers have.
#[derive(Deserialize)]
struct Layer {
    name: String,
    relu: bool,
    batch: usize,
    input_scale: f32,
    input_zero_point: u8,
    output_scale: f32,
    output_zero_point: u8,
    weight_scales: Vec<f32>,
    bias: Vec<i32>,
    weight: String,
    input: String,
    output: String,
}

impl Layer {
    fn requantize(&self) -> Requantize {
        let multiplier =
            |&scale: &f32| Requantize::multiplier(self.input_scale, scale, self.output_scale);
        Requantize {
            multiplier: self.weight_scales.iter().map(multiplier).collect(),
            zero_point: self.output_zero_point,
            min: if self.relu { self.output_zero_point } else { 0 },
            max: 255,
        }
    }

    fn weight(&self) -> Vec<i8> {
        hexadecimal(&self.weight).into_iter().map(|byte| byte as i8).collect()
    }
}

#[derive(Deserialize)]
struct ConvCase {
    #[serde(flatten)]
    layer: Layer,
    in_channels: usize,
    out_channels: usize,
    groups: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    size: [usize; 2],
}

#[derive(Deserialize)]
struct LinearCase {
    #[serde(flatten)]
    layer: Layer,
    in_features: usize,
    out_features: usize,
}

fn cases<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/int8_ops").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let cases: Vec<T> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 10, "{} cases in {}", cases.len(), path.display());
    cases
}

fn hexadecimal(digits: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn conv2d_equals_pytorch() {
    for case in cases::<ConvCase>("conv2d.json") {
        let layer = &case.layer;
        let geometry = Conv2dGeometry {
            in_channels: case.in_channels,
            out_channels: case.out_channels,
            groups: case.groups,
            kernel: case.kernel,
            stride: case.stride,
            dilation: case.dilation,
            padding: Padding::symmetric(case.padding[0], case.padding[1]),
        };
        let (weight, requantize) = (layer.weight(), layer.requantize());
        let (input, expected) = (hexadecimal(&layer.input), hexadecimal(&layer.output));
        let conv = reference::Conv2d {
            geometry,
            weight: &weight,
            bias: &layer.bias,
            input_zero_point: layer.input_zero_point,
            requantize: &requantize,
        };
        assert_eq!(conv.run(layer.batch, case.size, &input), expected, "{}", layer.name);
        for isa in Isa::supported() {
            for threads in [1, 3] {
                let zero_point = layer.input_zero_point;
                let conv =
                    Conv2d::new(isa, geometry, &weight, &layer.bias, zero_point, &requantize);
                let mut scratch = vec![0; conv.scratch_len(threads, layer.batch, case.size)];
                let mut output = vec![0; expected.len()];
                let pool = Pool::new(threads);
                conv.run(&pool, layer.batch, case.size, &input, &mut output, &mut scratch);
                assert_eq!(output, expected, "{} with {}", layer.name, conv.kernel_name());
            }
        }
    }
}

#[test]
fn linear_equals_pytorch() {
    for LinearCase { layer, in_features, out_features } in cases("linear.json") {
        let (weight, requantize) = (layer.weight(), layer.requantize());
        let (input, expected) = (hexadecimal(&layer.input), hexadecimal(&layer.output));
        let input_zero_point = layer.input_zero_point;
        let linear = reference::Linear {
            in_features,
            out_features,
            weight: &weight,
            bias: &layer.bias,
            input_zero_point,
            requantize: &requantize,
        };
        assert_eq!(linear.run(layer.batch, &input), expected, "{}", layer.name);
        for isa in Isa::supported() {
            let linear = Linear::new(
                isa,
                in_features,
                out_features,
                &weight,
                &layer.bias,
                input_zero_point,
                &requantize,
            );
            let mut output = vec![0; expected.len()];
            linear.run(&Pool::new(2), layer.batch, &input, &mut output);
            assert_eq!(output, expected, "{} with {isa}", layer.name);
        }
    }
}

#[derive(Deserialize)]
struct DynamicCase {
    in_features: usize,
    out_features: usize,
    relu: bool,
    weight: String,
    scale: String,
    bias: Option<String>,
    input: String,
    output: String,
}

fn floats(digits: &str) -> Vec<f32> {
    let bytes = hexadecimal(digits);
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn dynamic_linear_equals_pytorch() {
    for case in cases::<DynamicCase>("dynamic_linear.json") {
        let DynamicCase { in_features, out_features, .. } = case;
        let weight: Vec<i8> =
            hexadecimal(&case.weight).into_iter().map(|byte| byte as i8).collect();
        let bias = case.bias.as_deref().map(floats);
        let linear = reference::DynamicLinear {
            in_features,
            out_features,
            weight: &weight,
            scale: &floats(&case.scale),
            bias: bias.as_deref(),
            clamp: if case.relu { Clamp::RELU } else { Clamp::NONE },
        };
        let (input, expected) = (floats(&case.input), floats(&case.output));
        assert_eq!(linear.run(1, &input), expected);
        for isa in Isa::supported() {
            let packed = DynamicLinear::new(isa, &linear);
            let (mut output, mut scratch) =
                (vec![0.0; expected.len()], vec![0.0; packed.scratch_len(1)]);
            packed.run(&Pool::new(2), 1, &input, &mut output, &mut scratch);
            assert_eq!(output, expected, "{in_features} to {out_features} with {isa}");
        }
    }
}
