//! The architectures by name, and how their published checkpoints want their pictures.
//!
//! What posterize itself publishes is `fashion_mobilenet_v2`; the others are their authors'.

use super::architectures;
use super::config::Config;
use super::{efficientnet_lite, fashion_mnist};
use crate::data::{Augmentation, Preprocessing, Transform};
use crate::error::{Error, Result};
use crate::model::Architecture;

/// An architecture and its published checkpoint.
struct Entry {
    name: &'static str,
    build: fn(&Config) -> Result<Architecture>,
    /// What was chosen for the checkpoint.
    config: fn() -> Config,
    preprocessing: fn() -> Preprocessing,
    /// What its pictures go through in training.
    augmentation: fn(&Preprocessing, u64) -> Transform,
}

/// An ImageNet classifier.
const fn imagenet(
    name: &'static str,
    build: fn(&Config) -> Result<Architecture>,
    preprocessing: fn() -> Preprocessing,
) -> Entry {
    Entry { name, build, config: Config::default, preprocessing, augmentation: zoomed }
}

fn zoomed(preprocessing: &Preprocessing, seed: u64) -> Transform {
    Augmentation::new(preprocessing, seed).into()
}

/// EfficientNet-Lite resizes to 32 pixels more than it crops.
fn lite(variant: usize) -> Preprocessing {
    let crop = efficientnet_lite::VARIANTS[variant].size;
    Preprocessing { resize: crop + 32, crop, mean: [0.5; 3], std: [0.5; 3] }
}

const MODELS: [Entry; 10] = [
    imagenet("mobilenet_v2", architectures::mobilenet_v2, Preprocessing::imagenet),
    imagenet("tf_mobilenet_v2", architectures::tf_mobilenet_v2, Preprocessing::imagenet),
    Entry {
        name: "fashion_mobilenet_v2",
        build: architectures::mobilenet_v2,
        config: fashion_mnist::config,
        preprocessing: fashion_mnist::preprocessing,
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

/// The names that [`by_name`] knows.
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    MODELS.iter().map(|entry| entry.name)
}

fn find(name: &str) -> Result<&'static Entry> {
    MODELS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<&str> = names().collect();
        Error::Argument(format!("there is no model `{name}`; the models are {}", known.join(", ")))
    })
}

/// The architecture of that name.
///
/// # Errors
/// There is none of that name (the error lists those there are), or a [`Config`] out of range.
pub fn by_name(name: &str, config: &Config) -> Result<Architecture> {
    find(name).and_then(|entry| (entry.build)(config))
}

/// What was chosen about the architecture for the published checkpoint of that name:
/// [`Config::default`] for all that were trained on ImageNet.
///
/// ```
/// use posterize::models;
/// let config = models::config("fashion_mobilenet_v2")?;
/// assert_eq!(config.num_classes, 10);
/// let model = models::by_name("fashion_mobilenet_v2", &config)?;
/// # assert_eq!(model.graph().kind(), "MobileNetV2");
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// There is none of that name.
pub fn config(name: &str) -> Result<Config> {
    find(name).map(|entry| (entry.config)())
}

/// How the published checkpoint of that name wants its pictures.
///
/// # Errors
/// There is none of that name.
pub fn preprocessing(name: &str) -> Result<Preprocessing> {
    find(name).map(|entry| (entry.preprocessing)())
}

/// What the pictures of that network go through in training; `seed` determines the random choices.
///
/// # Errors
/// There is none of that name.
pub fn augmentation(name: &str, seed: u64) -> Result<Transform> {
    find(name).map(|entry| (entry.augmentation)(&(entry.preprocessing)(), seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_builds_for_its_own_input() {
        for name in names() {
            let crop = preprocessing(name).unwrap().crop;
            assert_eq!(augmentation(name, 0).unwrap().crop(), crop, "{name}");
            let config = Config { num_classes: 7, ..config(name).unwrap() };
            let graph = by_name(name, &config).unwrap().graph().clone();
            let shapes = graph.infer(&[2, 3, crop, crop]).unwrap();
            assert_eq!(shapes[graph.output().0].shape, [2, 7], "{name}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = by_name("mobilenet_v3", &Config::default()).unwrap_err().to_string();
        assert!(
            error.contains("`mobilenet_v3`") && error.contains("efficientnet_lite4, resnet18"),
            "{error}"
        );
    }
}
