//! From float to int8: qparams, observers, qconfigs, fusion, prepare and convert.

mod convert;
#[cfg(feature = "training")]
mod fake_quantize;
mod fuse;
mod observer;
mod prepare;
#[cfg(feature = "training")]
mod qat;
mod qconfig;
mod qparams;
mod quantized_model;

#[cfg(feature = "training")]
pub(crate) use convert::quantize_layer;
#[cfg(feature = "training")]
pub use fake_quantize::FakeQuantize;
#[cfg(feature = "training")]
pub(crate) use fuse::{Blocks, folded_bias};
pub use observer::{ObserveError, Observer, ObserverKind, ObserverSpec, Range};
#[cfg(feature = "training")]
pub(crate) use prepare::Domain;
pub use prepare::{FloatLayer, ObservedModel};
#[cfg(feature = "training")]
pub use qat::{QatModel, QatState};
pub use qconfig::{QConfig, QConfigMapping};
pub use qparams::{Dtype, QParams, QScheme, QuantizationParams, QuantizationTarget};
pub use quantized_model::{QuantizedLayer, QuantizedModel};
