//! From float to int8: qparams, observers, qconfigs, fusion, prepare and convert.

mod fuse;
mod observer;
mod qconfig;
mod qparams;

pub use observer::{ObserveError, Observer, ObserverKind, ObserverSpec, Range};
pub use qconfig::{QConfig, QConfigMapping};
pub use qparams::{Dtype, QParams, QScheme, QuantizationParams, QuantizationTarget};
