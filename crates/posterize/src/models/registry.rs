//! The architectures by name, with the preprocessing and augmentation of their published
//! checkpoints.
//!
//! `fashion_mobilenet_v2` is published by posterize, the others by their authors.

use super::architectures;
use super::config::Config;
use super::{efficientnet_lite, fashion_mnist};
use crate::data::Preprocessing;
#[cfg(feature = "data")]
use crate::data::{Augmentation, Transform};
use crate::error::{Error, Result};
use crate::model::Architecture;

/// An architecture and its published checkpoint.
struct Entry {
    name: &'static str,
    build: fn(&Config) -> Result<Architecture>,
    /// The settings of the checkpoint.
    config: fn() -> Config,
    preprocessing: fn() -> Preprocessing,
    /// The augmentation in training, from the preprocessing and a seed.
    #[cfg(feature = "data")]
    augmentation: fn(&Preprocessing, u64) -> Transform,
}

/// Returns the entry of an ImageNet classifier.
const fn imagenet(
    name: &'static str,
    build: fn(&Config) -> Result<Architecture>,
    preprocessing: fn() -> Preprocessing,
) -> Entry {
    Entry {
        name,
        build,
        config: Config::default,
        preprocessing,
        #[cfg(feature = "data")]
        augmentation: random_resized_crop,
    }
}

#[cfg(feature = "data")]
fn random_resized_crop(preprocessing: &Preprocessing, seed: u64) -> Transform {
    Augmentation::new(preprocessing, seed).into()
}

/// Returns the preprocessing of an EfficientNet-Lite, which resizes to 32 pixels more than the
/// crop.
fn lite(variant: usize) -> Preprocessing {
    let crop = efficientnet_lite::VARIANTS[variant].size;
    let sizes = Preprocessing::imagenet().with_sizes(crop + 32, crop);
    Preprocessing { mean: [0.5; 3], std: [0.5; 3], ..sizes }
}

const MODELS: [Entry; 10] = [
    imagenet("mobilenet_v2", architectures::mobilenet_v2, Preprocessing::imagenet),
    imagenet("tf_mobilenet_v2", architectures::tf_mobilenet_v2, Preprocessing::imagenet),
    Entry {
        name: "fashion_mobilenet_v2",
        build: architectures::mobilenet_v2,
        config: fashion_mnist::config,
        preprocessing: fashion_mnist::preprocessing,
        #[cfg(feature = "data")]
        augmentation: fashion_mnist::augmentation,
    },
    imagenet(
        "efficientnet_lite0",
        |config| architectures::efficientnet_lite(0, config),
        || lite(0),
    ),
    imagenet(
        "efficientnet_lite1",
        |config| architectures::efficientnet_lite(1, config),
        || lite(1),
    ),
    imagenet(
        "efficientnet_lite2",
        |config| architectures::efficientnet_lite(2, config),
        || lite(2),
    ),
    imagenet(
        "efficientnet_lite3",
        |config| architectures::efficientnet_lite(3, config),
        || lite(3),
    ),
    imagenet(
        "efficientnet_lite4",
        |config| architectures::efficientnet_lite(4, config),
        || lite(4),
    ),
    imagenet("resnet18", architectures::resnet18, Preprocessing::imagenet),
    imagenet("resnet50", architectures::resnet50, Preprocessing::imagenet),
];

/// Returns the names of all architectures.
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    MODELS.iter().map(|entry| entry.name)
}

fn find(name: &str) -> Result<&'static Entry> {
    MODELS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<&str> = names().collect();
        Error::Argument(format!("found no model `{name}`; the models are {}", known.join(", ")))
    })
}

/// Builds the architecture with that name.
///
/// # Errors
/// Returns an error that lists all names if there is none with that name, or an error that names
/// the field of `config` that is out of range.
pub fn by_name(name: &str, config: &Config) -> Result<Architecture> {
    find(name).and_then(|entry| (entry.build)(config))
}

/// Returns the settings of the architecture for the published checkpoint with that name.
///
/// They are [`Config::default`] for all checkpoints that were trained on ImageNet.
///
/// ```
/// use posterize::models;
/// let config = models::config("fashion_mobilenet_v2")?;
/// assert_eq!(config.num_classes, 10);
/// let model = models::by_name("fashion_mobilenet_v2", &config)?;
/// assert_eq!(model.graph().kind(), "MobileNetV2");
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// Returns an error that lists all names if there is none with that name.
pub fn config(name: &str) -> Result<Config> {
    find(name).map(|entry| (entry.config)())
}

/// Returns the preprocessing for the published checkpoint with that name.
///
/// # Errors
/// Returns an error that lists all names if there is none with that name.
pub fn preprocessing(name: &str) -> Result<Preprocessing> {
    find(name).map(|entry| (entry.preprocessing)())
}

/// Returns the training augmentation for the network with that name: what the published checkpoint
/// was trained with, or [`Augmentation::new`] if there is no such name. `seed` determines all random
/// choices.
#[cfg(feature = "data")]
pub fn augmentation(name: &str, preprocessing: &Preprocessing, seed: u64) -> Transform {
    match find(name) {
        Ok(entry) => (entry.augmentation)(preprocessing, seed),
        Err(_) => Augmentation::new(preprocessing, seed).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_fits_its_preprocessing_and_augmentation() {
        for name in names() {
            let crop = preprocessing(name).unwrap().crop;
            #[cfg(feature = "data")]
            assert_eq!(augmentation(name, &preprocessing(name).unwrap(), 0).crop(), crop, "{name}");
            let config = Config { num_classes: 7, ..config(name).unwrap() };
            let graph = by_name(name, &config).unwrap().graph().clone();
            let shapes = graph.infer(&[2, 3, crop[0], crop[1]]).unwrap();
            assert_eq!(shapes[graph.output().0].shape, [2, 7], "{name}");
        }
    }

    #[test]
    fn the_error_for_an_unknown_name_lists_all_names() {
        let error = by_name("mobilenet_v3", &Config::default()).unwrap_err().to_string();
        assert!(
            error.contains("`mobilenet_v3`") && error.contains("efficientnet_lite4, resnet18"),
            "{error}"
        );
    }
}
