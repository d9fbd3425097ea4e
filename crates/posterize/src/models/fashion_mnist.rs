//! The small MobileNetV2 that is included in the command line tool.
//!
//! It is trained on Fashion-MNIST (Xiao, Rasul and Vollgraf 2017,
//! <https://arxiv.org/abs/1708.07747>): grey pictures of 28 x 28 pixels in ten classes. It is
//! `torchvision.models.MobileNetV2` with other arguments, so torchvision can load its checkpoint.

use super::config::Config;
use crate::data::Preprocessing;
#[cfg(feature = "data")]
use crate::data::{RandomCrop, Transform};

/// The largest shift of pictures in training, in pixels.
#[cfg(feature = "data")]
const PADDING: usize = 3;

/// The `inverted_residual_setting`. After the stem's stride of 2, the feature maps of the stem and
/// the stages are 14, 14, 14, 7 and 4 pixels high and wide.
const SETTING: [[usize; 4]; 4] = [[1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 2, 2], [6, 64, 2, 2]];

/// Returns a preprocessing that does not resize the pictures.
pub(super) fn preprocessing() -> Preprocessing {
    // The mean and standard deviation of all pixels of the training set.
    let sizes = Preprocessing::imagenet().with_sizes(28, 28);
    Preprocessing { mean: [0.2860; 3], std: [0.3530; 3], ..sizes }
}

pub(super) fn config() -> Config {
    Config {
        num_classes: 10,
        inverted_residual_setting: Some(SETTING.to_vec()),
        ..Config::default()
    }
}

#[cfg(feature = "data")]
pub(super) fn augmentation(preprocessing: &Preprocessing, seed: u64) -> Transform {
    RandomCrop::new(preprocessing, PADDING, seed).into()
}
