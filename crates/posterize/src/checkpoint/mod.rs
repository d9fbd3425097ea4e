//! Reading checkpoints (PyTorch zip, PyTorch legacy, safetensors) to a [`StateDict`].
//!
//! A `.pth` file contains a Python pickle, which is a program for a stack machine that may import
//! and call anything. This module interprets the program with a list of the few callables that
//! describe tensors (`pickle`). None of them is run; a call only gives data. Any other callable is
//! an error. The zip directory is also read here (`zip_archive`), so that every allocation is
//! bounded by the file's size. Existing crates were not used because they accept unknown calls or
//! do not bound their memory.
//!
//! A file is read to memory once and is not mapped, so changes to it while it is read cannot do
//! harm.

mod check;
#[cfg(feature = "checkpoint")]
mod contents;
#[cfg(feature = "checkpoint")]
mod decode;
#[cfg(feature = "checkpoint")]
mod element;
#[cfg(feature = "checkpoint")]
mod interner;
#[cfg(feature = "checkpoint")]
mod legacy;
#[cfg(feature = "checkpoint")]
mod open;
#[cfg(feature = "checkpoint")]
mod pickle;
mod prefix;
#[cfg(feature = "checkpoint")]
mod read_options;
pub(crate) mod safetensors;
#[cfg(feature = "checkpoint")]
mod select;
mod state_dict;
#[cfg(feature = "checkpoint")]
mod storage;
#[cfg(feature = "checkpoint")]
mod zip_archive;

#[cfg(feature = "checkpoint")]
pub use contents::{Contents, TensorInfo};
#[cfg(feature = "checkpoint")]
pub use read_options::ReadOptions;
pub use state_dict::{IntoIter, NonFinite, Selection, StateDict, StateTensor};

pub use crate::error::{MismatchCause, StateDictMismatch};

pub(crate) use check::Wanted;

#[cfg(feature = "checkpoint")]
use crate::error::printable;

/// What to do with a file that has no state dict.
#[cfg(feature = "checkpoint")]
const SAVE_WEIGHTS: &str = "Save the weights: torch.save(model.state_dict(), \"weights.pth\")";

/// The result of a reader. With the file's name, the message becomes [`crate::Error::Checkpoint`].
#[cfg(feature = "checkpoint")]
type Parsed<T> = Result<T, String>;
