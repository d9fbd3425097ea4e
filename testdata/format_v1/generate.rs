//! Writes the files of `testdata/format_v1`. See `README.md` there: it compiles with the posterize
//! that wrote version 1 only.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use posterize::checkpoint::StateTensor;
use posterize::data::{Augmentation, Class, ImageFolder, Loader, Preprocessing};
use posterize::executor::{Isa, Options, compile};
use posterize::format::SavedModel;
use posterize::graph::{
    Activation, AdaptiveAvgPool2d, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d, Padding,
    ZeroPad2d,
};
use posterize::nn::{
    DeQuantStub, Flatten, FloatFunctional, Module, QuantStub, Sequential, Tracer, Value,
};
use posterize::quantization::{
    ObserverKind, ObserverSpec, QConfig, QConfigMapping, QuantizedModel,
};
use posterize::training::{
    Checkpoint, EpochRecord, Freeze, Network, Position, SgdOptions, TrainOptions, TrainedModel,
    Trainer, Watch,
};
use posterize::{Architecture, FloatModel, StateDict, Tensor};
use serde_json::{Value as Json, json};

/// A module that is one function.
struct Net(&'static str, fn(&mut Tracer, Value) -> Value);

impl Module for Net {
    fn kind(&self) -> &str {
        self.0
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        self.1(cx, x)
    }
}

/// Uniform numbers from −1 to 1.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(next).collect()
}

fn images(batch: usize, side: usize, seed: u32) -> Tensor {
    Tensor::new([batch, 3, side, side], noise(batch * 3 * side * side, seed)).unwrap()
}

/// Random weights, with biases and batch norms that do something.
fn float_model(net: &dyn Module, seed: u32) -> FloatModel {
    let architecture = Architecture::trace(net).unwrap();
    let mut state = StateDict::new();
    for (place, (name, tensor)) in
        architecture.init(u64::from(seed)).parameters().iter().enumerate()
    {
        let noise = noise(tensor.data().len(), seed + 100 * place as u32);
        let change: fn(f32, f32) -> f32 = match name.rsplit('.').next().unwrap() {
            "bias" | "running_mean" => |_, noise| 0.3 * noise,
            "running_var" => |_, noise| 1.0 + 0.5 * noise,
            _ if tensor.shape().len() == 1 => |_, noise| 1.0 + 0.4 * noise,
            _ if tensor.shape().len() == 2 => |value, _| 10.0 * value,
            _ => |value, _| value,
        };
        let values = tensor.data().iter().zip(noise).map(|(value, noise)| change(*value, noise));
        let tensor = Tensor::new(tensor.shape().to_vec(), values.collect()).unwrap();
        state.insert(name.clone(), StateTensor::Float(tensor));
    }
    architecture.load(&state).unwrap()
}

fn conv(inputs: usize, outputs: usize, kernel: usize) -> Conv2d {
    Conv2d::new(inputs, outputs, kernel).padding(Padding::all(kernel / 2))
}

/// Every operator, in int8.
fn operators(cx: &mut Tracer, x: Value) -> Value {
    let stem = Sequential::new()
        .then(Conv2d::new(3, 8, 3).stride(2).padding(Padding::Same).bias(false))
        .then(BatchNorm::two_d(8).eps(1e-3))
        .then(Activation::ReLU6);
    let block = Sequential::of_kind("InvertedResidual")
        .then(Conv2d::new(8, 24, 1).bias(false))
        .then(BatchNorm::two_d(24))
        .then(Activation::ReLU6)
        .then(Conv2d::new(24, 24, 3).padding(Padding::Same).groups(24).bias(false))
        .then(BatchNorm::two_d(24))
        .then(Activation::ReLU6)
        .then(Conv2d::new(24, 8, 1).bias(false))
        .then(BatchNorm::two_d(8));
    let asymmetric = Padding::Explicit { top: 0, bottom: 1, left: 1, right: 2 };
    let deep = Sequential::new()
        .then(ZeroPad2d { left: 0, right: 1, top: 0, bottom: 1 })
        .then(Conv2d::new(8, 12, 3).stride(2))
        .then(Activation::ReLU)
        .then(MaxPool2d { kernel_size: 3, stride: 1, padding: 1 })
        .then(Conv2d::new(12, 12, 3).padding(asymmetric).groups(3))
        .then(conv(12, 12, 3).dilation(2).padding(Padding::all(2)));
    let x = cx.call("stem", &stem, x);
    let y = cx.call("block", &block, x);
    let x = cx.functional("skip", FloatFunctional::Add, &[x, y]);
    let z = cx.call("deep", &deep, x);
    let y = cx.functional("gate", FloatFunctional::Mul, &[z, z]);
    let w = cx.mul(y, z);
    let w = cx.activation(Activation::ReLU6, w);
    let v = cx.functional("sum", FloatFunctional::AddReLU, &[z, w]);
    let u = cx.functional("join", FloatFunctional::Cat, &[z, w, v]);
    let u = cx.cat(&[u, y]);
    let averages = cx.mean(u);
    let hidden = Sequential::new()
        .then(Linear::new(48, 16))
        .then(Activation::ReLU)
        .then(Dropout { p: 0.2 })
        .then(Linear { bias: false, ..Linear::new(16, 10) });
    let first = cx.call("classifier", &hidden, averages);
    let pooled = Sequential::new()
        .then(MaxPool2d { kernel_size: 2, stride: 2, padding: 0 })
        .then(AdaptiveAvgPool2d { output_size: [2, 1] })
        .then(Flatten)
        .then(Linear::new(96, 10));
    let second = cx.call("pooled", &pooled, u);
    cx.add(first, second)
}

/// A residual of channels that fill no register, for one scale a weight.
fn odd(cx: &mut Tracer, x: Value) -> Value {
    let stem = Sequential::new()
        .then(conv(3, 5, 5).stride(2).bias(false))
        .then(BatchNorm::two_d(5))
        .then(Activation::ReLU);
    let block = Sequential::new()
        .then(conv(5, 7, 3).bias(false))
        .then(BatchNorm::two_d(7))
        .then(Activation::ReLU)
        .then(conv(7, 7, 3).groups(7))
        .then(conv(7, 5, 1).bias(false))
        .then(BatchNorm::two_d(5));
    let x = cx.call("stem", &stem, x);
    let y = cx.call("block", &block, x);
    let x = cx.add(x, y);
    let x = cx.activation(Activation::ReLU, x);
    let x = cx.call("pool", &AdaptiveAvgPool2d { output_size: [1, 1] }, x);
    let x = cx.flatten(x);
    cx.call("fc", &Linear::new(5, 3), x)
}

/// Layers that stay in float, between others that do not, and batch norms that nothing absorbs.
fn regions(cx: &mut Tracer, x: Value) -> Value {
    let features = Sequential::new()
        .then(conv(3, 6, 3))
        .then(Activation::ReLU)
        .then(MaxPool2d { kernel_size: 2, stride: 2, padding: 1 })
        .then(BatchNorm::two_d(6).eps(1e-4).momentum(0.2))
        .then(conv(6, 6, 3).groups(6))
        .then(Activation::ReLU6)
        .then(conv(6, 9, 1))
        .then(conv(9, 9, 3));
    let x = cx.call("features", &features, x);
    let y = cx.call("branch", &conv(9, 9, 1), x);
    let x = cx.functional("float_add", FloatFunctional::Add, &[x, y]);
    let x = cx.call("after", &conv(9, 4, 3), x);
    let x = cx.cat(&[x, y]);
    let x = cx.mean(x);
    let head = Sequential::new()
        .then(Linear::new(13, 8))
        .then(Activation::ReLU)
        .then(BatchNorm::one_d(8))
        .then(Linear::new(8, 4));
    cx.call("head", &head, x)
}

fn regions_mapping() -> QConfigMapping {
    let per_channel = ObserverSpec { averaging_constant: 0.5, ..QConfig::fbgemm_qat().weight };
    let moving = QConfig {
        activation: ObserverSpec {
            averaging_constant: 0.25,
            ..ObserverSpec::new(ObserverKind::MovingAverageMinMax)
        },
        weight: per_channel,
    };
    let narrow = QConfig {
        activation: ObserverSpec { bins: 256, ..ObserverSpec::histogram() },
        ..QConfig::qnnpack()
    };
    QConfigMapping::global(QConfig::recommended())
        .set_object_type("ReLU", None)
        .set_object_type("Linear", moving)
        .set_module_glob("features.[67]", narrow)
        .unwrap()
        .set_module_glob("bran??", QConfig::fbgemm())
        .unwrap()
        .set_module_name("features.4", None)
        .set_module_name("float_add", None)
        .set_module_name("after", QConfig::default_qconfig())
        .set_module_name("head.3", None)
}

/// Stubs placed by hand: two int8 regions, and an output of four dimensions.
fn stubs(cx: &mut Tracer, x: Value) -> Value {
    let net = Sequential::new()
        .then(conv(3, 8, 3))
        .then(Activation::ReLU)
        .then(QuantStub)
        .then(conv(8, 8, 3).groups(8))
        .then(MaxPool2d { kernel_size: 2, stride: 2, padding: 0 })
        .then(DeQuantStub)
        .then(conv(8, 4, 1))
        .then(QuantStub)
        .then(conv(4, 4, 3))
        .then(Activation::ReLU6)
        .then(DeQuantStub);
    cx.call("net", &net, x)
}

/// What a file holds where nothing is quantized.
fn float_only(cx: &mut Tracer, x: Value) -> Value {
    let net = Sequential::new()
        .then(conv(3, 6, 3).stride(2))
        .then(BatchNorm::two_d(6))
        .then(Activation::ReLU6)
        .then(ZeroPad2d { left: 1, right: 0, top: 2, bottom: 1 })
        .then(AdaptiveAvgPool2d { output_size: [3, 2] })
        .then(Dropout { p: 0.5 });
    let x = cx.call("net", &net, x);
    let y = cx.mul(x, x);
    let x = cx.functional("sum", FloatFunctional::AddReLU, &[x, y]);
    let x = cx.cat(&[x, y]);
    let x = cx.flatten(x);
    cx.call("fc", &Linear::new(72, 5), x)
}

fn quantized(float: &FloatModel, side: usize, mapping: &QConfigMapping) -> QuantizedModel {
    let mut observed = float.prepare(mapping).unwrap();
    let batches = (0..4).map(|seed| Ok(images(4, side, 1000 + seed)));
    observed.calibrate(Options::new(1).unwrap(), batches).unwrap();
    observed.convert().unwrap()
}

/// The bits of a model's output, once where all instruction sets agree, else for each.
fn outputs(model: &QuantizedModel, batch: usize, side: usize, seed: u32) -> Json {
    let images = images(batch, side, seed);
    let mut shape = Vec::new();
    let mut bits = BTreeMap::new();
    for isa in Isa::supported() {
        let options = Options { isa, ..Options::new(1).unwrap() };
        let output = compile(model, options).unwrap().run(&images).unwrap();
        shape = output.shape().to_vec();
        let values: Vec<u32> = output.data().iter().map(|value| value.to_bits()).collect();
        bits.insert(isa.name(), values);
    }
    let first = bits.values().next().unwrap().clone();
    let bits = if bits.values().all(|other| *other == first) {
        json!({ "every": first })
    } else {
        println!("  instruction sets differ");
        json!(bits)
    };
    json!({ "batch": batch, "side": side, "seed": seed, "shape": shape, "bits": bits })
}

/// Two classes of seven pictures: noise, brighter in one of them.
fn pictures(root: &Path) -> ImageFolder {
    let mut state = 7u32;
    for (class, light) in [("dark", 0), ("light", 90)] {
        fs::create_dir(root.join(class)).unwrap();
        for number in 0..7 {
            let mut bytes = b"P6\n12 10\n255\n".to_vec();
            bytes.extend((0..360).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8 / 2 + light
            }));
            fs::write(root.join(format!("{class}/{number}.ppm")), bytes).unwrap();
        }
    }
    ImageFolder::open(root, None).unwrap()
}

fn trained(cx: &mut Tracer, x: Value) -> Value {
    let stem = Sequential::new()
        .then(conv(3, 8, 3).bias(false))
        .then(BatchNorm::two_d(8))
        .then(Activation::ReLU6)
        .then(conv(8, 8, 3).groups(8).bias(false))
        .then(BatchNorm::two_d(8));
    let head = Sequential::new().then(Flatten).then(Dropout { p: 0.1 }).then(Linear::new(512, 2));
    let x = cx.call("stem", &stem, x);
    let y = cx.call("skip", &conv(8, 8, 1), x);
    let x = cx.functional("add", FloatFunctional::Add, &[x, y]);
    let x = cx.activation(Activation::ReLU, x);
    cx.call("head", &head, x)
}

fn trainer(folder: &ImageFolder, qat: bool, isa: Isa) -> Trainer {
    let executor = Options { isa, ..Options::new(1).unwrap() };
    let model = float_model(&Net("Trained", trained), 9);
    let network = if qat {
        let mapping = QConfigMapping::global(QConfig::recommended_qat())
            .set_module_name("skip", QConfig::default_qat());
        Network::qat(model.prepare_qat(&mapping).unwrap(), executor).unwrap()
    } else {
        Network::float(&model, executor).unwrap()
    };
    let small = Preprocessing { resize: 10, crop: 8, ..Preprocessing::imagenet() };
    let train = Loader::new(folder, Augmentation::new(&small, 5)).threads(1);
    let val = Loader::new(folder, small).batch_size(3).threads(1);
    let options = TrainOptions {
        epochs: 3,
        batches: None,
        batch_size: 4,
        lr: 0.02,
        sgd: SgdOptions { momentum: 0.9, ..SgdOptions::default() },
        freeze_observer: Freeze::After(1),
        freeze_bn: Freeze::After(0),
        ..TrainOptions::default()
    };
    Trainer::new(network, &train, &val, options, executor).unwrap()
}

/// Keeps the checkpoint in the middle of the second epoch, and the last int8 network.
#[derive(Default)]
struct Recorder {
    middle: Option<Checkpoint>,
    int8: Option<QuantizedModel>,
}

impl Watch for Recorder {
    fn epoch(&mut self, _: &EpochRecord, model: &TrainedModel, _: bool) -> posterize::Result<()> {
        if let TrainedModel::Int8(model) = model {
            self.int8 = Some(model.clone());
        }
        Ok(())
    }

    fn wants_checkpoint(&mut self, position: &Position, _: bool) -> bool {
        (position.epoch, position.batch) == (1, 2)
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> posterize::Result<()> {
        self.middle = Some(checkpoint.clone());
        Ok(())
    }
}

fn main() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/format_v1"));
    let mut expected = BTreeMap::new();
    let mut write = |name: &str, saved: &SavedModel, side: usize| {
        let bytes = saved.save(folder.join(format!("{name}.safetensors"))).unwrap();
        println!("{name}: {bytes} bytes");
        fs::write(folder.join(format!("{name}.txt")), saved.model.module("").unwrap().to_string())
            .unwrap();
        expected.insert(name.to_owned(), outputs(&saved.model, 3, side, 42));
    };

    let float = float_model(&Net("Operators", operators), 1).fuse().unwrap();
    let mapping = QConfigMapping::global(QConfig::recommended());
    let mut saved = SavedModel::new(quantized(&float, 22, &mapping));
    saved.name = "every operator".into();
    saved.preprocessing =
        Some(Preprocessing { resize: 25, crop: 22, mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6] });
    let class =
        |index| Class { folder: format!("n{index:08}"), name: format!("the {index}th thing, é") };
    saved.classes = (0..10).map(class).collect();
    write("operators", &saved, 22);

    let float = float_model(&Net("Odd", odd), 2).fuse().unwrap();
    let mapping = QConfigMapping::global(QConfig::default_qconfig());
    write("per_tensor", &SavedModel::new(quantized(&float, 15, &mapping)), 15);
    let mapping = QConfigMapping::global(QConfig::fbgemm());
    write("fbgemm", &SavedModel::new(quantized(&float, 15, &mapping)), 15);

    let float = float_model(&Net("Regions", regions), 3);
    write("float_regions", &SavedModel::new(quantized(&float, 12, &regions_mapping())), 12);

    let float = float_model(&Net("Stubs", stubs), 4).fuse().unwrap();
    let mapping = QConfigMapping::global(QConfig::qnnpack());
    write("stubs", &SavedModel::new(quantized(&float, 10, &mapping)), 10);

    let float = float_model(&Net("FloatOnly", float_only), 5);
    write("float_only", &SavedModel::new(quantized(&float, 9, &QConfigMapping::new())), 9);

    let mut training = BTreeMap::new();
    for (name, qat) in [("training_float", false), ("training_qat", true)] {
        let root = tempfile::tempdir().unwrap();
        let pictures = pictures(root.path());
        let avx2 = Isa::supported().into_iter().find(|isa| isa.name() == "avx2").unwrap();
        let mut seen = Recorder::default();
        trainer(&pictures, qat, avx2).run(&mut seen).unwrap();
        let middle = seen.middle.unwrap();
        let bytes = middle.save(folder.join(format!("{name}.safetensors"))).unwrap();
        println!("{name}: {bytes} bytes");
        if let Some(int8) = seen.int8 {
            write("trained", &SavedModel::new(int8), 8);
        }
        let mut ends = BTreeMap::new();
        for isa in Isa::supported() {
            let mut resumed = trainer(&pictures, qat, isa);
            resumed.resume(middle.clone()).unwrap();
            resumed.run(&mut ()).unwrap();
            let bits = |values: &[f32]| -> Vec<u32> {
                values.iter().map(|value| value.to_bits()).collect()
            };
            let mut end = BTreeMap::from([("losses", bits(&resumed.history().losses))]);
            let state = resumed.checkpoint().network;
            for name in ["stem.1.running_mean", "skip.weight", "head.2.bias"] {
                end.insert(name, bits(state.tensors[name].data()));
            }
            ends.insert(isa.name(), end);
        }
        assert_eq!(ends["avx2"], ends["avx512vnni"]);
        training.insert(name, ends);
    }
    let json = |value: Json| serde_json::to_string(&value).unwrap() + "\n";
    fs::write(folder.join("expected.json"), json(json!(expected))).unwrap();
    fs::write(folder.join("expected_training.json"), json(json!(training))).unwrap();
}
