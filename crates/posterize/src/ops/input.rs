//! The operator of a network's inputs.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, is_the_identity, no_hyper_parameters, no_parameters, prints_as_a_layer,
};
use super::kernel::Compute;
use super::training::{Train, Training};
use super::{Int8Rule, Operator, Saved};

/// An input of a network; ONNX's `graph.input`.
///
/// [`Builder::input`](crate::graph::Builder::input) and the tracer add its nodes.
///
/// ```
/// use posterize::graph::NodeId;
/// use posterize::nn::trace;
/// use posterize::ops::{Input, Linear, Op};
///
/// let graph = trace(&Linear::new(4, 2))?;
/// assert_eq!(graph.node(NodeId(0)).op, Op::Input(Input));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Input;

impl Operator for Input {
    fn kind(&self) -> String {
        "Input".into()
    }

    no_hyper_parameters!();

    prints_as_a_layer!();

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    no_parameters!();

    fn work(&self, _: &[&[usize]], _: &[usize]) -> u64 {
        0
    }

    fn infer(&self, _: &[&[usize]]) -> Result<Vec<usize>, String> {
        Err("the shape of an input cannot be inferred; give it to the call that runs the graph"
            .into())
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: "an input is float" }
    }
}

impl Saved for Input {
    const VERSION: u32 = 1;
}

impl Compute for Input {
    is_the_identity!(Err("an input is float".into()));
}

impl Train for Input {
    fn training(&self) -> Training {
        Training::Input
    }
}
