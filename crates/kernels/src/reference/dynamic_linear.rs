//! Reference implementation of a dynamically quantized linear layer.

use super::quantize::quantize;
use crate::f32::Clamp;
use crate::int8::QParams8;
use crate::lengths::{check_len, checked_count};

/// A linear layer with int8 weights whose input is quantized when it runs: each row with a scale and a
/// zero point of its own.
///
/// For a row `x` with the [`dynamic_qparams`] `s` and `z`, and `q = quantize(x)`:
/// `y[o] = clamp(fma(f32(Σ (q[i] − z) · w[o, i]), s · scale[o], bias[o]))` in f32, where `fma` is a fused
/// multiply-add. A row with a NaN or infinite value gives NaN.
///
/// ```
/// use posterize_kernels::f32::Clamp;
/// use posterize_kernels::reference::DynamicLinear;
///
/// let linear = DynamicLinear {
///     in_features: 2,
///     out_features: 1,
///     weight: &[1, 2],
///     scale: &[0.5],
///     bias: Some(&[10.0]),
///     clamp: Clamp::NONE,
/// };
/// // The scale of the row is 1: 0.5 · (1 · 55 + 2 · −200) + 10.
/// assert_eq!(linear.run(1, &[55.0, -200.0]), [-162.5]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DynamicLinear<'a> {
    /// Number of input features.
    pub in_features: usize,
    /// Number of output features.
    pub out_features: usize,
    /// Weights, `[out_features, in_features]`, with zero point 0.
    pub weight: &'a [i8],
    /// The scale of each output's weights, `[out_features]`.
    pub scale: &'a [f32],
    /// Biases, `[out_features]`.
    pub bias: Option<&'a [f32]>,
    /// The bounds of the outputs.
    pub clamp: Clamp,
}

/// Returns the scale and zero point of a row: those of its smallest to its largest value, with 0 in between;
/// `None` if a value is not finite.
///
/// `scale = (max − min) / 255` and `zero_point = round_half_even(−min / scale)` in f64, then rounded to f32.
/// If the inverse of the scale is not finite, it is 0.1. This is `ChooseQuantizationParams` of PyTorch,
/// except that small scales are not raised to 6.1e-5.
///
/// ```
/// use posterize_kernels::int8::QParams8;
/// use posterize_kernels::reference::dynamic_qparams;
///
/// let qparams = QParams8 { scale: 1.0, zero_point: 200 };
/// assert_eq!(dynamic_qparams(&[55.0, -200.0]), Some(qparams));
/// assert_eq!(dynamic_qparams(&[0.0]), Some(QParams8 { scale: 0.1, zero_point: 0 }));
/// assert_eq!(dynamic_qparams(&[f32::NAN]), None);
/// ```
pub fn dynamic_qparams(row: &[f32]) -> Option<QParams8> {
    if !row.iter().all(|x| x.is_finite()) {
        return None;
    }
    let (min, max) = row.iter().fold((0.0, 0.0), |(min, max), &x| (x.min(min), x.max(max)));
    Some(qparams_of_range(min, max))
}

/// Returns the scale and zero point of a range that contains 0.
pub(crate) fn qparams_of_range(min: f32, max: f32) -> QParams8 {
    let scale = (f64::from(max) - f64::from(min)) / 255.0;
    let usable = QParams8 { scale: scale as f32, zero_point: 0 }.defect().is_none();
    let scale = if usable { scale } else { 0.1 };
    let zero_point = (-f64::from(min) / scale).round_ties_even().clamp(0.0, 255.0);
    QParams8 { scale: scale as f32, zero_point: zero_point as u8 }
}

impl DynamicLinear<'_> {
    /// Describes what is wrong with the shapes and numbers; `None` where nothing is.
    ///
    /// Without a defect no input overflows an i32 accumulator.
    pub fn defect(&self) -> Option<String> {
        let &Self { in_features, out_features, weight, scale, bias, .. } = self;
        for (name, features) in [("in", in_features), ("out", out_features)] {
            if features == 0 {
                return Some(format!("{name}_features is zero; it must be at least 1"));
            }
        }
        if checked_count(&[out_features, in_features]) != Some(weight.len()) {
            return Some(format!(
                "{} weights for {out_features} outputs of {in_features} inputs",
                weight.len()
            ));
        }
        let found = [Some(scale.len()), bias.map(<[f32]>::len)];
        for (what, found) in ["scales", "biases"].into_iter().zip(found) {
            if let Some(found) = found.filter(|&found| found != out_features) {
                return Some(format!("{found} {what} for {out_features} outputs"));
            }
        }
        if let Some(wrong) = scale.iter().position(|s| !(s.is_finite() && *s > 0.0)) {
            let found = scale[wrong];
            return Some(format!("scale {found} of output {wrong} is not finite and positive"));
        }
        weight.chunks_exact(in_features).enumerate().find_map(|(output, weight)| {
            // An input and its zero point differ by at most 255.
            let sum: u64 = weight.iter().map(|w| u64::from(w.unsigned_abs())).sum();
            let max = sum * 255;
            (max > i32::MAX as u64)
                .then(|| format!("accumulators of output {output} may reach {max}, beyond 32 bits"))
        })
    }

    /// Multiplies `input`, `[N, in_features]` with N = `batch`, and returns `[N, out_features]`.
    ///
    /// # Panics
    /// If a slice has another length than its shape, or an accumulator overflows an i32.
    pub fn run(&self, batch: usize, input: &[f32]) -> Vec<f32> {
        check_len("the input", input.len(), &[batch, self.in_features]);
        check_len("the weight", self.weight.len(), &[self.out_features, self.in_features]);
        let mut output = Vec::with_capacity(batch * self.out_features);
        for row in input.chunks_exact(self.in_features) {
            let Some(qparams) = dynamic_qparams(row) else {
                output.extend((0..self.out_features).map(|_| f32::NAN));
                continue;
            };
            let integers: Vec<u8> = row.iter().map(|&x| quantize(qparams, 0, 255, x)).collect();
            for (o, weight) in self.weight.chunks_exact(self.in_features).enumerate() {
                let mut sum = 0;
                for (&q, &w) in integers.iter().zip(weight) {
                    sum += (i64::from(q) - i64::from(qparams.zero_point)) * i64::from(w);
                }
                let sum = i32::try_from(sum).expect("an accumulator overflows an i32");
                let bias = self.bias.map_or(0.0, |bias| bias[o]);
                let y = (sum as f32).mul_add(qparams.scale * self.scale[o], bias);
                output.push(y.clamp(self.clamp.min, self.clamp.max));
            }
        }
        output
    }
}
