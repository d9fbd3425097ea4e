//! MobileNetV2 (Sandler et al. 2018, <https://arxiv.org/abs/1801.04381>), as in torchvision.

use super::config::Config;
use super::layers::{conv_bn_relu, make_divisible, timm_block};
use crate::error::{Error, Result};
use crate::naming::Naming;
use crate::nn::{Module, Sequential, Tracer, Value};
use crate::ops::{Activation, BatchNorm, Conv2d, Dropout, Linear, Padding};

/// Table 2 of the paper: expansion, channels, blocks, stride.
const SETTING: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

/// The largest number of channels of a layer. It bounds all sizes; real networks have far fewer.
const MAX_CHANNELS: usize = 1 << 20;

/// MobileNetV2; `torchvision.models.MobileNetV2`. Its modules are `features.0` to `features.18` and
/// `classifier.1`.
///
/// ```
/// use posterize::Architecture;
/// use posterize::models::{Config, MobileNetV2};
///
/// let model = Architecture::trace(&MobileNetV2::new(&Config::default())?)?;
/// assert_eq!(model.graph().infer(&[1, 3, 224, 224])?.last().unwrap().shape, [1, 1000]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct MobileNetV2 {
    features: Sequential,
    classifier: Sequential,
}

impl MobileNetV2 {
    /// Creates the network with torchvision's padding: one pixel on all sides of 3x3 convolutions.
    ///
    /// # Errors
    /// Returns an error that names the field of `config` that is out of range.
    pub fn new(config: &Config) -> Result<Self> {
        Self::build("mobilenet_v2", Padding::all(1), config)
    }

    /// Creates the network with TensorFlow's SAME padding.
    ///
    /// # Errors
    /// Returns an error that names the field of `config` that is out of range.
    pub fn tensorflow(config: &Config) -> Result<Self> {
        Self::build("tf_mobilenet_v2", Padding::Same, config)
    }

    fn build(model: &str, padding: Padding, config: &Config) -> Result<Self> {
        config.validate(model)?;
        let setting = config.inverted_residual_setting.as_deref().unwrap_or(&SETTING);
        validate(model, setting, config)?;
        let activation = config.activation.unwrap_or(Activation::ReLU6);
        let width =
            |channels: f64| make_divisible(channels * config.width_mult, config.round_nearest);

        let mut inputs = width(32.0);
        let stem = Conv2d::new(3, inputs, 3).stride(2).padding(padding);
        let mut features = Sequential::new().then(conv_bn_relu(stem, activation));
        for &[expansion, channels, blocks, stride] in setting {
            let outputs = width(channels as f64);
            for block in 0..blocks {
                let stride = if block == 0 { stride } else { 1 };
                let shape = Shape { inputs, outputs, expansion, stride };
                features.push(InvertedResidual::new(shape, padding, activation));
                inputs = outputs;
            }
        }
        let last = make_divisible(1280.0 * config.width_mult.max(1.0), config.round_nearest);
        features.push(conv_bn_relu(Conv2d::new(inputs, last, 1), activation));
        let classifier = Sequential::new()
            .then(Dropout::new(config.dropout.unwrap_or(0.2)))
            .then(Linear::new(last, config.num_classes));
        Ok(Self { features, classifier })
    }
}

/// Where the names of the first implementations in PyTorch are from, in messages.
const FIRST: &str = "the first MobileNetV2 in PyTorch";

/// Returns the names that the layers have elsewhere: in timm (`mobilenetv2_100`), and in the first
/// implementations in PyTorch, whose blocks have no modules in them and whose classifier is a linear
/// layer or contains one.
pub(super) fn namings(config: &Config) -> Vec<Naming> {
    let setting = config.inverted_residual_setting.as_deref().unwrap_or(&SETTING);
    let mut timm = vec![
        ("features.0.0".to_owned(), "conv_stem".to_owned()),
        ("features.0.1".to_owned(), "bn1".to_owned()),
    ];
    let mut flat = Vec::new();
    let mut index = 0;
    for (stage, &[expansion, _, blocks, _]) in setting.iter().enumerate() {
        for block in 0..blocks {
            index += 1;
            // Pairs of a convolution and a batch norm, of which all but the last are modules.
            let pairs: &[[&str; 2]] = match expansion {
                1 => &[["0.0", "0.1"], ["1", "2"]],
                _ => &[["0.0", "0.1"], ["1.0", "1.1"], ["2", "3"]],
            };
            let path = format!("features.{index}.conv");
            let layers: Vec<[String; 2]> =
                pairs.iter().map(|pair| pair.map(|layer| format!("{path}.{layer}"))).collect();
            timm.extend(timm_block(&format!("blocks.{stage}.{block}"), &layers));
            for (pair, [conv, norm]) in layers.into_iter().enumerate() {
                // The activation is the third of each.
                flat.push((conv, format!("{path}.{}", 3 * pair)));
                flat.push((norm, format!("{path}.{}", 3 * pair + 1)));
            }
        }
    }
    let last = format!("features.{}", index + 1);
    timm.push((format!("{last}.0"), "conv_head".to_owned()));
    timm.push((format!("{last}.1"), "bn2".to_owned()));
    timm.push(("classifier.1".to_owned(), "classifier".to_owned()));
    let mut linear = flat.clone();
    linear.push(("classifier.1".to_owned(), "classifier".to_owned()));
    vec![Naming::new("timm", timm), Naming::new(FIRST, flat), Naming::new(FIRST, linear)]
}

fn validate(model: &str, setting: &[[usize; 4]], config: &Config) -> Result<()> {
    let error = |problem: String| Err(Error::Argument(format!("{model}: {problem}")));
    let Config { width_mult, round_nearest, .. } = *config;
    let too_wide = |channels: f64| channels * width_mult > MAX_CHANNELS as f64;
    if !(width_mult > 0.0 && width_mult.is_finite()) || too_wide(1280.0) {
        return error(format!(
            "width_mult is {width_mult}; it must be above 0 and is usually between 0.1 and 2"
        ));
    }
    if round_nearest == 0 || round_nearest > MAX_CHANNELS {
        return error(format!(
            "round_nearest is {round_nearest}; it must be between 1 and {MAX_CHANNELS} and is \
             usually 8"
        ));
    }
    if setting.is_empty() {
        return error(
            "inverted_residual_setting is empty; it needs a row [t, c, n, s] for each stage".into(),
        );
    }
    for (row, &[expansion, channels, blocks, stride]) in setting.iter().enumerate() {
        let problem = if expansion == 0 || expansion > 1024 {
            format!("t (expansion) is {expansion}; it must be between 1 and 1024")
        } else if channels == 0 || too_wide(channels as f64) {
            format!(
                "c (channels) is {channels}; it must be at least 1, and at most {MAX_CHANNELS} \
                 after scaling by width_mult"
            )
        } else if blocks == 0 || blocks > 1024 {
            format!("n (blocks) is {blocks}; it must be between 1 and 1024")
        } else if !(1..=2).contains(&stride) {
            format!("s (stride) is {stride}; it must be 1 or 2")
        } else {
            continue;
        };
        let values = [expansion, channels, blocks, stride];
        return error(format!("inverted_residual_setting, row {row}, {values:?}: {problem}"));
    }
    Ok(())
}

impl Module for MobileNetV2 {
    fn kind(&self) -> &'static str {
        "MobileNetV2"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let x = cx.call("features", &self.features, x);
        let x = cx.mean(x);
        cx.call("classifier", &self.classifier, x)
    }
}

#[derive(Clone, Copy)]
struct Shape {
    inputs: usize,
    outputs: usize,
    expansion: usize,
    stride: usize,
}

/// Three convolutions: expanding (unless the expansion is 1), depthwise and projecting. The input
/// is added if it has the shape of the output.
struct InvertedResidual {
    conv: Sequential,
    adds: bool,
}

impl InvertedResidual {
    fn new(shape: Shape, padding: Padding, activation: Activation) -> Self {
        let Shape { inputs, outputs, expansion, stride } = shape;
        let hidden = inputs * expansion;
        let mut conv = Sequential::new();
        if expansion != 1 {
            conv.push(conv_bn_relu(Conv2d::new(inputs, hidden, 1), activation));
        }
        let depthwise =
            Conv2d::new(hidden, hidden, 3).stride(stride).padding(padding).groups(hidden);
        conv.push(conv_bn_relu(depthwise, activation));
        conv.push(Conv2d::new(hidden, outputs, 1).bias(false));
        conv.push(BatchNorm::two_d(outputs));
        Self { conv, adds: stride == 1 && inputs == outputs }
    }
}

impl Module for InvertedResidual {
    fn kind(&self) -> &'static str {
        "InvertedResidual"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let y = cx.call("conv", &self.conv, x);
        if self.adds { cx.add(x, y) } else { y }
    }
}
