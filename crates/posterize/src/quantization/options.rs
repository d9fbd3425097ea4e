//! The passes of post-training quantization, and how each is done.

use serde::{Deserialize, Serialize};

use super::qconfig::QConfigMapping;

/// How biases are corrected for the errors of quantization.
///
/// ```
/// use posterize::quantization::{BiasCorrection, PostTraining};
///
/// assert_eq!(PostTraining::recommended().bias_correction, BiasCorrection::Empirical);
/// assert_eq!(PostTraining::pytorch().bias_correction, BiasCorrection::None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BiasCorrection {
    /// They are not.
    None,
    /// For the rounding of the weights of their layer, `E[W x] − E[Ŵ x]` with the means of the float
    /// network's inputs.
    Fast,
    /// For all that shifts the mean of a channel in the int8 network, `E[W x] − E[Ŵ x̂]`, layer by layer
    /// from the input to the output. It reads the pictures once more.
    Empirical,
}

/// Whether channels between layers are scaled so that all channels of a value have similar ranges.
///
/// If a weight has one scale for all of its channels, channels are scaled so that the weights on both sides
/// have similar ranges instead (cross-layer equalization).
///
/// ```
/// use posterize::quantization::{Equalization, PostTraining};
///
/// assert_eq!(PostTraining::recommended().equalization, Equalization::IfBetter);
/// assert_eq!(PostTraining::pytorch().equalization, Equalization::Never);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Equalization {
    /// They are not.
    Never,
    /// They are where no ReLU6 bounds them. With one scale for a weight, as [`Self::Always`].
    Unbounded,
    /// They are.
    Always,
    /// They are if the int8 outputs are then closer to the float ones. The network is quantized in each way
    /// on the first [`TRIAL_BATCHES`](Self::TRIAL_BATCHES) batches and compared on the one after them.
    IfBetter,
}

impl Equalization {
    /// The number of batches on which [`Self::IfBetter`] quantizes.
    pub const TRIAL_BATCHES: usize = 2;
}

/// How weights are rounded to integers.
///
/// ```
/// use posterize::quantization::{PostTraining, Rounding};
///
/// assert_eq!(PostTraining::pytorch().rounding, Rounding::Nearest);
/// assert_eq!(PostTraining::recommended().rounding, Rounding::CoordinateDescent);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rounding {
    /// To the nearest integer.
    Nearest,
    /// Up or down, so that the squared error of the layer's output is small: one weight after the other is
    /// rounded the other way as long as the error falls.
    CoordinateDescent,
    /// Up or down, as AdaRound learns it.
    AdaRound,
}

/// The passes of post-training quantization, besides PyTorch's.
///
/// ```
/// use posterize::quantization::{Equalization, PostTraining};
///
/// assert_eq!(PostTraining::of_preset("fbgemm"), PostTraining::pytorch());
/// let passes = PostTraining::of_preset("recommended").equalization(Equalization::Always);
/// assert_eq!(passes.equalization, Equalization::Always);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PostTraining {
    /// Whether channels between two layers are scaled.
    pub equalization: Equalization,
    /// How biases are corrected.
    pub bias_correction: BiasCorrection,
    /// How weights are rounded.
    pub rounding: Rounding,
    /// Whether linear layers that are outputs of the network are quantized dynamically, so that its outputs
    /// are not rounded, see
    /// [`QConfigMapping::set_float_outputs`](super::QConfigMapping::set_float_outputs).
    #[serde(default)]
    pub float_outputs: bool,
    /// The seed of the random numbers that rounding samples outputs with.
    pub seed: u64,
}

impl PostTraining {
    /// Returns no passes but PyTorch's, whose results it gives.
    pub const fn pytorch() -> Self {
        Self {
            equalization: Equalization::Never,
            bias_correction: BiasCorrection::None,
            rounding: Rounding::Nearest,
            float_outputs: false,
            seed: 0,
        }
    }

    /// Returns the recommended passes.
    pub const fn recommended() -> Self {
        Self {
            equalization: Equalization::IfBetter,
            bias_correction: BiasCorrection::Empirical,
            rounding: Rounding::CoordinateDescent,
            float_outputs: true,
            seed: 0,
        }
    }

    /// Returns the passes for a preset of [`QConfig::PRESETS`](super::QConfig::PRESETS): none for those
    /// of PyTorch.
    pub fn of_preset(name: &str) -> Self {
        if name == "recommended" { Self::recommended() } else { Self::pytorch() }
    }

    /// Returns whether bias correction or rounding reads pictures, so that they are needed even if the ranges
    /// of activations are known.
    ///
    /// ```
    /// use posterize::quantization::{PostTraining, Rounding};
    ///
    /// assert!(!PostTraining::pytorch().needs_pictures());
    /// assert!(PostTraining::pytorch().rounding(Rounding::AdaRound).needs_pictures());
    /// ```
    pub const fn needs_pictures(&self) -> bool {
        !matches!(self.bias_correction, BiasCorrection::None)
            || !matches!(self.rounding, Rounding::Nearest)
    }

    /// Returns a qconfig mapping with outputs as these passes want them.
    pub(super) fn applied_to(&self, mapping: &QConfigMapping) -> QConfigMapping {
        mapping.clone().set_float_outputs(mapping.float_outputs() || self.float_outputs)
    }

    /// Sets whether linear layers that are outputs of the network are quantized dynamically.
    #[must_use]
    pub const fn float_outputs(mut self, float_outputs: bool) -> Self {
        self.float_outputs = float_outputs;
        self
    }

    /// Sets whether channels are equalized.
    #[must_use]
    pub const fn equalization(mut self, equalization: Equalization) -> Self {
        self.equalization = equalization;
        self
    }

    /// Sets how biases are corrected.
    #[must_use]
    pub const fn bias_correction(mut self, bias_correction: BiasCorrection) -> Self {
        self.bias_correction = bias_correction;
        self
    }

    /// Sets how weights are rounded.
    #[must_use]
    pub const fn rounding(mut self, rounding: Rounding) -> Self {
        self.rounding = rounding;
        self
    }

    /// Sets the seed.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}
