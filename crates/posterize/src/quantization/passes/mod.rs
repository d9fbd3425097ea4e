//! The passes of post-training quantization, one file each.

pub(crate) mod bias_correction;
pub(crate) mod equalize;
pub(crate) mod input_means;
