//! Post-training quantization and quantization-aware training; PyTorch's `torch.ao.quantization`.
//!
//! A [`FloatModel`](crate::FloatModel) is fused, prepared with observers as a [`QConfigMapping`]
//! says, calibrated with pictures and converted to a [`QuantizedModel`].
//!
//! ```
//! use posterize::nn::Sequential;
//! use posterize::ops::{Activation, Flatten, Linear};
//! use posterize::quantization::{QConfig, QConfigMapping};
//! use posterize::{Architecture, Tensor};
//!
//! let net = Sequential::new().then(Flatten).then(Linear::new(4, 2)).then(Activation::ReLU);
//! let model = Architecture::trace(&net)?.init(0).fuse()?;
//! let mut observed = model.prepare(&QConfigMapping::global(QConfig::recommended()))?;
//! let x = Tensor::new([1, 1, 2, 2], vec![-1.0, 0.0, 0.5, 1.0])?;
//! let y = observed.forward(&x)?;
//! let quantized = observed.convert()?;
//! let error = quantized.forward(&x)?.data()[0] - y.data()[0];
//! assert!(error.abs() < 0.01);
//! # Ok::<(), posterize::Error>(())
//! ```

mod accuracy_target;
mod calibration_data;
mod convert;
mod domain;
#[cfg(feature = "training")]
mod fake_quantize;
mod float_layer;
mod float_values;
mod fuse;
mod input_normalization;
mod observer;
mod options;
mod passes;
mod post_training;
mod prepare;
#[cfg(feature = "training")]
mod qat;
mod qconfig;
mod qparams;
mod quantized_layer;
mod quantized_model;
mod quantized_weight;
mod ranges;
mod recipe;
mod sensitivity;
mod statistics;
mod without_pictures;

pub use accuracy_target::{
    AccuracyTarget, Attempt, GivenBack, Half, Measured, SearchEvent, SearchResult, Varied,
};
pub use calibration_data::CalibrationData;
#[cfg(feature = "training")]
pub(crate) use convert::quantize_layer;
#[cfg(feature = "training")]
pub(crate) use domain::Domain;
#[cfg(feature = "training")]
pub use fake_quantize::FakeQuantize;
pub use float_layer::FloatLayer;
#[cfg(feature = "training")]
pub(crate) use fuse::{Blocks, folded_bias};
pub use input_normalization::InputNormalization;
pub use observer::{ObserveError, Observer, ObserverKind, ObserverSpec, Range};
pub use options::{BiasCorrection, Equalization, PostTraining, Rounding};
pub(crate) use passes::channel_scaling;
pub use post_training::PostTrainingResult;
pub use prepare::ObservedModel;
#[cfg(feature = "training")]
pub use qat::{QatModel, QatState};
pub use qconfig::{QConfig, QConfigMapping};
pub use qparams::{Dtype, QParams, QScheme, QuantizationParams, QuantizationTarget};
pub use quantized_layer::QuantizedLayer;
pub use quantized_model::QuantizedModel;
pub use quantized_weight::QuantizedWeight;
pub use ranges::{ChannelFactors, Ranges, ValueRange};
pub use recipe::Recipe;
pub use sensitivity::{
    Cause, LayerCause, LayerFacts, LayerSensitivity, OutputFacts, OutputQuality, Remedy,
    Sensitivity, WeightFacts,
};
