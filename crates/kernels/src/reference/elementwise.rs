//! Reference implementations of addition, subtraction, multiplication and requantization of u8
//! activations.

use super::quantize::{dequantize, round};
use crate::int8::QParams8;

/// Adds two activations as `torch.ops.quantized.add`: both are dequantized with a fused
/// multiply-add, and their sum is quantized.
pub fn add([a, b]: [QParams8; 2], output: QParams8, [min, max]: [u8; 2], [qa, qb]: [u8; 2]) -> u8 {
    let dequantize = |side: QParams8, q: u8| {
        f32::from(q).mul_add(side.scale, side.scale * -f32::from(side.zero_point))
    };
    let sum = dequantize(a, qa) + dequantize(b, qb);
    round(sum * (1.0 / output.scale), output.zero_point, min, max)
}

/// Subtracts two activations: as [`add`], with the second one subtracted.
pub fn sub([a, b]: [QParams8; 2], output: QParams8, [min, max]: [u8; 2], [qa, qb]: [u8; 2]) -> u8 {
    let dequantize = |side: QParams8, q: u8| {
        f32::from(q).mul_add(side.scale, side.scale * -f32::from(side.zero_point))
    };
    let difference = dequantize(a, qa) - dequantize(b, qb);
    round(difference * (1.0 / output.scale), output.zero_point, min, max)
}

/// Multiplies two activations as `torch.ops.quantized.mul`: the exact product of the integers is
/// multiplied once by `scale_a · scale_b / scale_output` and rounded once.
pub fn mul([a, b]: [QParams8; 2], output: QParams8, [min, max]: [u8; 2], [qa, qb]: [u8; 2]) -> u8 {
    let integer = |side: QParams8, q: u8| i32::from(q) - i32::from(side.zero_point);
    let product = integer(a, qa) * integer(b, qb);
    let multiplier = a.scale * b.scale * (1.0 / output.scale);
    round(product as f32 * multiplier, output.zero_point, min, max)
}

/// Converts an activation to another scale and zero point: dequantizes and quantizes it again.
pub fn requantize_u8(from: QParams8, to: QParams8, [min, max]: [u8; 2], q: u8) -> u8 {
    super::quantize::quantize(to, min, max, dequantize(from, q))
}
