//! The passes of post-training quantization, one file each.

pub(crate) mod activation_equalization;
pub(crate) mod bias_correction;
mod channel_groups;
pub(crate) mod channel_scaling;
pub(crate) mod equalize;
pub(crate) mod input_means;
pub(crate) mod rounding;

#[cfg(test)]
mod fixtures;
