//! The small MobileNetV2 that the command line carries, and what it wants of Fashion-MNIST's pictures
//! (Xiao, Rasul and Vollgraf 2017, <https://arxiv.org/abs/1708.07747>): grey, 28 x 28, ten classes.
//!
//! It is `torchvision.models.MobileNetV2` with other arguments, so its checkpoint loads there too.

use super::config::Config;
use crate::data::{Preprocessing, RandomCrop, Transform};

/// How far pictures are shifted in training, in pixels.
const PADDING: usize = 3;

/// One row `[t, c, n, s]` for each stage. With the stem's stride the feature maps are 14, 14, 14, 7
/// and 4 pixels high and wide.
const SETTING: [[usize; 4]; 4] = [[1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 2, 2], [6, 64, 2, 2]];

/// The pictures as they are.
pub(super) fn preprocessing() -> Preprocessing {
    // The mean and the standard deviation of all training pixels.
    Preprocessing { resize: 28, crop: 28, mean: [0.2860; 3], std: [0.3530; 3] }
}

pub(super) fn config() -> Config {
    Config {
        num_classes: 10,
        inverted_residual_setting: Some(SETTING.to_vec()),
        ..Config::default()
    }
}

pub(super) fn augmentation(preprocessing: &Preprocessing, seed: u64) -> Transform {
    RandomCrop::new(preprocessing, PADDING, seed).into()
}
