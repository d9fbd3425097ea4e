//! Which operators int8 kernels compute, and which of them keep their input's scale.

use crate::graph::Op;

/// Whether int8 kernels compute the operator, and whether its output keeps its input's scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Int8Form {
    /// There is no kernel; the operator stays in float.
    None,
    /// The output has a scale of its own.
    NewScale,
    /// The operator moves, drops or averages values: its output keeps its input's scale.
    SharedScale,
}

pub(super) fn int8_form(op: &Op) -> Int8Form {
    match op {
        Op::Conv2d(..) | Op::Linear(..) | Op::Add(_) | Op::Mul | Op::Cat | Op::QuantStub => {
            Int8Form::NewScale
        }
        Op::Activation(_)
        | Op::MaxPool2d(_)
        | Op::AdaptiveAvgPool2d(_)
        | Op::Mean
        | Op::Flatten
        | Op::Dropout(_)
        | Op::ZeroPad2d(_) => Int8Form::SharedScale,
        Op::Input | Op::BatchNorm(_) | Op::DeQuantStub => Int8Form::None,
    }
}
