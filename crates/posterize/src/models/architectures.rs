//! Functions that build the architectures, named as in torchvision.

use super::config::Config;
use super::efficientnet_lite::EfficientNetLite;
use super::mobilenet_v2::MobileNetV2;
use super::resnet::ResNet;
use crate::error::Result;
use crate::model::Architecture;

/// Builds a MobileNetV2; `torchvision.models.mobilenet_v2`. Weights with the names of timm's
/// `mobilenetv2_100` are loaded, too.
///
/// # Errors
/// Returns an error that names the field of `config` that is out of range.
pub fn mobilenet_v2(config: &Config) -> Result<Architecture> {
    let architecture = Architecture::trace(&MobileNetV2::new(config)?)?;
    Ok(super::mobilenet_v2::namings(config)
        .into_iter()
        .fold(architecture, Architecture::also_named))
}

/// Builds a MobileNetV2 with torchvision's names and TensorFlow's SAME padding.
///
/// # Errors
/// Returns an error that names the field of `config` that is out of range.
pub fn tf_mobilenet_v2(config: &Config) -> Result<Architecture> {
    Architecture::trace(&MobileNetV2::tensorflow(config)?)
}

/// Builds an EfficientNet-Lite; `variant` is 0 to 4. Weights with the names of timm's
/// `tf_efficientnet_lite0` are loaded, too.
///
/// # Errors
/// Returns an error if there is no such variant, or if a field of `config` is out of range.
pub fn efficientnet_lite(variant: usize, config: &Config) -> Result<Architecture> {
    let architecture = Architecture::trace(&EfficientNetLite::new(variant, config)?)?;
    Ok(architecture.also_named(super::efficientnet_lite::timm(variant)))
}

/// Builds a ResNet-18; `torchvision.models.resnet18`.
///
/// # Errors
/// Returns an error that names the field of `config` that is out of range.
pub fn resnet18(config: &Config) -> Result<Architecture> {
    Architecture::trace(&ResNet::resnet18(config)?)
}

/// Builds a ResNet-50; `torchvision.models.resnet50`.
///
/// # Errors
/// Returns an error that names the field of `config` that is out of range.
pub fn resnet50(config: &Config) -> Result<Architecture> {
    Architecture::trace(&ResNet::resnet50(config)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_out_of_range_are_errors_that_name_them() {
        let default = Config::default;
        let cases = [
            (Config { num_classes: 0, ..default() }, "num_classes is 0"),
            (Config { dropout: Some(1.5), ..default() }, "dropout is 1.5"),
            (Config { width_mult: 0.0, ..default() }, "width_mult is 0"),
            (Config { width_mult: f64::NAN, ..default() }, "width_mult is NaN"),
            (Config { width_mult: 1e9, ..default() }, "width_mult is 1000000000"),
            (Config { round_nearest: 0, ..default() }, "round_nearest is 0"),
            (Config { inverted_residual_setting: Some(vec![]), ..default() }, "is empty"),
            (
                Config {
                    inverted_residual_setting: Some(vec![[1, 16, 1, 1], [6, 24, 0, 2]]),
                    ..default()
                },
                "row 1, [6, 24, 0, 2]: n (blocks) is 0",
            ),
            (
                Config { inverted_residual_setting: Some(vec![[1, 16, 1, 3]]), ..default() },
                "s (stride) is 3; it must be 1 or 2",
            ),
        ];
        for (config, expected) in cases {
            let error = mobilenet_v2(&config).unwrap_err().to_string();
            assert!(error.contains("mobilenet_v2: ") && error.contains(expected), "{error}");
        }
        let error = resnet18(&Config { width_mult: 0.5, ..default() }).unwrap_err().to_string();
        assert_eq!(
            error,
            "resnet18 has no width_mult; leave the default, or use mobilenet_v2 or tf_mobilenet_v2"
        );
        let error = efficientnet_lite(5, &default()).unwrap_err().to_string();
        assert!(error.contains("0 to 4"), "{error}");
    }
}
