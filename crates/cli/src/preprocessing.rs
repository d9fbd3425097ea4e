//! The options that replace parts of a model's preprocessing.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueHint, builder::PossibleValuesParser};
use posterize::MemoryFormat;
use posterize::data::{ChannelOrder, Interpolation, Preprocessing, Resize};

use crate::error::{CliError, Result};
use crate::onnx::Layout;
use crate::paths::Paths;
use crate::size::Size;

/// The heading of the options in helps.
const HEADING: &str = "Preprocessing of the pictures [default: that of the model]";

/// The options of the preprocessing.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PreprocessingArgs {
    /// Length of the shorter side after resizing, or height and width whatever the picture's were;
    /// with --crop alone, it keeps its ratio to the crop
    #[arg(long, help_heading = HEADING, value_name = "PIXELS|HxW")]
    resize: Option<Resize>,

    /// Width and height of the centre crop, the size of the model's input
    #[arg(long, help_heading = HEADING, value_name = "PIXELS|HxW")]
    crop: Option<Size>,

    /// Ratio of the crop to the shorter side, timm's crop_pct, such as 0.875: sets --resize to the
    /// crop divided by it, rounded down
    #[arg(long, help_heading = HEADING, value_name = "RATIO", conflicts_with = "resize")]
    crop_ratio: Option<f64>,

    /// Filter of the resizing
    #[arg(long, help_heading = HEADING, value_name = "NAME", value_parser = PossibleValuesParser::new(Interpolation::ALL.map(Interpolation::name)))]
    interpolation: Option<String>,

    /// The model takes red first
    #[arg(long, help_heading = HEADING, conflicts_with = "bgr")]
    rgb: bool,

    /// The model takes blue first, as networks trained with OpenCV or Caffe do
    #[arg(long, help_heading = HEADING)]
    bgr: bool,

    /// Values of black and white before --mean and --std, which are then in these units and 0 and 1 if
    /// left out: 0,255 for pixels as they are, -1,1 for TensorFlow's MobileNets [default: 0,1]
    #[arg(long, help_heading = HEADING, value_name = "BLACK,WHITE", allow_hyphen_values = true)]
    input_range: Option<InputRange>,

    /// Mean of the model's channels, in its order, such as 0.485,0.456,0.406; one number is for all
    /// three
    #[arg(long, help_heading = HEADING, value_name = "M,M,M", allow_hyphen_values = true)]
    mean: Option<Channels>,

    /// Standard deviation of the model's channels, such as 0.229,0.224,0.225; one number is for all
    /// three
    #[arg(long, help_heading = HEADING, value_name = "S,S,S")]
    std: Option<Channels>,

    /// Order of the axes of an ONNX file's input: nchw, or nhwc as in TensorFlow [default: found by the
    /// file's transposes]
    #[arg(long, help_heading = HEADING, value_enum, value_name = "ORDER", hide_possible_values = true)]
    layout: Option<Layout>,

    /// File with all of these but --layout, the `preprocessing` of `posterize inspect --json`; the options above
    /// replace parts of it
    #[arg(long, help_heading = HEADING, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    preprocessing: Option<PathBuf>,
}

/// A number for each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Channels([f32; 3]);

impl FromStr for Channels {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match numbers(text).as_deref() {
            Some(&[all]) => Ok(Self([all; 3])),
            Some(&[first, second, third]) => Ok(Self([first, second, third])),
            _ => Err("expected three finite numbers such as 0.485,0.456,0.406, or one".to_owned()),
        }
    }
}

/// The values of black and white.
#[derive(Clone, Copy, Debug, PartialEq)]
struct InputRange {
    black: f32,
    white: f32,
}

impl InputRange {
    /// Returns the mean and standard deviation for pixels of 0 to 1 that do what these do for pixels of
    /// this range.
    fn to_unit(self, mean: [f32; 3], std: [f32; 3]) -> ([f32; 3], [f32; 3]) {
        let (black, width) = (f64::from(self.black), f64::from(self.white) - f64::from(self.black));
        (
            mean.map(|mean| ((f64::from(mean) - black) / width) as f32),
            std.map(|std| (f64::from(std) / width) as f32),
        )
    }
}

impl FromStr for InputRange {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match numbers(text).as_deref() {
            Some(&[black, white]) if black < white => Ok(Self { black, white }),
            _ => Err("expected two ascending finite numbers such as 0,255 or -1,1".to_owned()),
        }
    }
}

/// Returns the finite numbers between commas.
fn numbers(text: &str) -> Option<Vec<f32>> {
    let number = |text: &str| text.trim().parse().ok().filter(|number: &f32| number.is_finite());
    text.split(',').map(number).collect()
}

impl PreprocessingArgs {
    /// Returns the first option that was given, but for --layout.
    pub(crate) fn given(&self) -> Option<&'static str> {
        [
            ("--resize", self.resize.is_some()),
            ("--crop", self.crop.is_some()),
            ("--crop-ratio", self.crop_ratio.is_some()),
            ("--interpolation", self.interpolation.is_some()),
            ("--rgb", self.rgb),
            ("--bgr", self.bgr),
            ("--input-range", self.input_range.is_some()),
            ("--mean", self.mean.is_some()),
            ("--std", self.std.is_some()),
            ("--preprocessing", self.preprocessing.is_some()),
        ]
        .into_iter()
        .find_map(|(option, given)| given.then_some(option))
    }

    /// Returns the order of the axes of an ONNX file's input, if it was given.
    pub(crate) fn layout(&self) -> Option<MemoryFormat> {
        self.layout.map(Layout::format)
    }

    /// Adds the file of the options to the files that a command reads.
    pub(crate) fn paths(&self, paths: Paths) -> Paths {
        paths.reads("--preprocessing", &self.preprocessing)
    }

    /// Returns a model's preprocessing with the parts that were given replaced.
    pub(crate) fn apply(&self, model: &Preprocessing) -> Result<Preprocessing> {
        match self.file()? {
            Some(file) => self.replace_parts(&file),
            None => self.replace_parts(model),
        }
    }

    /// Reads the file of --preprocessing.
    fn file(&self) -> Result<Option<Preprocessing>> {
        let Some(path) = &self.preprocessing else { return Ok(None) };
        let wrong = |problem: String| {
            CliError::Usage(format!(
                "{}: {problem}; expected a preprocessing such as `posterize inspect --json` prints: {}",
                path.display(),
                serde_json::to_string(&Preprocessing::imagenet()).unwrap_or_default()
            ))
        };
        let text =
            fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let read: Preprocessing =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let known = ["resize", "crop", "interpolation", "channels", "mean", "std"];
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(wrong(format!("has an unknown key `{}`", key.escape_debug()))),
            None => Ok(Some(read)),
        }
    }

    fn replace_parts(&self, base: &Preprocessing) -> Result<Preprocessing> {
        let mut applied = base.clone();
        applied.crop = self.crop().unwrap_or(base.crop);
        if let Some(ratio) = self.crop_ratio {
            let [height, width] = applied.crop;
            if height != width {
                return Err(CliError::Usage(format!(
                    "--crop-ratio is for square crops, and the crop is {}; pass --resize",
                    Size(applied.crop)
                )));
            }
            applied = applied.with_crop_ratio(height, ratio)?;
        } else if let Some(resize) = self.resize {
            applied.resize = resize;
        } else if applied.crop != base.crop {
            applied.resize = scaled(base, applied.crop);
        }
        if let Some(name) = &self.interpolation {
            applied.interpolation = name.parse()?;
        }
        if self.rgb {
            applied.channels = ChannelOrder::Rgb;
        } else if self.bgr {
            applied.channels = ChannelOrder::Bgr;
        }
        let (mean, std) = (self.mean.map(|mean| mean.0), self.std.map(|std| std.0));
        (applied.mean, applied.std) = match self.input_range {
            Some(range) => range.to_unit(mean.unwrap_or([0.0; 3]), std.unwrap_or([1.0; 3])),
            None => (mean.unwrap_or(base.mean), std.unwrap_or(base.std)),
        };
        applied.validate()?;
        let (smallest, crop) = (applied.resize.smallest(), applied.crop);
        if self.given().is_some() && (smallest[0] < crop[0] || smallest[1] < crop[1]) {
            return Err(CliError::Usage(format!(
                "pictures are resized to {} pixels, which is less than the crop of {}, so they would \
                 have black borders; pass a larger --resize or a smaller --crop",
                applied.resize,
                Size(crop)
            )));
        }
        if let (Some(mean), Some(std), None) = (mean, std, self.input_range)
            && mean.iter().chain(&std).any(|&value| value > 2.0)
        {
            return Err(CliError::Usage(format!(
                "--mean {mean:?} and --std {std:?} look like numbers for pixels from 0 to 255, but \
                 pixels are in 0 to 1; pass --input-range 0,255 too, or divide them by 255"
            )));
        }
        Ok(applied)
    }

    /// Returns the crop, if it was given.
    pub(crate) fn crop(&self) -> Option<[usize; 2]> {
        self.crop.map(|size| size.0)
    }

    /// Returns the preprocessing of a model that has none, or `None` if too few options were given.
    /// `size` is the height and width of the model's input, if they are known, and `takes_pixels` is
    /// whether it is known to take pixels of 0 to 255.
    pub(crate) fn complete(
        &self,
        size: Option<[usize; 2]>,
        takes_pixels: bool,
    ) -> Result<Option<Preprocessing>> {
        if let Some(file) = self.file()? {
            return self.replace_parts(&file).map(Some);
        }
        let Some(crop) = self.crop().or(size) else { return Ok(None) };
        let mut base = uncropped(crop);
        if takes_pixels {
            (base.mean, base.std) =
                InputRange { black: 0.0, white: 255.0 }.to_unit([0.0; 3], [1.0; 3]);
        }
        let given = self.input_range.is_some() || (self.mean.is_some() && self.std.is_some());
        if given || takes_pixels { self.replace_parts(&base).map(Some) } else { Ok(None) }
    }
}

/// Returns ImageNet's preprocessing for an input of this height and width, with the whole picture: of a
/// square input, all of the shorter side; to another one, pictures are stretched.
pub(crate) fn uncropped(crop: [usize; 2]) -> Preprocessing {
    let [height, width] = crop;
    let resize = if height == width { Resize::Shorter(height) } else { Resize::Exact(crop) };
    Preprocessing { resize, crop, ..Preprocessing::imagenet() }
}

/// Returns the size of the resizing for another crop, so that about the same part of a picture is seen.
fn scaled(base: &Preprocessing, crop @ [height, width]: [usize; 2]) -> Resize {
    let scaled = |axis: usize, size: usize| (crop[axis] * size / base.crop[axis]).max(crop[axis]);
    match base.resize {
        Resize::Shorter(size) if height == width && base.crop[0] == base.crop[1] => {
            Resize::Shorter(scaled(0, size))
        }
        Resize::Shorter(_) => Resize::Exact(crop),
        Resize::Exact([of_height, of_width]) => {
            Resize::Exact([scaled(0, of_height), scaled(1, of_width)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> PreprocessingArgs {
        PreprocessingArgs::default()
    }

    #[expect(clippy::needless_pass_by_value, reason = "most callers have a temporary")]
    fn apply(args: PreprocessingArgs) -> Result<Preprocessing> {
        args.apply(&Preprocessing::imagenet())
    }

    fn error(args: PreprocessingArgs) -> String {
        apply(args).unwrap_err().to_string()
    }

    #[test]
    fn channels_are_three_finite_numbers_or_one() {
        assert_eq!("0.5".parse(), Ok(Channels([0.5; 3])));
        assert_eq!("0.1, -0.2,3".parse(), Ok(Channels([0.1, -0.2, 3.0])));
        for bad in ["", "a", "1,2", "1,2,3,4", "nan", "1,inf,1", "1,,1"] {
            assert!(bad.parse::<Channels>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_replaced_and_checked() {
        let imagenet = Preprocessing::imagenet();
        assert_eq!(apply(none()).unwrap(), imagenet);
        let sizes = |args| apply(args).map(|found| (found.resize, found.crop)).unwrap();
        let crop = |height, width| Some(Size([height, width]));
        assert_eq!(
            sizes(PreprocessingArgs { crop: crop(160, 160), ..none() }),
            (Resize::Shorter(182), [160; 2])
        );
        let resize = Some(Resize::Shorter(160));
        assert_eq!(
            sizes(PreprocessingArgs { crop: crop(160, 160), resize, ..none() }),
            (Resize::Shorter(160), [160; 2])
        );
        assert_eq!(
            sizes(PreprocessingArgs { crop: crop(48, 192), ..none() }),
            (Resize::Exact([48, 192]), [48, 192])
        );
        // 224 / 0.95 = 235.8, which timm rounds down.
        assert_eq!(
            sizes(PreprocessingArgs { crop_ratio: Some(0.95), ..none() }),
            (Resize::Shorter(235), [224; 2])
        );
        let small = error(PreprocessingArgs { resize: Some(Resize::Shorter(100)), ..none() });
        assert!(small.contains("resized to 100 pixels"), "{small}");
        let resize = Some(Resize::Exact([48, 100]));
        let narrow = error(PreprocessingArgs { resize, crop: crop(48, 192), ..none() });
        assert!(narrow.contains("resized to 48x100 pixels"), "{narrow}");
        for ratio in [0.0, 1.5, f64::NAN] {
            let error = error(PreprocessingArgs { crop_ratio: Some(ratio), ..none() });
            assert!(error.contains("the crop ratio is"), "{error}");
        }
        let ratio = PreprocessingArgs { crop: crop(48, 192), crop_ratio: Some(0.9), ..none() };
        assert!(error(ratio).contains("--crop-ratio is for square crops"));
    }

    #[test]
    fn values_are_replaced_and_checked() {
        let imagenet = Preprocessing::imagenet();
        let cubic = PreprocessingArgs { interpolation: Some("bicubic".into()), ..none() };
        assert_eq!(
            apply(cubic).unwrap(),
            Preprocessing { interpolation: Interpolation::Bicubic, ..imagenet.clone() }
        );
        let blue_first = apply(PreprocessingArgs { bgr: true, ..none() }).unwrap();
        assert_eq!(blue_first, Preprocessing { channels: ChannelOrder::Bgr, ..imagenet });
        let zero = error(PreprocessingArgs { std: Some(Channels([1.0, 0.0, 1.0])), ..none() });
        assert!(zero.contains("std above 0"), "{zero}");
        let mean = Some(Channels([123.7, 116.3, 103.5]));
        let bytes = PreprocessingArgs { mean, std: Some(Channels([58.4, 57.1, 57.4])), ..none() };
        let message = error(bytes.clone());
        assert!(message.contains("--input-range 0,255"), "{message}");
        let input_range = Some("0,255".parse().unwrap());
        let of_bytes = apply(PreprocessingArgs { input_range, ..bytes }).unwrap();
        assert!((of_bytes.mean[0] - 123.7 / 255.0).abs() < 1e-6);
        assert!((of_bytes.std[2] - 57.4 / 255.0).abs() < 1e-6);
    }

    #[test]
    fn a_range_alone_has_mean_0_and_standard_deviation_1() {
        let range = |text: &str| {
            let input_range = Some(text.parse().unwrap());
            let found = apply(PreprocessingArgs { input_range, ..none() }).unwrap();
            (found.mean, found.std)
        };
        assert_eq!(range("-1,1"), ([0.5; 3], [0.5; 3]));
        assert_eq!(range("0,255"), ([0.0; 3], [1.0 / 255.0; 3]));
        for bad in ["", "0", "1,0", "0,0", "0,nan", "0,1,2"] {
            assert!(bad.parse::<InputRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_read_and_its_mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pictures.json");
        let of = |text: &str| {
            fs::write(&path, text).unwrap();
            apply(PreprocessingArgs { preprocessing: Some(path.clone()), bgr: true, ..none() })
        };
        let found = of(
            r#"{"resize": [48, 192], "crop": [48, 192], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}"#,
        );
        let expected = Preprocessing {
            mean: [0.5; 3],
            std: [0.5; 3],
            channels: ChannelOrder::Bgr,
            ..uncropped([48, 192])
        };
        assert_eq!(found.unwrap(), expected);
        for (text, expected) in [
            ("{}", "missing field `resize`"),
            ("[1]", "pictures.json: "),
            (
                r#"{"resize": 8, "crop": 8, "mean": [0, 0, 0], "std": [1, 1, 1], "channel": "bgr"}"#,
                "unknown key `channel`",
            ),
            (
                r#"{"resize": 8, "crop": 8, "mean": [0, 0, 0], "std": [1, 0, 1]}"#,
                "expected finite numbers",
            ),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        fs::remove_file(&path).unwrap();
        let error = error(PreprocessingArgs { preprocessing: Some(path), ..none() });
        assert!(error.contains("pictures.json: cannot be read"), "{error}");
    }
}
