//! ResNet (He et al. 2015, <https://arxiv.org/abs/1512.03385>), as in torchvision.
//!
//! Unlike in the paper, the stride of a bottleneck is in its 3x3 convolution.

use super::config::Config;
use crate::error::{Error, Result};
use crate::nn::{Module, Sequential, Tracer, Value};
use crate::ops::{Activation, AdaptiveAvgPool2d, BatchNorm, Conv2d, Linear, MaxPool2d, Padding};

const STEM: usize = 64;

/// The kind of block that all stages have.
#[derive(Clone, Copy)]
enum BlockKind {
    /// Two 3x3 convolutions.
    Basic,
    /// A 1x1, a 3x3 and a 1x1 convolution, the last with four times the channels.
    Bottleneck,
}

/// ResNet; `torchvision.models.ResNet`. Its modules are `conv1`, `bn1`, `layer1.N` to `layer4.N`
/// and `fc`.
///
/// ```
/// use posterize::Architecture;
/// use posterize::models::{Config, ResNet};
///
/// let model = Architecture::trace(&ResNet::resnet18(&Config::default())?)?;
/// let expected = "Linear(in_features=512, out_features=1000, bias=True)";
/// assert_eq!(model.module("fc")?.to_string(), expected);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct ResNet {
    layers: [Sequential; 4],
    fc: Linear,
    activation: Activation,
}

impl ResNet {
    /// Creates a ResNet-18: two basic blocks in each of the four stages.
    ///
    /// # Errors
    /// Returns an error that names the field of `config` that is out of range.
    pub fn resnet18(config: &Config) -> Result<Self> {
        Self::build("resnet18", BlockKind::Basic, [2, 2, 2, 2], config)
    }

    /// Creates a ResNet-50: 3, 4, 6 and 3 bottlenecks in the four stages.
    ///
    /// # Errors
    /// Returns an error that names the field of `config` that is out of range.
    pub fn resnet50(config: &Config) -> Result<Self> {
        Self::build("resnet50", BlockKind::Bottleneck, [3, 4, 6, 3], config)
    }

    fn build(model: &str, kind: BlockKind, blocks: [usize; 4], config: &Config) -> Result<Self> {
        config.validate_fixed(model)?;
        if config.dropout.is_some() {
            return Err(Error::Argument(format!("{model} has no dropout; leave it at `None`")));
        }
        let activation = config.activation.unwrap_or(Activation::ReLU);
        let mut inputs = STEM;
        let layers = std::array::from_fn(|stage| {
            let planes = STEM << stage;
            let mut layer = Sequential::new();
            for index in 0..blocks[stage] {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let block = Block::new(kind, inputs, planes, stride, activation);
                inputs = block.outputs;
                layer.push(block);
            }
            layer
        });
        Ok(Self { layers, fc: Linear::new(inputs, config.num_classes), activation })
    }
}

impl Module for ResNet {
    fn kind(&self) -> &'static str {
        "ResNet"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let conv1 = Conv2d::new(3, STEM, 7).stride(2).padding(Padding::all(3)).bias(false);
        let x = cx.call("conv1", &conv1, x);
        let x = cx.call("bn1", &BatchNorm::two_d(STEM), x);
        let x = cx.call("relu", &self.activation, x);
        let mut x = cx.call("maxpool", &MaxPool2d::new(3).stride(2).padding(1), x);
        for (name, layer) in ["layer1", "layer2", "layer3", "layer4"].into_iter().zip(&self.layers)
        {
            x = cx.call(name, layer, x);
        }
        let x = cx.call("avgpool", &AdaptiveAvgPool2d::new([1, 1]), x);
        let x = cx.flatten(x);
        cx.call("fc", &self.fc, x)
    }
}

/// `BasicBlock` or `Bottleneck`: convolutions with batch norms, with an activation after all but
/// the last. The input is added, and the activation is applied to the sum.
struct Block {
    kind: &'static str,
    convs: Vec<Conv2d>,
    downsample: Option<Sequential>,
    activation: Activation,
    outputs: usize,
}

impl Block {
    fn new(
        kind: BlockKind,
        inputs: usize,
        planes: usize,
        stride: usize,
        activation: Activation,
    ) -> Self {
        let conv3 = |from: usize, stride| {
            Conv2d::new(from, planes, 3).stride(stride).padding(Padding::all(1))
        };
        let (kind, outputs, convs) = match kind {
            BlockKind::Basic => {
                ("BasicBlock", planes, vec![conv3(inputs, stride), conv3(planes, 1)])
            }
            BlockKind::Bottleneck => (
                "Bottleneck",
                planes * 4,
                vec![
                    Conv2d::new(inputs, planes, 1),
                    conv3(planes, stride),
                    Conv2d::new(planes, planes * 4, 1),
                ],
            ),
        };
        let downsample = (stride != 1 || inputs != outputs).then(|| {
            Sequential::new()
                .then(Conv2d::new(inputs, outputs, 1).stride(stride).bias(false))
                .then(BatchNorm::two_d(outputs))
        });
        let convs = convs.into_iter().map(|conv| conv.bias(false)).collect();
        Self { kind, convs, downsample, activation, outputs }
    }
}

impl Module for Block {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        // Declared in the order of torchvision's constructors: a `Bottleneck` creates `relu` after
        // its convolutions, a `BasicBlock` after the first one.
        for (index, conv) in self.convs.iter().enumerate() {
            cx.declare(&format!("conv{}", index + 1), conv);
            cx.declare(&format!("bn{}", index + 1), &BatchNorm::two_d(conv.out_channels));
            if self.kind == "BasicBlock" {
                cx.declare("relu", &self.activation);
            }
        }
        let mut y = x;
        for (index, conv) in self.convs.iter().enumerate() {
            y = cx.call(&format!("conv{}", index + 1), conv, y);
            y = cx.call(&format!("bn{}", index + 1), &BatchNorm::two_d(conv.out_channels), y);
            if index + 1 < self.convs.len() {
                y = cx.call("relu", &self.activation, y);
            }
        }
        let shortcut = match &self.downsample {
            Some(downsample) => cx.call("downsample", downsample, x),
            None => x,
        };
        y = cx.add(y, shortcut);
        cx.call("relu", &self.activation, y)
    }
}
