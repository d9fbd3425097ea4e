//! The scale and the integers that an output is rounded with.

use super::layers::Round;
use crate::quantization::{Dtype, QParams, QatModel};

/// What an output is rounded with.
pub(super) struct Grid {
    pub(super) qparams: QParams,
    /// The integers of training.
    pub(super) quant_range: (i32, i32),
    pub(super) dtype: Dtype,
}

impl Grid {
    /// The one of a layer; `None` where it does not round, or rounding is switched off.
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
