//! Fake quantization, which simulates the rounding of int8 in f32 during training.

use std::fmt;

use posterize_kernels::f32::training as kernels;
use posterize_kernels::{Isa, Pool};
use serde::{Deserialize, Serialize};

use super::observer::{ObserveError, Observer, ObserverSpec, Range};
use super::qparams::{QParams, QuantizationParams};
use crate::error::{Error, Result};

impl QParams {
    /// Quantizes and dequantizes `x`; `torch.fake_quantize_per_tensor_affine`.
    ///
    /// It computes `(clamp(round_half_even(x · (1 / scale)) + zero_point, quant_min, quant_max) −
    /// zero_point) · scale` with the integers `(quant_min, quant_max)` of `quant_range`. The results
    /// are bit-exact with PyTorch, except that NaN stays NaN. It runs on the calling thread.
    ///
    /// ```
    /// use posterize::quantization::QParams;
    ///
    /// let mut output = [0.0; 3];
    /// QParams { scale: 0.5, zero_point: 0 }.fake_quantize((0, 127), &[1.3, -2.0, 99.0], &mut output);
    /// assert_eq!(output, [1.5, 0.0, 63.5]);
    /// ```
    ///
    /// # Panics
    /// Panics if `x` and `output` have different lengths.
    pub fn fake_quantize(self, quant_range: (i32, i32), x: &[f32], output: &mut [f32]) {
        self.fake_quantize_on(Isa::detect(), &Pool::new(1), quant_range, x, output);
    }

    /// [`Self::fake_quantize`] on the threads of a pool.
    fn fake_quantize_on(
        self,
        isa: Isa,
        pool: &Pool,
        quant_range: (i32, i32),
        x: &[f32],
        output: &mut [f32],
    ) {
        assert_eq!(x.len(), output.len(), "input and output must have the same length");
        output.copy_from_slice(x);
        kernels::fake_quantize(isa, pool, self.within(quant_range), output);
    }

    /// Computes the gradient of [`fake_quantize`](Self::fake_quantize) by the straight-through
    /// estimator (Bengio et al. 2013, <https://arxiv.org/abs/1308.3432>).
    ///
    /// `gradient` is that of the output and becomes that of `x`: it is set to 0 where `x` rounds to
    /// an integer outside `quant_range`. It runs on the calling thread.
    ///
    /// # Panics
    /// Panics if `x` and `gradient` have different lengths.
    pub fn fake_quantize_backward(self, quant_range: (i32, i32), x: &[f32], gradient: &mut [f32]) {
        self.fake_quantize_backward_on(Isa::detect(), &Pool::new(1), quant_range, x, gradient);
    }

    /// [`Self::fake_quantize_backward`] on the threads of a pool.
    fn fake_quantize_backward_on(
        self,
        isa: Isa,
        pool: &Pool,
        quant_range: (i32, i32),
        x: &[f32],
        gradient: &mut [f32],
    ) {
        assert_eq!(x.len(), gradient.len(), "input and gradient must have the same length");
        kernels::fake_quantize_backward(isa, pool, self.within(quant_range), x, gradient);
    }
}

/// Observes values and simulates their quantization; `torch.ao.quantization.FakeQuantize`.
///
/// The observer and the fake quantization are enabled and disabled separately. While the observer is
/// enabled, each batch updates the scale and zero point before it is quantized with them.
///
/// ```
/// use posterize::quantization::{FakeQuantize, QConfig};
/// let mut fake_quantize = FakeQuantize::new(&QConfig::fbgemm_qat().activation)?;
/// let x = [0.0, 0.04, 12.7];
/// let mut y = [0.0; 3];
/// fake_quantize.forward(&x, &[3], &mut y).unwrap();
/// assert_eq!(y, [0.0, 0.0, 12.7]); // the scale is 0.1
///
/// fake_quantize.enable_observer(false);
/// fake_quantize.forward(&[1.26, 99.0, -1.0], &[3], &mut y).unwrap();
/// assert_eq!(y, [1.3000001, 12.7, 0.0]);
///
/// let mut gradient = [1.0; 3];
/// fake_quantize.backward(&[1.26, 99.0, -1.0], &[3], &mut gradient).unwrap();
/// assert_eq!(gradient, [1.0, 0.0, 0.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SavedFakeQuantize", into = "SavedFakeQuantize")]
pub struct FakeQuantize {
    observer: Observer,
    qparams: QuantizationParams,
    observer_enabled: bool,
    fake_quant_enabled: bool,
}

impl FakeQuantize {
    /// Creates a fake quantization with an observer built from `spec`, with both enabled, a scale of
    /// 1 and a zero point of 0.
    ///
    /// # Errors
    /// Returns the error of [`ObserverSpec::build`].
    pub fn new(spec: &ObserverSpec) -> Result<Self> {
        Ok(Self {
            observer: spec.build()?,
            qparams: QuantizationParams::PerTensor(QParams::IDENTITY),
            observer_enabled: true,
            fake_quant_enabled: true,
        })
    }

    /// Returns the observer.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Returns the scales and zero points that it quantizes with.
    pub fn qparams(&self) -> &QuantizationParams {
        &self.qparams
    }

    /// Returns whether the observer is enabled.
    pub fn observer_enabled(&self) -> bool {
        self.observer_enabled
    }

    /// Returns whether the fake quantization is enabled.
    pub fn fake_quant_enabled(&self) -> bool {
        self.fake_quant_enabled
    }

    /// Enables or disables the observer.
    pub fn enable_observer(&mut self, enabled: bool) {
        self.observer_enabled = enabled;
    }

    /// Disables the observer, so that the scale and zero point do not change.
    pub fn disable_observer(&mut self) {
        self.enable_observer(false);
    }

    /// Enables or disables the fake quantization.
    pub fn enable_fake_quant(&mut self, enabled: bool) {
        self.fake_quant_enabled = enabled;
    }

    /// Disables the fake quantization, so that [`Self::forward`] copies its input.
    pub fn disable_fake_quant(&mut self) {
        self.enable_fake_quant(false);
    }

    /// Replaces what was observed by a range and disables the observer, so that the scale stays that of
    /// the range.
    pub(crate) fn fix(&mut self, range: Range) -> Result<(), ObserveError> {
        self.observer.reset();
        self.enable_observer(true);
        let observed = self.observe(&[range.min, range.max], &[2]);
        self.disable_observer();
        observed
    }

    /// Observes a batch and updates the scale and zero point, if the observer is enabled.
    ///
    /// `x` are the values of a row-major tensor of shape `shape`.
    ///
    /// # Errors
    /// Returns the error of [`Observer::observe`].
    pub fn observe(&mut self, x: &[f32], shape: &[usize]) -> Result<(), ObserveError> {
        self.observe_on(&Pool::new(1), x, shape)
    }

    /// [`Self::observe`] on the threads of a pool.
    pub(crate) fn observe_on(
        &mut self,
        pool: &Pool,
        x: &[f32],
        shape: &[usize],
    ) -> Result<(), ObserveError> {
        if self.observer_enabled {
            self.observer.observe_on(pool, x, shape)?;
            if let Some(qparams) = self.observer.calculate_qparams() {
                self.qparams = qparams;
            }
        }
        Ok(())
    }

    /// Observes a batch and quantizes and dequantizes it to `output`, each if enabled:
    /// [`Self::observe`], then [`Self::apply`].
    ///
    /// # Errors
    /// Returns the error of [`Observer::observe`], or [`ObserveError::Shape`] if the shape does not
    /// have a channel for each scale.
    ///
    /// # Panics
    /// Panics if `x` and `output` have different lengths.
    pub fn forward(
        &mut self,
        x: &[f32],
        shape: &[usize],
        output: &mut [f32],
    ) -> Result<(), ObserveError> {
        self.forward_on(Isa::detect(), &Pool::new(1), x, shape, output)
    }

    /// [`Self::forward`] on the threads of a pool.
    pub(crate) fn forward_on(
        &mut self,
        isa: Isa,
        pool: &Pool,
        x: &[f32],
        shape: &[usize],
        output: &mut [f32],
    ) -> Result<(), ObserveError> {
        self.observe_on(pool, x, shape)?;
        self.apply_on(isa, pool, x, shape, output)
    }

    /// Quantizes and dequantizes the values of a row-major tensor without observing them, or copies
    /// them if the fake quantization is disabled.
    ///
    /// # Errors
    /// Returns [`ObserveError::Shape`] if the shape does not have a channel for each scale.
    ///
    /// # Panics
    /// Panics if `x` and `output` have different lengths.
    pub fn apply(
        &self,
        x: &[f32],
        shape: &[usize],
        output: &mut [f32],
    ) -> Result<(), ObserveError> {
        self.apply_on(Isa::detect(), &Pool::new(1), x, shape, output)
    }

    /// [`Self::apply`] on the threads of a pool.
    pub(crate) fn apply_on(
        &self,
        isa: Isa,
        pool: &Pool,
        x: &[f32],
        shape: &[usize],
        output: &mut [f32],
    ) -> Result<(), ObserveError> {
        if !self.fake_quant_enabled {
            output.copy_from_slice(x);
            return Ok(());
        }
        self.for_each_run(x, shape, output, |qparams, range, x, output| {
            qparams.fake_quantize_on(isa, pool, range, x, output);
        })
    }

    /// Computes the gradient of [`apply`](Self::apply) at `x`, as
    /// [`QParams::fake_quantize_backward`]; `gradient` is unchanged if the fake quantization is
    /// disabled.
    ///
    /// Call it before the next [`forward`](Self::forward), which may change the scale.
    ///
    /// # Errors
    /// Returns [`ObserveError::Shape`] if the shape does not have a channel for each scale.
    ///
    /// # Panics
    /// Panics if `x` and `gradient` have different lengths.
    pub fn backward(
        &self,
        x: &[f32],
        shape: &[usize],
        gradient: &mut [f32],
    ) -> Result<(), ObserveError> {
        self.backward_on(Isa::detect(), &Pool::new(1), x, shape, gradient)
    }

    /// [`Self::backward`] on the threads of a pool.
    pub(crate) fn backward_on(
        &self,
        isa: Isa,
        pool: &Pool,
        x: &[f32],
        shape: &[usize],
        gradient: &mut [f32],
    ) -> Result<(), ObserveError> {
        if !self.fake_quant_enabled {
            return Ok(());
        }
        self.for_each_run(x, shape, gradient, |qparams, range, x, gradient| {
            qparams.fake_quantize_backward_on(isa, pool, range, x, gradient);
        })
    }

    fn for_each_run(
        &self,
        x: &[f32],
        shape: &[usize],
        output: &mut [f32],
        work: impl Fn(QParams, (i32, i32), &[f32], &mut [f32]),
    ) -> Result<(), ObserveError> {
        assert_eq!(x.len(), output.len(), "both slices must have the same length");
        let quant_range = self.observer.target().quant_range();
        let mut output = output;
        self.qparams
            .for_each_run(x, shape, |run, qparams| {
                let (part, rest) = std::mem::take(&mut output).split_at_mut(run.len());
                work(qparams, quant_range, run, part);
                output = rest;
            })
            .map_err(ObserveError::Shape)
    }
}

impl FakeQuantize {
    /// Returns the text of PyTorch's `extra_repr`.
    pub(super) fn extra_repr(&self) -> String {
        let target = self.observer.target();
        let (quant_min, quant_max) = target.quant_range();
        let spec = self.observer.spec();
        let axis = if spec.kind.is_per_channel() {
            format!(", ch_axis={}", spec.ch_axis)
        } else {
            String::new()
        };
        format!(
            "fake_quant_enabled={}, observer_enabled={}, quant_min={quant_min}, \
             quant_max={quant_max}, dtype={}, qscheme={}{axis}, {}",
            self.fake_quant_enabled,
            self.observer_enabled,
            target.dtype(),
            target.qscheme(),
            self.qparams
        )
    }
}

impl fmt::Display for FakeQuantize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeQuantize({})", self.extra_repr())
    }
}

/// The serialized form. Its parts are checked against each other when it is read.
#[derive(Serialize, Deserialize)]
struct SavedFakeQuantize {
    observer: Observer,
    qparams: QuantizationParams,
    observer_enabled: bool,
    fake_quant_enabled: bool,
}

impl From<FakeQuantize> for SavedFakeQuantize {
    fn from(this: FakeQuantize) -> Self {
        let FakeQuantize { observer, qparams, observer_enabled, fake_quant_enabled } = this;
        Self { observer, qparams, observer_enabled, fake_quant_enabled }
    }
}

impl TryFrom<SavedFakeQuantize> for FakeQuantize {
    type Error = Error;

    fn try_from(saved: SavedFakeQuantize) -> Result<Self> {
        let SavedFakeQuantize { observer, qparams, observer_enabled, fake_quant_enabled } = saved;
        let (quant_min, quant_max) = observer.target().quant_range();
        let (lowest, highest) = observer.target().dtype().bounds();
        let usable = |q: &QParams| {
            q.scale.is_normal() && q.scale > 0.0 && (lowest..=highest).contains(&q.zero_point)
        };
        let axis = observer.spec().kind.is_per_channel().then_some(observer.spec().ch_axis);
        let fits = qparams.axis().is_none_or(|found| axis == Some(found));
        if !fits || !qparams.channels().iter().all(usable) {
            return Err(Error::Argument(format!(
                "the saved scales and zero points are not those of a {} with the integers \
                 {quant_min} to {quant_max}",
                observer.spec().kind
            )));
        }
        Ok(Self { observer, qparams, observer_enabled, fake_quant_enabled })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quantization::QConfig;

    proptest! {
        #[test]
        fn fake_quantization_equals_quantizing_and_dequantizing(
            scale in 1e-6f32..1e6,
            range in prop::sample::select(vec![(0, 255), (0, 127), (-128, 127), (-127, 127), (-64, 63)]),
            at in 0.0f32..=1.0,
            steps in prop::collection::vec(-600.0f32..600.0, 1..100),
            far in prop::sample::select(vec![0.0f32, 1e9, -1e9, f32::MAX, f32::MIN]),
        ) {
            let (min, max) = range;
            let zero_point = min + (at * (max - min) as f32) as i32;
            let qparams = QParams { scale, zero_point };
            let halves = steps.iter().map(|step| (step * 2.0).round() / 2.0 * scale);
            let x: Vec<f32> = steps.iter().map(|step| step * scale).chain(halves).chain([far]).collect();
            let mut output = vec![0.0; x.len()];
            let mut gradient = vec![2.5; x.len()];
            qparams.fake_quantize(range, &x, &mut output);
            qparams.fake_quantize_backward(range, &x, &mut gradient);
            for ((&x, output), gradient) in x.iter().zip(output).zip(gradient) {
                prop_assert_eq!(output, qparams.dequantize(qparams.quantize_within(x, min, max)));
                let q = qparams.unclamped(x);
                let inside = min as f32 <= q && q <= max as f32;
                prop_assert_eq!(gradient, if inside { 2.5 } else { 0.0 });
            }
        }
    }

    #[test]
    fn nan_stays_nan_and_infinities_are_clamped() {
        let qparams = QParams { scale: 0.5, zero_point: 3 };
        let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let mut output = [0.0; 3];
        qparams.fake_quantize((0, 255), &x, &mut output);
        assert!(output[0].is_nan());
        assert_eq!(output[1..], [126.0, -1.5]);
        let mut gradient = [1.0; 3];
        qparams.fake_quantize_backward((0, 255), &x, &mut gradient);
        assert_eq!(gradient, [0.0; 3]);
    }

    #[test]
    fn results_do_not_depend_on_threads_or_instruction_sets() {
        let qparams = QParams { scale: 0.01, zero_point: 40 };
        let x: Vec<f32> = (0..200_077).map(|i| (i % 1999 - 999) as f32 / 200.0).collect();
        let (mut expected, mut gradient) = (vec![0.0; x.len()], vec![1.0; x.len()]);
        for (x, output) in x.chunks(1000).zip(expected.chunks_mut(1000)) {
            qparams.fake_quantize((0, 127), x, output);
        }
        qparams.fake_quantize_backward((0, 127), &x, &mut gradient);
        let pool = Pool::new(3);
        for isa in Isa::supported() {
            let (mut found, mut kept) = (vec![0.0; x.len()], vec![1.0; x.len()]);
            qparams.fake_quantize_on(isa, &pool, (0, 127), &x, &mut found);
            qparams.fake_quantize_backward_on(isa, &pool, (0, 127), &x, &mut kept);
            assert_eq!(found, expected, "{isa}");
            assert_eq!(kept, gradient, "{isa}");
        }
    }

    #[test]
    fn disabled_fake_quantization_copies_values_and_gradients() {
        let mut fake_quantize = FakeQuantize::new(&ObserverSpec::min_max()).unwrap();
        fake_quantize.disable_fake_quant();
        let x = [-7.3, 0.2, 1e9];
        let mut output = [0.0; 3];
        fake_quantize.forward(&x, &[3], &mut output).unwrap();
        assert_eq!(output, x);
        fake_quantize.backward(&x, &[3], &mut output).unwrap();
        assert_eq!(output, x);
        assert!(fake_quantize.observer().has_data(), "the observer is still enabled");
    }

    #[test]
    fn a_batch_that_is_an_error_changes_nothing() {
        let mut fake_quantize = FakeQuantize::new(&QConfig::recommended_qat().weight).unwrap();
        let mut output = [0.0; 4];
        fake_quantize.forward(&[1.0, 2.0, 3.0, 4.0], &[2, 2], &mut output).unwrap();
        let before = fake_quantize.clone();
        for (x, shape) in
            [([f32::NAN, 0.0, 0.0, 0.0], [2, 2]), ([0.0; 4], [4, 1]), ([0.0; 4], [3, 1])]
        {
            assert!(fake_quantize.forward(&x, &shape, &mut output).is_err());
            assert_eq!(fake_quantize, before);
        }
        fake_quantize.disable_observer();
        assert!(fake_quantize.forward(&[0.0; 4], &[4, 1], &mut output).is_err());
    }

    #[test]
    fn fake_quantization_prints_as_in_pytorch() {
        let mut fake_quantize = FakeQuantize::new(&QConfig::fbgemm_qat().activation).unwrap();
        fake_quantize.disable_observer();
        assert_eq!(
            fake_quantize.to_string(),
            "FakeQuantize(fake_quant_enabled=true, observer_enabled=false, quant_min=0, \
             quant_max=127, dtype=torch.quint8, qscheme=torch.per_tensor_affine, scale=1, \
             zero_point=0)"
        );
    }

    #[test]
    fn damaged_saved_states_are_errors() {
        let mut fake_quantize = FakeQuantize::new(&QConfig::recommended_qat().weight).unwrap();
        fake_quantize.observe(&[1.0, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
        fake_quantize.disable_observer();
        let text = serde_json::to_string(&fake_quantize).unwrap();
        assert_eq!(serde_json::from_str::<FakeQuantize>(&text).unwrap(), fake_quantize);
        for (good, bad) in [
            ("\"scale\":", "\"scale\":-"),
            ("\"zero_point\":0", "\"zero_point\":1000"),
            ("\"axis\":0", "\"axis\":1"),
        ] {
            let damaged = text.replace(good, bad);
            assert_ne!(damaged, text);
            assert!(serde_json::from_str::<FakeQuantize>(&damaged).is_err(), "{good} → {bad}");
        }
    }
}
