//! Tests that a small network is converted to int8 as in PyTorch (`testdata/torch_converted`).
//!
//! All float sums in that network are exact, so both observe the same values in calibration, and
//! scales, zero points and weights are equal bit for bit. Integer outputs are equal except for the
//! rounding of biases and of means that are halves (`docs/arithmetic.md`, "Where PyTorch differs").

use posterize::checkpoint::StateTensor;
use posterize::nn::{Module, Sequential, Tracer, Value};
use posterize::ops::{
    Activation, AdaptiveAvgPool2d, Add, BatchNorm, Conv2d, Linear, MaxPool2d, Padding,
};
use posterize::quantization::{QConfig, QConfigMapping, QuantizedModel};
use posterize::runtime::{Isa, Options, compile};
use posterize::{Architecture, StateDict, Tensor};
use safetensors::{Dtype, SafeTensors};

/// The network of `generate.py`, with or without biases.
struct Net {
    bias: bool,
}

impl Module for Net {
    fn kind(&self) -> &'static str {
        "Net"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let average = AdaptiveAvgPool2d::new([1, 1]);
        let conv = |inputs, outputs, kernel: usize| {
            Conv2d::new(inputs, outputs, kernel).padding(Padding::all(kernel / 2))
        };
        let bn = BatchNorm::two_d(8).eps(1.0 / 1024.0);
        let stem = Sequential::new()
            .then(conv(3, 8, 3).stride(2).bias(false))
            .then(bn.clone())
            .then(Activation::ReLU);
        let block = Sequential::new()
            .then(conv(8, 8, 3).groups(8).bias(self.bias))
            .then(bn.clone())
            .then(Activation::ReLU)
            .then(conv(8, 8, 1).bias(false))
            .then(bn);
        let tail =
            Sequential::new().then(conv(8, 12, 3).stride(2).bias(self.bias)).then(Activation::ReLU);
        let x = cx.call("stem", &stem, x);
        let y = cx.call("block", &block, x);
        let x = cx.functional("skip", Add::new(), &[x, y]);
        let x = cx.call("pool", &MaxPool2d::new(2), x);
        let x = cx.call("tail", &tail, x);
        let x = if self.bias {
            let x = cx.call("average", &average, x);
            cx.flatten(x)
        } else {
            cx.mean(x)
        };
        cx.call("fc", &Linear::new(12, 5).bias(self.bias), x)
    }
}

/// A file of expected values.
struct Goldens(Vec<u8>);

impl Goldens {
    fn read(name: &str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/torch_converted");
        Self(std::fs::read(format!("{folder}/{name}.safetensors")).unwrap())
    }

    fn bytes(&self, name: &str, dtype: Dtype) -> (Vec<usize>, Vec<u8>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), dtype, "{name}");
        (tensor.shape().to_vec(), tensor.data().to_vec())
    }

    fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, bytes) = self.bytes(name, Dtype::F32);
        let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
        (shape, bytes.chunks_exact(4).map(float).collect())
    }

    fn tensor(&self, name: &str) -> Tensor {
        let (shape, values) = self.floats(name);
        Tensor::new(shape, values).unwrap()
    }

    /// Returns the names of the tensors that begin with `prefix`, without it.
    fn names(&self, prefix: &str) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        file.names()
            .into_iter()
            .filter_map(|name| name.strip_prefix(prefix))
            .map(Into::into)
            .collect()
    }

    fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        for name in self.names("float.") {
            let tensor = self.tensor(&format!("float.{name}"));
            state.insert(name, StateTensor::Float(tensor));
        }
        state
    }

    /// Returns the batches for calibration.
    fn calibration(&self) -> Vec<Tensor> {
        let (shape, values) = self.floats("calibration");
        values
            .chunks_exact(shape[1..].iter().product())
            .map(|batch| Tensor::new(shape[1..].to_vec(), batch.to_vec()).unwrap())
            .collect()
    }
}

fn quantized(goldens: &Goldens, bias: bool, options: Options) -> QuantizedModel {
    let architecture = Architecture::trace(&Net { bias }).unwrap();
    let float = architecture.load(&goldens.state_dict()).unwrap().fuse().unwrap();
    let mut observed = float.prepare(&QConfigMapping::global(QConfig::fbgemm())).unwrap();
    observed.calibrate(options, goldens.calibration().into_iter().map(Ok)).unwrap();
    observed.convert().unwrap()
}

/// Returns the options for every instruction set of this CPU.
fn every_isa() -> Vec<Options> {
    let with = |isa| {
        let mut options = Options::new(1).unwrap();
        options.isa = isa;
        options
    };
    Isa::supported().into_iter().map(with).collect()
}

const NETWORKS: [(&str, bool); 2] = [("biased", true), ("unbiased", false)];

#[test]
fn scales_zero_points_and_weights_equal_pytorchs() {
    for (name, bias) in NETWORKS {
        let goldens = Goldens::read(name);
        for options in every_isa() {
            let model = quantized(&goldens, bias, options);
            let mut values = goldens.names("scale.");
            values.sort_unstable();
            let pooling = if bias { "average" } else { "mean" };
            let mut nodes =
                [pooling, "block.0", "block.3", "fc", "pool", "quant", "skip", "stem.0", "tail.0"];
            nodes.sort_unstable();
            assert_eq!(values, nodes);
            for value in values {
                let id = model.graph().find(&value).unwrap();
                let found = model.qparams(id).unwrap();
                let scale = goldens.floats(&format!("scale.{value}")).1[0];
                let zero_point = goldens.bytes(&format!("zero_point.{value}"), Dtype::U8).1[0];
                assert_eq!(found.scale.to_bits(), scale.to_bits(), "{name}: {value}");
                assert_eq!(found.zero_point, i32::from(zero_point), "{name}: {value}");
            }
            let layers = goldens.names("weight.");
            assert_eq!(layers.len(), 5);
            for layer in layers {
                let found = model.layer_named(&layer).unwrap();
                let (shape, weight) = goldens.bytes(&format!("weight.{layer}"), Dtype::I8);
                assert_eq!(found.shape, shape, "{name}: {layer}");
                assert!(found.weight.iter().map(|&q| q as u8).eq(weight), "{name}: {layer}");
                let scales = goldens.floats(&format!("weight_scale.{layer}")).1;
                let bits = found.qparams.channels().iter().map(|q| q.scale.to_bits());
                assert!(bits.eq(scales.iter().map(|scale| scale.to_bits())), "{name}: {layer}");
            }
        }
    }
}

/// Returns the integers of every int8 node, channels last.
fn outputs(goldens: &Goldens, model: &QuantizedModel, options: Options) -> Vec<(String, Vec<u8>)> {
    let mut outputs = Vec::new();
    let images = goldens.tensor("images");
    let mut engine = compile(model, options).unwrap();
    let logits = engine
        .run_observed(&images, &mut |id, values| {
            if let Some(qparams) = model.qparams(id) {
                // The values are dequantized; this gives the integers.
                let integer =
                    |value: &f32| (value / qparams.scale).round() as i32 + qparams.zero_point;
                let integers = values.iter().map(|value| u8::try_from(integer(value)).unwrap());
                outputs.push((model.graph().node(id).name.clone(), integers.collect()));
            }
            Ok(())
        })
        .unwrap();
    // A run that is not observed has fused blocks, which must give the same output.
    assert_eq!(engine.run(&images).unwrap(), logits);
    outputs
}

/// If PyTorch's biases are rounded as here, all values are equal. Otherwise few values differ, by
/// at most one.
#[test]
fn outputs_equal_pytorchs_except_for_the_rounding_of_biases() {
    let goldens = Goldens::read("biased");
    for options in every_isa() {
        let model = quantized(&goldens, true, options);
        let mut different = Vec::new();
        for (name, found) in outputs(&goldens, &model, options) {
            if name == "flatten" {
                continue;
            }
            let rounded = goldens.bytes(&format!("rounded.{name}"), Dtype::U8).1;
            assert!(found == rounded, "{name} on {}", options.isa.name());
            let output = goldens.bytes(&format!("output.{name}"), Dtype::U8).1;
            let levels = found.iter().zip(&output).map(|(a, b)| a.abs_diff(*b));
            assert!(levels.clone().all(|level| level <= 1), "{name}");
            different.push((name, levels.filter(|&level| level == 1).count(), found.len()));
        }
        let different: Vec<_> =
            different.iter().map(|(name, count, of)| (name.as_str(), *count, *of)).collect();
        assert_eq!(
            different,
            [
                ("quant", 0, 6144),
                ("stem.0", 0, 4096),
                ("block.0", 4, 4096),
                ("block.3", 9, 4096),
                ("skip", 7, 4096),
                ("pool", 1, 1024),
                ("tail.0", 1, 384),
                ("average", 0, 96),
                ("fc", 0, 40),
            ]
        );
    }
}

/// Without biases, all values are equal except for means that are halves, because PyTorch's `mean`
/// computes in f32 and rounds them either way.
#[test]
fn outputs_without_biases_equal_pytorchs_except_for_means_that_are_halves() {
    const CHANNELS: usize = 12;
    let goldens = Goldens::read("unbiased");
    let golden = |name: &str| goldens.bytes(&format!("output.{name}"), Dtype::U8).1;
    // For every mean of four pixels, whether it is a half.
    let halves: Vec<bool> = golden("tail.0")
        .chunks_exact(4 * CHANNELS)
        .flat_map(|pixels| {
            let sum = |channel| pixels.chunks_exact(CHANNELS).map(move |p| u32::from(p[channel]));
            (0..CHANNELS).map(move |channel| sum(channel).sum::<u32>() % 4 == 2)
        })
        .collect();
    for options in every_isa() {
        let model = quantized(&goldens, false, options);
        let outputs = outputs(&goldens, &model, options);
        let means = &outputs.iter().find(|(name, _)| name == "mean").unwrap().1;
        assert_eq!(means.len(), halves.len());
        for ((found, expected), half) in means.iter().zip(golden("mean")).zip(&halves) {
            assert!(found.abs_diff(expected) <= u8::from(*half), "{found}, {expected}, {half}");
        }
        let same_means: Vec<bool> = means
            .chunks_exact(CHANNELS)
            .zip(golden("mean").chunks_exact(CHANNELS))
            .map(|(found, expected)| found == expected)
            .collect();
        assert_eq!(same_means.iter().filter(|&&same| same).count(), 5);
        for (name, found) in &outputs {
            let expected = golden(name);
            match name.as_str() {
                "mean" => {}
                "fc" => {
                    let rows = found.chunks_exact(5).zip(expected.chunks_exact(5));
                    for ((found, expected), same) in rows.zip(&same_means) {
                        assert!(!same || found == expected, "{found:?}, {expected:?}");
                    }
                }
                _ => assert!(*found == expected, "{name} on {}", options.isa.name()),
            }
        }
    }
}
