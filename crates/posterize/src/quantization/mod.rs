//! From float to int8: qparams, observers, qconfigs, fusion, prepare and convert.

mod convert;
mod fake_quantize;
mod fuse;
mod observer;
mod prepare;
mod qat;
mod qconfig;
mod qparams;
mod quantized_model;

pub(crate) use convert::quantize_layer;
pub use fake_quantize::FakeQuantize;
pub(crate) use fuse::{Blocks, folded_bias};
pub use observer::{ObserveError, Observer, ObserverKind, ObserverSpec, Range};
pub(crate) use prepare::Domain;
pub use prepare::{FloatLayer, ObservedModel};
pub use qat::{QatModel, QatState};
pub use qconfig::{QConfig, QConfigMapping};
pub use qparams::{Dtype, QParams, QScheme, QuantizationParams, QuantizationTarget};
pub use quantized_model::{QuantizedLayer, QuantizedModel};
