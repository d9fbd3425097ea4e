//! Tests that fused steps of a plan give the same bits as their layers run one after the other.

use posterize::graph::NodeId;
use posterize::nn::{Module, Sequential, Tracer, Value};
use posterize::ops::{Activation, Add, BatchNorm, Conv2d, Padding};
use posterize::quantization::{QConfig, QConfigMapping, QuantizedModel};
use posterize::runtime::{Options, compile};
use posterize::{Architecture, Tensor};

fn convolution(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Conv2d {
    let groups = if kernel > 1 && inputs == outputs { inputs } else { 1 };
    Conv2d::new(inputs, outputs, kernel)
        .stride(stride)
        .padding(Padding::all(kernel / 2))
        .groups(groups)
        .bias(false)
}

fn layer(conv: Conv2d, outputs: usize, activation: Option<Activation>) -> Sequential {
    let layer = Sequential::new().then(conv).then(BatchNorm::two_d(outputs));
    match activation {
        Some(activation) => layer.then(activation),
        None => layer,
    }
}

/// A network with blocks of all kinds, and layers that resemble a block but cannot be fused.
struct Net {
    stem: Sequential,
    /// Blocks without expansion, with a stride, and with an addition in both orders of its
    /// operands.
    blocks: [Sequential; 4],
    /// The expansion of a block whose output is also used elsewhere.
    expand: Sequential,
    filter: Sequential,
    project: Sequential,
    reduce: Sequential,
}

impl Net {
    fn new() -> Self {
        let relu6 = Some(Activation::ReLU6);
        let block = |inputs, hidden, outputs, kernel, stride| {
            Sequential::new()
                .then(layer(convolution(inputs, hidden, 1, 1), hidden, relu6))
                .then(layer(convolution(hidden, hidden, kernel, stride), hidden, relu6))
                .then(layer(convolution(hidden, outputs, 1, 1), outputs, None))
        };
        Self {
            stem: layer(convolution(3, 32, 3, 2), 32, relu6),
            blocks: [
                Sequential::new().then(layer(convolution(32, 32, 3, 1), 32, relu6)).then(layer(
                    convolution(32, 16, 1, 1),
                    16,
                    None,
                )),
                block(16, 96, 24, 5, 2),
                block(24, 144, 24, 3, 1),
                block(24, 80, 24, 5, 1),
            ],
            expand: layer(convolution(24, 64, 1, 1), 64, relu6),
            filter: layer(convolution(64, 64, 3, 1), 64, relu6),
            project: layer(convolution(64, 64, 1, 1), 64, None),
            reduce: layer(convolution(64, 10, 1, 1), 10, None),
        }
    }
}

impl Module for Net {
    fn kind(&self) -> &'static str {
        "Net"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let x = cx.call("stem", &self.stem, x);
        let x = cx.call("blocks.0", &self.blocks[0], x);
        let x = cx.call("blocks.1", &self.blocks[1], x);
        let y = cx.call("blocks.2", &self.blocks[2], x);
        let x = cx.functional("add.2", Add::new(), &[x, y]);
        let y = cx.call("blocks.3", &self.blocks[3], x);
        let x = cx.functional("add.3", Add::new(), &[y, x]);
        let expanded = cx.call("expand", &self.expand, x);
        let y = cx.call("filter", &self.filter, expanded);
        let y = cx.call("project", &self.project, y);
        let x = cx.functional("add", Add::new(), &[expanded, y]);
        cx.call("reduce", &self.reduce, x)
    }
}

fn pictures(batch: usize, size: [usize; 2], seed: u32) -> Tensor {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let values = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    });
    let [h, w] = size;
    Tensor::channels_last([batch, 3, h, w], values.take(batch * 3 * h * w).collect()).unwrap()
}

fn int8() -> QuantizedModel {
    let float = Architecture::trace(&Net::new()).unwrap().init(5).fuse().unwrap();
    let mut observed = float.prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
    observed.forward(&pictures(4, [32, 32], 1)).unwrap();
    observed.convert().unwrap()
}

#[test]
fn blocks_give_the_same_bits_as_their_layers() {
    let model = int8();
    for threads in [1, 2, 3] {
        let mut engine = compile(&model, Options::new(threads).unwrap()).unwrap();
        for (batch, size) in [(1, [32, 32]), (5, [37, 22]), (2, [2, 3])] {
            let images = pictures(batch, size, 9);
            let mut seen = 0;
            let layers = engine
                .run_observed(&images, &mut |_: NodeId, _: &[f32]| {
                    seen += 1;
                    Ok(())
                })
                .unwrap();
            assert_eq!(seen, model.graph().nodes().len(), "every node is observed");
            assert_eq!(engine.run(&images).unwrap(), layers, "{batch} of {size:?}");
        }
    }
}

/// Additions are fused into the convolution before them if its kernel supports it, whether the
/// other operand is the output of a convolution or not, for both kinds of blocks.
#[test]
fn fused_additions_give_the_same_bits_as_their_layers() {
    let config = posterize::models::Config { num_classes: 10, ..Default::default() };
    for (architecture, blocks) in [
        (posterize::models::resnet18(&config).unwrap(), 8),
        (posterize::models::resnet50(&config).unwrap(), 16),
    ] {
        let float = architecture.init(3).fuse().unwrap();
        let mut observed = float.prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
        observed.forward(&pictures(2, [33, 47], 1)).unwrap();
        let model = observed.convert().unwrap();
        let images = pictures(2, [33, 47], 4);
        for threads in [1, 2] {
            let mut engine = compile(&model, Options::new(threads).unwrap()).unwrap();
            let layers = engine.run_observed(&images, &mut |_: NodeId, _: &[f32]| Ok(())).unwrap();
            assert_eq!(engine.run(&images).unwrap(), layers, "{threads} threads");
            let profile = engine.profile(&images, 1).unwrap();
            let kernels: Vec<&str> = profile.layers.iter().map(|layer| layer.kernel).collect();
            let (alone, fused): (Vec<&str>, Vec<&str>) = kernels
                .into_iter()
                .filter(|kernel| kernel.contains("add"))
                .partition(|&kernel| kernel == "add");
            assert_eq!(alone.len() + fused.len(), blocks);
            assert!(alone.is_empty() || fused.is_empty(), "{alone:?} {fused:?}");
        }
    }
}

#[test]
fn a_profile_lists_blocks_as_one_layer() {
    let mut engine = compile(int8(), Options::new(1).unwrap()).unwrap();
    let profile = engine.profile(&pictures(1, [32, 32], 2), 2).unwrap();
    let blocks: Vec<&str> = profile
        .layers
        .iter()
        .filter(|layer| layer.kernel.starts_with("inverted_residual"))
        .map(|layer| layer.name.as_str())
        .collect();
    // The last block starts at its depthwise convolution, because the addition also uses the
    // expanded values.
    assert_eq!(blocks.len(), 5, "{blocks:?}");
    assert_eq!(blocks[2..], ["add.2", "add.3", "add"]);
    let multiply_adds: u64 = profile.layers.iter().map(|layer| layer.multiply_adds).sum();
    let shapes = int8().graph().infer(&[1, 3, 32, 32]).unwrap();
    assert_eq!(multiply_adds, shapes.iter().map(|layer| layer.multiply_adds).sum::<u64>());
}
