//! An interpreter for Python pickles that does not run code.
//!
//! It supports all instructions that any version of `torch.save` writes, and only the callables
//! that describe tensors ([`callable`]). Values are in one arena and refer to each other by index,
//! so values that contain themselves or are deeply nested need no recursion.

mod allowance;
mod call;
mod callable;
mod machine;
mod value;

pub(super) use machine::read;
pub(super) use value::{Handle, Object, Pickle, Value};
