//! Python pickles, interpreted without Python: all of the instructions that `torch.save` has ever
//! written, and none of the callables but those that describe tensors ([`callable`]).
//!
//! Values live in one arena and refer to each other by number. So a value that contains itself,
//! or a nesting a million deep, costs what its instructions cost and nothing when dropped.

mod call;
mod callable;
mod machine;
mod value;

pub(super) use machine::read;
pub(super) use value::{Object, Pickle, Value};
