//! Tests of a ShuffleNetV2 unit (Ma et al. 2018, <https://arxiv.org/abs/1807.11164>), which splits,
//! concatenates and shuffles channels, and of a network with two heads: in float, in int8, through a
//! file, and in training.

use posterize::nn::{Module, Sequential, Tracer, Value, trace_with};
use posterize::ops::{Activation, ChannelShuffle, Conv2d, Linear, Op, Padding, Slice};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::{Isa, Options};
use posterize::training::{CrossEntropy, Network};
use posterize::{Architecture, FloatModel, QuantizedModel, Tensor, compile};

const SIDE: usize = 6;

/// A unit without a stride: half of the channels stay as they are.
struct Unit {
    branch: Sequential,
    shuffle: ChannelShuffle,
}

impl Module for Unit {
    fn kind(&self) -> &'static str {
        "Unit"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let halves = cx.split(x, &[20, 20], 1);
        let second = cx.call("branch", &self.branch, halves[1]);
        let both = cx.cat(&[halves[0], second]);
        cx.call("shuffle", &self.shuffle, both)
    }
}

struct Net {
    stem: Conv2d,
    unit: Unit,
    classifier: Linear,
}

impl Module for Net {
    fn kind(&self) -> &'static str {
        "Net"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let x = cx.call("stem", &self.stem, x);
        let x = cx.call("unit", &self.unit, x);
        let x = cx.mean(x);
        cx.call("classifier", &self.classifier, x)
    }
}

fn net() -> Net {
    let branch = Sequential::new()
        .then(Conv2d::new(20, 20, 1))
        .then(Activation::ReLU)
        .then(Conv2d::new(20, 20, 3).padding(Padding::all(1)).groups(20))
        .then(Conv2d::new(20, 20, 1))
        .then(Activation::ReLU);
    let unit = Unit { branch, shuffle: ChannelShuffle::new(2) };
    Net {
        stem: Conv2d::new(3, 40, 3).padding(Padding::all(1)),
        unit,
        classifier: Linear::new(40, 5),
    }
}

fn pictures(seed: usize) -> Tensor {
    let values = (0..2 * 3 * SIDE * SIDE).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 25.0 - 2.0);
    Tensor::new([2, 3, SIDE, SIDE], values.collect()).unwrap()
}

fn quantized(float: &FloatModel) -> QuantizedModel {
    let mapping = QConfigMapping::global(QConfig::recommended());
    let mut observed = float.fuse().unwrap().prepare(&mapping).unwrap();
    let options = Options::new(2).unwrap();
    observed.calibrate(options, (0..8).map(|seed| Ok(pictures(seed)))).unwrap();
    observed.convert().unwrap()
}

/// The outputs on every instruction set, with one and with three threads, which all are the same.
fn outputs(int8: &QuantizedModel) -> Vec<Vec<f32>> {
    let mut all = Isa::supported().into_iter().flat_map(|isa| {
        [1, 3].map(|threads| {
            let options = Options::new(threads).unwrap().isa(isa);
            let outputs = compile(int8, options).unwrap().run_all(&[(&pictures(1)).into()]);
            outputs.unwrap().into_iter().map(Tensor::into_data).collect::<Vec<_>>()
        })
    });
    let first = all.next().unwrap();
    assert!(all.all(|other| other == first));
    first
}

fn reopened(int8: &QuantizedModel) -> QuantizedModel {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    int8.save(&path).unwrap();
    QuantizedModel::open(&path).unwrap()
}

#[test]
fn a_shuffled_unit_equals_its_definition() {
    let model = Architecture::trace(&net()).unwrap().init(2);
    let mut values = std::collections::BTreeMap::new();
    let mut engine = compile(&model, Options::new(2).unwrap()).unwrap();
    let observe = &mut |id: posterize::graph::NodeId, found: &[f32]| {
        values.insert(model.graph().node(id).name.clone(), found.to_vec());
        Ok(())
    };
    engine.run_observed(&pictures(1), observe).unwrap();
    let (stem, branch) = (&values["stem"], &values["unit.branch.4"]);
    let shuffled = &values["unit.shuffle"];
    assert_eq!(shuffled.len(), 2 * SIDE * SIDE * 40);
    for (pixel, found) in shuffled.chunks_exact(40).enumerate() {
        for channel in 0..20 {
            assert_eq!(found[2 * channel], stem[pixel * 40 + channel]);
            assert_eq!(found[2 * channel + 1], branch[pixel * 20 + channel]);
        }
    }
}

#[test]
fn int8_is_close_to_float_and_the_same_from_a_file() {
    let float = Architecture::trace(&net()).unwrap().init(2);
    let expected = float.forward(&pictures(1)).unwrap();
    let int8 = quantized(&float);
    let stays = |node: &posterize::graph::Node| matches!(node.op, Op::ChannelShuffle(_));
    assert!(int8.graph().iter().any(|(_, node)| stays(node)));
    let found = outputs(&int8);
    let largest = expected.data().iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    for (found, expected) in found[0].iter().zip(expected.data()) {
        assert!((found - expected).abs() < 0.1 * largest, "{found} {expected}");
    }
    assert_eq!(outputs(&reopened(&int8)), found);
}

#[test]
fn gradients_of_a_unit_equal_finite_differences() {
    let model = Architecture::trace(&net()).unwrap().init(2);
    let mut network = Network::float(&model, Options::new(2).unwrap()).unwrap();
    let (images, labels, loss) = (pictures(3), [1, 4], CrossEntropy::default());
    network.forward_backward(&images, &labels, &loss).unwrap();
    let stem = |network: &mut Network, index: usize, by: f32| {
        let tensor = network.trained().find(|tensor| tensor.name == "stem.bias").unwrap();
        tensor.value[index] += by;
        tensor.gradient[index]
    };
    // A channel of each half.
    for index in [3, 33] {
        network.forward_backward(&images, &labels, &loss).unwrap();
        let gradient = stem(&mut network, index, 0.05);
        let above = network.forward_backward(&images, &labels, &loss).unwrap().loss;
        stem(&mut network, index, -0.1);
        let below = network.forward_backward(&images, &labels, &loss).unwrap().loss;
        stem(&mut network, index, 0.05);
        let difference = (above - below) / 0.1;
        assert!((gradient - difference).abs() < 2e-4, "{index}: {gradient} {difference}");
    }
}

#[test]
fn two_heads_give_two_outputs_in_int8() {
    let stem = Conv2d::new(3, 20, 3).padding(Padding::all(1));
    let graph = trace_with("Heads", &["image"], |cx, inputs| {
        let x = cx.call("stem", &stem, inputs[0]);
        let x = cx.activation(Activation::ReLU, x);
        let pooled = cx.mean(x);
        let classes = cx.call("classes", &Linear::new(20, 5), pooled);
        // Each channel less its mean over the picture.
        let average = cx.call("average", &posterize::ops::AdaptiveAvgPool2d::new([1, 1]), x);
        let difference = cx.sub(x, average);
        let map = cx.call("map", &Conv2d::new(20, 2, 1), difference);
        let first = cx.function("first", Slice::new(1, 0, 1), &[map]);
        vec![("classes", classes), ("map", map), ("first", first)]
    })
    .unwrap();
    let float = Architecture::from(graph).init(4);
    let mut engine = compile(&float, Options::new(1).unwrap()).unwrap();
    let expected = engine.run_all(&[(&pictures(1)).into()]).unwrap();
    assert_eq!(expected[1].shape(), [2, 2, SIDE, SIDE]);
    let int8 = quantized(&float);
    let found = outputs(&int8);
    for (found, expected) in found.iter().zip(&expected) {
        let expected = expected.to_format(posterize::MemoryFormat::ChannelsLast);
        let largest = expected.data().iter().fold(0.0_f32, |max, x| max.max(x.abs()));
        for (found, expected) in found.iter().zip(expected.data()) {
            assert!((found - expected).abs() < 0.1 * largest, "{found} {expected}");
        }
    }
    assert_eq!(outputs(&reopened(&int8)), found);
}

#[test]
fn a_quotient_stays_in_float_between_int8_layers() {
    let graph = trace_with("Quotient", &["image"], |cx, inputs| {
        let x = cx.call("stem", &Conv2d::new(3, 20, 3), inputs[0]);
        let gate = cx.call("gate", &posterize::ops::Sigmoid, x);
        let y = cx.div(x, gate);
        vec![("output", cx.call("head", &Conv2d::new(20, 2, 1), y))]
    })
    .unwrap();
    let float = Architecture::from(graph).init(4);
    let expected = float.forward(&pictures(1)).unwrap();
    let int8 = quantized(&float);
    let found = outputs(&int8);
    let largest = expected.data().iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    for (found, expected) in found[0].iter().zip(expected.data()) {
        assert!((found - expected).abs() < 0.1 * largest, "{found} {expected}");
    }
}

/// Layers may be called as the stubs are that conversion places.
#[test]
fn stubs_take_names_that_are_free() {
    let graph = trace_with("Names", &["a", "b"], |cx, inputs| {
        let a = cx.call("quant", &Conv2d::new(3, 4, 1), inputs[0]);
        let b = cx.call("dequant", &Conv2d::new(3, 4, 1), inputs[1]);
        let sum = cx.add(a, b);
        vec![("sum", sum), ("a", a)]
    })
    .unwrap();
    let float = Architecture::from(graph).init(4);
    let mapping = QConfigMapping::global(QConfig::recommended());
    let mut observed = float.prepare(&mapping).unwrap();
    let batches = (0..4).map(|seed| Ok([pictures(seed), pictures(seed + 1)]));
    assert_eq!(observed.calibrate_all(Options::new(2).unwrap(), batches).unwrap(), 8);
    let int8 = observed.convert().unwrap();
    let names: Vec<&str> = int8.graph().iter().map(|(_, node)| node.name.as_str()).collect();
    let stubs = ["a.quant", "b.quant", "add.dequant", "a.dequant"];
    assert!(stubs.iter().all(|stub| names.contains(stub)), "{names:?}");
    let (first, second) = (pictures(1), pictures(2));
    let inputs = [(&first).into(), (&second).into()];
    let options = Options::new(1).unwrap();
    let expected = compile(&float, options).unwrap().run_all(&inputs).unwrap();
    let found = compile(&int8, options).unwrap().run_all(&inputs).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        for (found, expected) in found.data().iter().zip(expected.data()) {
            assert!((found - expected).abs() < 0.2, "{found} {expected}");
        }
    }
    assert_eq!(reopened(&int8).graph().outputs().len(), 2);
}
