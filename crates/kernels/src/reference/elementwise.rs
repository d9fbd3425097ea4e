//! Sums and products of two activations, by definition.

use super::quantize::{dequantize, round};
use crate::int8::QParams8;

/// `torch.ops.quantized.add`: both sides dequantized by a fused multiply-add, their sum quantized.
pub fn add([a, b]: [QParams8; 2], output: QParams8, [min, max]: [u8; 2], [qa, qb]: [u8; 2]) -> u8 {
    let dequantize = |side: QParams8, q: u8| {
        f32::from(q).mul_add(side.scale, side.scale * -f32::from(side.zero_point))
    };
    let sum = dequantize(a, qa) + dequantize(b, qb);
    round(sum * (1.0 / output.scale), output.zero_point, min, max)
}

/// [`add`] with the second side subtracted.
pub fn sub([a, b]: [QParams8; 2], output: QParams8, [min, max]: [u8; 2], [qa, qb]: [u8; 2]) -> u8 {
    let dequantize = |side: QParams8, q: u8| {
        f32::from(q).mul_add(side.scale, side.scale * -f32::from(side.zero_point))
    };
    let difference = dequantize(a, qa) - dequantize(b, qb);
    round(difference * (1.0 / output.scale), output.zero_point, min, max)
}

/// `torch.ops.quantized.mul`: the exact product of the integers, one multiplication, one rounding.
pub fn mul([a, b]: [QParams8; 2], output: QParams8, [min, max]: [u8; 2], [qa, qb]: [u8; 2]) -> u8 {
    let integer = |side: QParams8, q: u8| i32::from(q) - i32::from(side.zero_point);
    let product = integer(a, qa) * integer(b, qb);
    let multiplier = a.scale * b.scale * (1.0 / output.scale);
    round(product as f32 * multiplier, output.zero_point, min, max)
}

/// From one quantization to another: dequantized and quantized again.
pub fn requantize_u8(from: QParams8, to: QParams8, [min, max]: [u8; 2], q: u8) -> u8 {
    super::quantize::quantize(to, min, max, dequantize(from, q))
}
