//! Checkpoints (PyTorch zip, PyTorch legacy, safetensors) read into a [`StateDict`].

mod state_dict;

pub use state_dict::{StateDict, StateTensor};
