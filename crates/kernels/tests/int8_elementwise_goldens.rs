//! Tests that int8 operators without weights give the same bits as PyTorch's (`testdata/int8_ops`).

use std::collections::BTreeMap;
use std::path::Path;

use posterize_kernels::int8::{
    AdaptiveAvgPool2d, Add, MaxPool2d, Mul, PixelTable, QParams8, Table, clamp, dequantize,
    quantize, requantize_u8,
};
use posterize_kernels::pixels::{PixelOrder, PixelView};
use posterize_kernels::{Isa, Padding, Pool, Pool2dGeometry, f32};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "operator", rename_all = "snake_case")]
enum Case {
    Quantize {
        output_qparams: (f32, u8),
        input: String,
        output: String,
    },
    Dequantize {
        qparams: (f32, u8),
        output: String,
    },
    Requantize {
        qparams: (f32, u8),
        output_qparams: (f32, u8),
        output: String,
    },
    Add(Binary),
    AddRelu(Binary),
    Mul(Binary),
    MulRelu(Binary),
    #[serde(rename = "adaptive_avg_pool2d", alias = "mean")]
    Average {
        #[serde(flatten)]
        image: Image,
        output_size: [usize; 2],
    },
    #[serde(rename = "max_pool2d")]
    MaxPool {
        #[serde(flatten)]
        image: Image,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
    },
    #[serde(alias = "relu", alias = "relu6", alias = "hardtanh")]
    Clamp {
        min: u8,
        max: u8,
        output: String,
    },
    Sigmoid(Function),
    Hardswish(Function),
    Pixels {
        mean: [f32; 3],
        std: [f32; 3],
        output_qparams: (f32, u8),
        output: String,
    },
}

/// A function of one element, of every integer.
#[derive(Deserialize)]
struct Function {
    qparams: (f32, u8),
    output_qparams: (f32, u8),
    output: String,
}

#[derive(Deserialize)]
struct Binary {
    a_qparams: (f32, u8),
    b_qparams: (f32, u8),
    output_qparams: (f32, u8),
    a: String,
    b: String,
    output: String,
}

#[derive(Deserialize)]
struct Image {
    qparams: (f32, u8),
    batch: usize,
    size: [usize; 2],
    channels: usize,
    input: String,
    output: String,
}

fn hexadecimal(digits: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn floats(digits: &str) -> Vec<f32> {
    let bytes = hexadecimal(digits);
    bytes.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes).collect()
}

fn qparams((scale, zero_point): (f32, u8)) -> QParams8 {
    QParams8 { scale, zero_point }
}

fn every_integer() -> Vec<u8> {
    (0..=255).collect()
}

/// Runs a case; returns the operator's name, its output and PyTorch's output.
fn run(isa: Isa, pool: &Pool, case: &Case) -> (&'static str, Vec<u8>, Vec<u8>) {
    let outputs = |expected: &str| vec![0x5A; expected.len() / 2];
    match case {
        Case::Quantize { output_qparams, input, output } => {
            let mut q = outputs(output);
            quantize(isa, pool, qparams(*output_qparams), 0, 255, &floats(input), &mut q);
            ("quantize", q, hexadecimal(output))
        }
        Case::Dequantize { qparams: from, output } => {
            let mut x = vec![0.0; 256];
            dequantize(isa, pool, qparams(*from), &every_integer(), &mut x);
            let bytes = x.into_iter().flat_map(f32::to_le_bytes).collect();
            ("dequantize", bytes, hexadecimal(output))
        }
        Case::Requantize { qparams: from, output_qparams, output } => {
            let mut q = outputs(output);
            let (from, to) = (qparams(*from), qparams(*output_qparams));
            requantize_u8(pool, from, to, [0, 255], &every_integer(), &mut q);
            ("requantize", q, hexadecimal(output))
        }
        Case::Add(binary) => ("add", sum(isa, pool, binary, 0), hexadecimal(&binary.output)),
        Case::AddRelu(binary) => {
            let zero_point = binary.output_qparams.1;
            ("add_relu", sum(isa, pool, binary, zero_point), hexadecimal(&binary.output))
        }
        Case::Mul(binary) => ("mul", product(isa, pool, binary, 0), hexadecimal(&binary.output)),
        Case::MulRelu(binary) => {
            let zero_point = binary.output_qparams.1;
            ("mul_relu", product(isa, pool, binary, zero_point), hexadecimal(&binary.output))
        }
        Case::Average { image, output_size } => {
            let mut q = outputs(&image.output);
            AdaptiveAvgPool2d::new(isa, image.channels, *output_size, image.qparams.1).run(
                pool,
                image.batch,
                image.size,
                &hexadecimal(&image.input),
                &mut q,
            );
            ("average", q, hexadecimal(&image.output))
        }
        Case::MaxPool { image, kernel, stride, padding, dilation } => {
            let geometry = Pool2dGeometry {
                kernel: *kernel,
                stride: *stride,
                dilation: *dilation,
                padding: Padding::symmetric(padding[0], padding[1]),
            };
            let mut q = outputs(&image.output);
            MaxPool2d::new(isa, geometry, image.channels).run(
                pool,
                image.batch,
                image.size,
                &hexadecimal(&image.input),
                &mut q,
            );
            ("max_pool2d", q, hexadecimal(&image.output))
        }
        Case::Clamp { min, max, output } => {
            let mut q = outputs(output);
            clamp(isa, pool, *min, *max, &every_integer(), &mut q);
            ("clamp", q, hexadecimal(output))
        }
        Case::Sigmoid(case) => {
            ("sigmoid", table(isa, pool, case, f32::Unary::Sigmoid), hexadecimal(&case.output))
        }
        Case::Hardswish(case) => {
            ("hardswish", table(isa, pool, case, f32::Unary::HardSwish), hexadecimal(&case.output))
        }
        Case::Pixels { mean, std, output_qparams, output } => {
            let rgb: Vec<u8> = every_integer().into_iter().flat_map(|v| [v; 3]).collect();
            let mut q = outputs(output);
            let pixels = PixelView::dense([1, 1, rgb.len() / 3], PixelOrder::Rgb, &rgb).unwrap();
            let normalized = f32::PixelTable::new(*mean, *std);
            let table = PixelTable::new(&normalized, qparams(*output_qparams), 0, 255);
            table.run(pool, pixels, &mut q);
            ("pixels", q, hexadecimal(output))
        }
    }
}

fn table(isa: Isa, pool: &Pool, case: &Function, function: f32::Unary) -> Vec<u8> {
    let [from, to] = [case.qparams, case.output_qparams].map(qparams);
    let mut q = vec![0x5A; case.output.len() / 2];
    Table::new(from, to, |x| function.apply(x)).run(isa, pool, &every_integer(), &mut q);
    q
}

fn sum(isa: Isa, pool: &Pool, case: &Binary, min: u8) -> Vec<u8> {
    let [a, b, to] = [case.a_qparams, case.b_qparams, case.output_qparams].map(qparams);
    let mut q = vec![0x5A; case.output.len() / 2];
    let add = Add::new(isa, a, b, to, min, 255);
    add.run(pool, &hexadecimal(&case.a), &hexadecimal(&case.b), &mut q);
    q
}

fn product(isa: Isa, pool: &Pool, case: &Binary, min: u8) -> Vec<u8> {
    let [a, b, to] = [case.a_qparams, case.b_qparams, case.output_qparams].map(qparams);
    let mut q = vec![0x5A; case.output.len() / 2];
    let mul = Mul::new(isa, a, b, to, min, 255);
    mul.run(pool, &hexadecimal(&case.a), &hexadecimal(&case.b), &mut q);
    q
}

#[test]
fn operators_equal_pytorch() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/int8_ops/elementwise.json");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let pool = Pool::new(2);
    let mut count = BTreeMap::new();
    for (index, case) in cases.iter().enumerate() {
        for isa in Isa::supported() {
            let (operator, output, expected) = run(isa, &pool, case);
            assert_eq!(output, expected, "case {index}, {operator} on {isa}");
            *count.entry(operator).or_insert(0) += 1;
        }
    }
    assert_eq!(count.len(), 13, "{count:?}");
}
