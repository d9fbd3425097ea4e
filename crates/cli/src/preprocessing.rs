//! The options that replace parts of a model's preprocessing.

use std::str::FromStr;

use clap::{Args, builder::PossibleValuesParser};
use posterize::data::{Interpolation, Preprocessing};

use crate::error::{CliError, Result};

/// The heading of the options in helps.
const HEADING: &str = "Preprocessing of the pictures [default: that of the model]";

/// The options of the preprocessing.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PreprocessingArgs {
    /// Length of the shorter side after resizing; with --crop alone, it keeps its ratio to the crop
    #[arg(long, help_heading = HEADING, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    resize: Option<u16>,

    /// Width and height of the centre crop, the size of the model's input
    #[arg(long, help_heading = HEADING, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    crop: Option<u16>,

    /// Ratio of the crop to the shorter side, timm's crop_pct, such as 0.875: sets --resize to the
    /// crop divided by it, rounded down
    #[arg(long, help_heading = HEADING, value_name = "RATIO", conflicts_with = "resize")]
    crop_ratio: Option<f64>,

    /// Filter of the resizing
    #[arg(long, help_heading = HEADING, value_name = "NAME", value_parser = PossibleValuesParser::new(Interpolation::ALL.map(Interpolation::name)))]
    interpolation: Option<String>,

    /// Mean of red, green and blue, where pixels are in 0 to 1, such as 0.485,0.456,0.406; one number
    /// is for all three
    #[arg(long, help_heading = HEADING, value_name = "R,G,B", allow_hyphen_values = true)]
    mean: Option<Channels>,

    /// Standard deviation of red, green and blue, such as 0.229,0.224,0.225; one number is for all three
    #[arg(long, help_heading = HEADING, value_name = "R,G,B")]
    std: Option<Channels>,
}

/// A number for each of red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Channels([f32; 3]);

impl FromStr for Channels {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers: Option<Vec<f32>> = text
            .split(',')
            .map(|number| number.trim().parse().ok().filter(|number: &f32| number.is_finite()))
            .collect();
        match numbers.as_deref() {
            Some(&[all]) => Ok(Self([all; 3])),
            Some(&[red, green, blue]) => Ok(Self([red, green, blue])),
            _ => Err("expected three finite numbers such as 0.485,0.456,0.406, or one".to_owned()),
        }
    }
}

impl PreprocessingArgs {
    /// Returns the first option that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        [
            ("--resize", self.resize.is_some()),
            ("--crop", self.crop.is_some()),
            ("--crop-ratio", self.crop_ratio.is_some()),
            ("--interpolation", self.interpolation.is_some()),
            ("--mean", self.mean.is_some()),
            ("--std", self.std.is_some()),
        ]
        .into_iter()
        .find_map(|(option, given)| given.then_some(option))
    }

    /// Returns a model's preprocessing with the parts that were given replaced.
    pub(crate) fn apply(&self, model: &Preprocessing) -> Result<Preprocessing> {
        let crop = self.crop.map_or(model.crop, usize::from);
        let mut applied = Preprocessing { crop, ..model.clone() };
        if let Some(ratio) = self.crop_ratio {
            applied = applied.with_crop_ratio(crop, ratio)?;
        } else if let Some(resize) = self.resize {
            applied.resize = resize.into();
        } else if crop != model.crop {
            applied.resize = (crop * model.resize / model.crop).max(crop);
        }
        if let Some(name) = &self.interpolation {
            applied.interpolation = name.parse()?;
        }
        if let Some(Channels(mean)) = self.mean {
            applied.mean = mean;
        }
        if let Some(Channels(std)) = self.std {
            applied.std = std;
        }
        applied.validate()?;
        if self.given().is_some() && applied.resize < crop {
            return Err(CliError::Usage(format!(
                "pictures are resized to {} pixels, which is less than the crop of {crop}, so they \
                 would have black borders; pass a larger --resize or a smaller --crop",
                applied.resize
            )));
        }
        if let (Some(Channels(mean)), Some(Channels(std))) = (self.mean, self.std)
            && mean.iter().chain(&std).any(|&value| value > 2.0)
        {
            return Err(CliError::Usage(format!(
                "--mean {mean:?} and --std {std:?} look like numbers for pixels from 0 to 255, but \
                 pixels are in 0 to 1; divide them by 255"
            )));
        }
        Ok(applied)
    }

    /// Returns the crop, if it was given.
    pub(crate) fn crop(&self) -> Option<usize> {
        self.crop.map(usize::from)
    }

    /// Returns the preprocessing of a model that has none, or `None` if too few options were given.
    /// `size` is the size of the model's input, if it is known.
    pub(crate) fn complete(&self, size: Option<usize>) -> Result<Option<Preprocessing>> {
        let (Some(crop), Some(Channels(mean)), Some(Channels(std))) =
            (self.crop().or(size), self.mean, self.std)
        else {
            return Ok(None);
        };
        let model = Preprocessing { resize: crop, crop, mean, std, ..Preprocessing::imagenet() };
        self.apply(&model).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_three_finite_numbers_or_one() {
        assert_eq!("0.5".parse(), Ok(Channels([0.5; 3])));
        assert_eq!("0.1, -0.2,3".parse(), Ok(Channels([0.1, -0.2, 3.0])));
        for bad in ["", "a", "1,2", "1,2,3,4", "nan", "1,inf,1", "1,,1"] {
            assert!(bad.parse::<Channels>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_are_replaced_and_checked() {
        let none = PreprocessingArgs::default;
        let imagenet = Preprocessing::imagenet();
        let apply = |args: PreprocessingArgs| args.apply(&Preprocessing::imagenet());
        assert_eq!(apply(none()).unwrap(), imagenet);
        let sizes = |args| apply(args).map(|found| (found.resize, found.crop)).unwrap();
        assert_eq!(sizes(PreprocessingArgs { crop: Some(160), ..none() }), (182, 160));
        assert_eq!(
            sizes(PreprocessingArgs { crop: Some(160), resize: Some(160), ..none() }),
            (160, 160)
        );
        // 224 / 0.95 = 235.8, which timm rounds down.
        assert_eq!(sizes(PreprocessingArgs { crop_ratio: Some(0.95), ..none() }), (235, 224));
        let cubic = PreprocessingArgs { interpolation: Some("bicubic".into()), ..none() };
        assert_eq!(
            apply(cubic).unwrap(),
            Preprocessing { interpolation: Interpolation::Bicubic, ..imagenet }
        );
        let error = |args| apply(args).unwrap_err().to_string();
        let small = error(PreprocessingArgs { resize: Some(100), ..none() });
        assert!(small.contains("resized to 100 pixels"), "{small}");
        let zero = error(PreprocessingArgs { std: Some(Channels([1.0, 0.0, 1.0])), ..none() });
        assert!(zero.contains("std above 0"), "{zero}");
        for ratio in [0.0, 1.5, f64::NAN] {
            let error = error(PreprocessingArgs { crop_ratio: Some(ratio), ..none() });
            assert!(error.contains("the crop ratio is"), "{error}");
        }
        let bytes = error(PreprocessingArgs {
            mean: Some(Channels([123.7, 116.3, 103.5])),
            std: Some(Channels([58.4, 57.1, 57.4])),
            ..none()
        });
        assert!(bytes.contains("divide them by 255"), "{bytes}");
    }
}
