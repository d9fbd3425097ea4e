//! The scale and the range of integers of a fake-quantized output.

use super::layers::Round;
use crate::quantization::{Dtype, QParams, QatModel};

/// The scale and the range of integers of a fake-quantized output.
pub(super) struct Grid {
    pub(super) qparams: QParams,
    /// The smallest and the largest integer in training.
    pub(super) quant_range: (i32, i32),
    pub(super) dtype: Dtype,
}

impl Grid {
    /// Returns the grid of a layer; `None` if its output is not fake-quantized, or if fake
    /// quantization is disabled.
    pub(super) fn of(qat: &QatModel, round: Round) -> Option<Self> {
        match round {
            Round::None => None,
            Round::Own(id) | Round::Shared(id) => {
                let rounds = qat.activation(id).filter(|found| found.fake_quant_enabled())?;
                let target = rounds.observer().target();
                Some(Self {
                    qparams: rounds.qparams().per_tensor()?,
                    quant_range: target.quant_range(),
                    dtype: target.dtype(),
                })
            }
            Round::Fixed(qparams) => {
                let dtype = Dtype::Quint8;
                let found = Self { qparams, quant_range: dtype.bounds(), dtype };
                qat.fake_quant_enabled().then_some(found)
            }
        }
    }
}
