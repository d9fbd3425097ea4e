//! The convolutions and linear layers of real networks, for 224x224 images.

use posterize_kernels::Conv2dGeometry;

/// The kind of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The first convolution, of an image.
    First,
    /// A 1x1 convolution with stride 1.
    Pointwise,
    /// A depthwise convolution.
    Depthwise,
    /// Any other convolution.
    General,
    /// The linear layer of the classifier.
    Linear,
}

impl Class {
    /// The name of the kind, in the names of benchmarks.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Pointwise => "pointwise",
            Self::Depthwise => "depthwise",
            Self::General => "general",
            Self::Linear => "linear",
        }
    }
}

/// A convolution and the size of its input; a linear layer is a pointwise convolution of one pixel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    /// The kind of the layer.
    pub(crate) class: Class,
    /// Channels, window and stride.
    pub(crate) geometry: Conv2dGeometry,
    /// Height and width of the input.
    pub(crate) size: [usize; 2],
}

impl Layer {
    fn new(
        class: Class,
        [in_channels, out_channels]: [usize; 2],
        kernel: usize,
        stride: usize,
        size: usize,
    ) -> Self {
        let groups = if class == Class::Depthwise { in_channels } else { 1 };
        let geometry = Conv2dGeometry::square([in_channels, out_channels], kernel, stride, groups);
        Self { class, geometry, size: [size; 2] }
    }

    /// Height and width of the output.
    pub(crate) fn output_size(&self) -> [usize; 2] {
        self.geometry.output_size(self.size).expect("the window fits")
    }

    /// Number of multiply-adds for one image.
    pub(crate) fn macs(&self) -> u64 {
        let [h, w] = self.output_size();
        (h * w * self.geometry.out_channels * self.geometry.taps_per_output()) as u64
    }

    /// The input, window, stride and output channels, for instance `56x56x24 1x1s1 144`.
    pub(crate) fn name(&self) -> String {
        let Conv2dGeometry { in_channels, out_channels, kernel, stride, .. } = self.geometry;
        let [h, w] = self.size;
        let depthwise = if self.class == Class::Depthwise { "dw" } else { "" };
        format!(
            "{h}x{w}x{in_channels} {depthwise}{}x{}s{} {out_channels}",
            kernel[0], kernel[1], stride[0]
        )
    }
}

/// The networks that are benchmarked.
pub(crate) fn networks() -> [(&'static str, Vec<Layer>); 3] {
    [
        ("mobilenet_v2", mobilenet_v2()),
        ("efficientnet_lite0", efficientnet_lite0()),
        ("resnet50", resnet50()),
    ]
}

/// A stage of inverted residual blocks.
struct Stage {
    expand: usize,
    channels: usize,
    blocks: usize,
    stride: usize,
    kernel: usize,
}

/// Stages from rows `[expand, channels, blocks, stride, kernel]`.
fn stages(rows: &[[usize; 5]]) -> impl Iterator<Item = Stage> + '_ {
    rows.iter().map(|&[expand, channels, blocks, stride, kernel]| Stage {
        expand,
        channels,
        blocks,
        stride,
        kernel,
    })
}

/// The layers of a network of inverted residual blocks, with its first convolution and its head.
fn inverted_residuals(rows: &[[usize; 5]]) -> Vec<Layer> {
    let mut layers = vec![Layer::new(Class::First, [3, 32], 3, 2, 224)];
    let (mut channels, mut size) = (32, 112);
    for stage in stages(rows) {
        for block in 0..stage.blocks {
            let hidden = channels * stage.expand;
            if stage.expand > 1 {
                layers.push(Layer::new(Class::Pointwise, [channels, hidden], 1, 1, size));
            }
            let stride = if block == 0 { stage.stride } else { 1 };
            layers.push(Layer::new(Class::Depthwise, [hidden; 2], stage.kernel, stride, size));
            size /= stride;
            layers.push(Layer::new(Class::Pointwise, [hidden, stage.channels], 1, 1, size));
            channels = stage.channels;
        }
    }
    layers.push(Layer::new(Class::Pointwise, [320, 1280], 1, 1, 7));
    layers.push(Layer::new(Class::Linear, [1280, 1000], 1, 1, 1));
    layers
}

/// MobileNetV2 ([Sandler et al. 2018](https://arxiv.org/abs/1801.04381), table 2).
pub(crate) fn mobilenet_v2() -> Vec<Layer> {
    inverted_residuals(&[
        [1, 16, 1, 1, 3],
        [6, 24, 2, 2, 3],
        [6, 32, 3, 2, 3],
        [6, 64, 4, 2, 3],
        [6, 96, 3, 1, 3],
        [6, 160, 3, 2, 3],
        [6, 320, 1, 1, 3],
    ])
}

/// EfficientNet-Lite0: EfficientNet-B0 ([Tan and Le 2019](https://arxiv.org/abs/1905.11946), table
/// 1) without squeeze-and-excitation.
pub(crate) fn efficientnet_lite0() -> Vec<Layer> {
    inverted_residuals(&[
        [1, 16, 1, 1, 3],
        [6, 24, 2, 2, 3],
        [6, 40, 2, 2, 5],
        [6, 80, 3, 2, 3],
        [6, 112, 3, 1, 5],
        [6, 192, 4, 2, 5],
        [6, 320, 1, 1, 3],
    ])
}

/// ResNet-50 ([He et al. 2015](https://arxiv.org/abs/1512.03385), table 1) with the stride in the
/// 3x3 convolution, as in torchvision.
pub(crate) fn resnet50() -> Vec<Layer> {
    let mut layers = vec![Layer::new(Class::First, [3, 64], 7, 2, 224)];
    let (mut channels, mut size) = (64, 56);
    for (width, blocks, first_stride) in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)] {
        for block in 0..blocks {
            let stride = if block == 0 { first_stride } else { 1 };
            let out = 4 * width;
            layers.push(Layer::new(Class::Pointwise, [channels, width], 1, 1, size));
            layers.push(Layer::new(Class::General, [width; 2], 3, stride, size));
            if block == 0 {
                let class = if stride == 1 { Class::Pointwise } else { Class::General };
                layers.push(Layer::new(class, [channels, out], 1, stride, size));
            }
            size /= stride;
            layers.push(Layer::new(Class::Pointwise, [width, out], 1, 1, size));
            channels = out;
        }
    }
    layers.push(Layer::new(Class::Linear, [2048, 1000], 1, 1, 1));
    layers
}
