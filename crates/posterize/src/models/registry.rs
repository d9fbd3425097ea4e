//! The architectures by name, and how their published checkpoints want their pictures.

use super::{Config, efficientnet_lite};
use crate::data::Preprocessing;
use crate::error::{Error, Result};
use crate::model::Architecture;

/// A name, what builds the architecture, and what its pictures go through.
type Entry = (&'static str, fn(&Config) -> Result<Architecture>, fn() -> Preprocessing);

/// EfficientNet-Lite resizes to 32 pixels more than it crops.
fn lite(variant: usize) -> Preprocessing {
    let crop = efficientnet_lite::VARIANTS[variant].size;
    Preprocessing { resize: crop + 32, crop, mean: [0.5; 3], std: [0.5; 3] }
}

const MODELS: [Entry; 9] = [
    ("mobilenet_v2", super::mobilenet_v2, Preprocessing::imagenet),
    ("tf_mobilenet_v2", super::tf_mobilenet_v2, Preprocessing::imagenet),
    ("efficientnet_lite0", |config| super::efficientnet_lite(0, config), || lite(0)),
    ("efficientnet_lite1", |config| super::efficientnet_lite(1, config), || lite(1)),
    ("efficientnet_lite2", |config| super::efficientnet_lite(2, config), || lite(2)),
    ("efficientnet_lite3", |config| super::efficientnet_lite(3, config), || lite(3)),
    ("efficientnet_lite4", |config| super::efficientnet_lite(4, config), || lite(4)),
    ("resnet18", super::resnet18, Preprocessing::imagenet),
    ("resnet50", super::resnet50, Preprocessing::imagenet),
];

/// The names that [`by_name`] knows.
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    MODELS.iter().map(|&(name, ..)| name)
}

fn find(name: &str) -> Result<&'static Entry> {
    MODELS.iter().find(|(known, ..)| *known == name).ok_or_else(|| {
        let known: Vec<&str> = names().collect();
        Error::Argument(format!("there is no model `{name}`; the models are {}", known.join(", ")))
    })
}

/// The architecture of that name.
///
/// # Errors
/// There is none of that name (the error lists those there are), or a [`Config`] out of range.
pub fn by_name(name: &str, config: &Config) -> Result<Architecture> {
    find(name).and_then(|(_, build, _)| build(config))
}

/// How the published checkpoint of that name wants its pictures.
///
/// # Errors
/// There is none of that name.
pub fn preprocessing(name: &str) -> Result<Preprocessing> {
    find(name).map(|(_, _, preprocessing)| preprocessing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_builds_for_its_own_input() {
        for name in names() {
            let crop = preprocessing(name).unwrap().crop;
            let config = Config { num_classes: 7, ..Config::default() };
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
