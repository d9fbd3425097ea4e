//! Tests that training runs resumed from checkpoints of format version 1 give the same bits
//! (`testdata/format_v1`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use posterize::Architecture;
use posterize::data::{Augmentation, ImageFolder, Loader, Preprocessing};
use posterize::nn::{Flatten, Module, Sequential, Tracer, Value};
use posterize::ops::{Activation, Add, BatchNorm, Conv2d, Dropout, Linear, Padding};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::{Isa, Options};
use posterize::training::{Checkpoint, Freeze, Network, SgdOptions, TrainOptions, Trainer};

/// The bits of the losses and of some tensors at the end of a run, for each instruction set.
type Ends = BTreeMap<String, BTreeMap<String, Vec<u32>>>;

fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../testdata/format_v1", file].iter().collect()
}

/// The network of the runs. Its initial weights do not matter, because a checkpoint has all of
/// them.
struct Trained;

impl Module for Trained {
    fn kind(&self) -> &'static str {
        "Trained"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let conv = |inputs, kernel: usize| {
            Conv2d::new(inputs, 8, kernel).padding(Padding::all(kernel / 2))
        };
        let stem = Sequential::new()
            .then(conv(3, 3).bias(false))
            .then(BatchNorm::two_d(8))
            .then(Activation::ReLU6)
            .then(conv(8, 3).groups(8).bias(false))
            .then(BatchNorm::two_d(8));
        let head =
            Sequential::new().then(Flatten).then(Dropout::new(0.1)).then(Linear::new(512, 2));
        let x = cx.call("stem", &stem, x);
        let y = cx.call("skip", &conv(8, 1), x);
        let x = cx.functional("add", Add::new(), &[x, y]);
        let x = cx.activation(Activation::ReLU, x);
        cx.call("head", &head, x)
    }
}

/// The pictures of the runs: two classes of seven pictures of noise, one brighter than the other.
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

fn trainer(folder: &ImageFolder, qat: bool, isa: Isa, threads: usize) -> Trainer {
    let mut executor = Options::new(threads).unwrap();
    executor.isa = isa;
    let model = Architecture::trace(&Trained).unwrap().init(1);
    let network = if qat {
        let mapping = QConfigMapping::global(QConfig::recommended_qat())
            .set_module_name("skip", QConfig::default_qat());
        Network::qat(model.prepare_qat(&mapping).unwrap(), executor).unwrap()
    } else {
        Network::float(&model, executor).unwrap()
    };
    let small = Preprocessing::imagenet().with_sizes(10, 8);
    let train = Loader::new(folder, Augmentation::new(&small, 5)).threads(1);
    let val = Loader::new(folder, small).batch_size(3).threads(1);
    let options = TrainOptions {
        epochs: 3,
        batches: None,
        batch_size: 4,
        lr: 0.02,
        optimizer: SgdOptions { momentum: 0.9, ..SgdOptions::default() }.into(),
        freeze_observer: Freeze::After(1),
        freeze_bn: Freeze::After(0),
        ..TrainOptions::default()
    };
    Trainer::new(network, &train, &val, options, executor).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn resumed_runs_give_the_same_bits() {
    let ends: BTreeMap<String, Ends> =
        serde_json::from_slice(&fs::read(path("expected_training.json")).unwrap()).unwrap();
    let root = tempfile::tempdir().unwrap();
    let pictures = pictures(root.path());
    for (name, qat) in [("training_float", false), ("training_qat", true)] {
        let checkpoint = Checkpoint::open(path(&format!("{name}.safetensors"))).unwrap();
        let position = checkpoint.position;
        assert_eq!((position.epoch, position.batch, position.step), (1, 2, 6), "{name}");
        let mut checked = 0;
        for isa in Isa::supported() {
            let Some(end) = ends[name].get(isa.name()) else { continue };
            for threads in [1, 2] {
                let mut trainer = trainer(&pictures, qat, isa, threads);
                trainer.resume(checkpoint.clone()).unwrap();
                trainer.run(&mut ()).unwrap();
                let state = trainer.checkpoint().network;
                for (tensor, expected) in end {
                    let found = match tensor.as_str() {
                        "losses" => &trainer.history().losses[..],
                        tensor => state.tensors[tensor].data(),
                    };
                    assert_eq!(bits(found), *expected, "{name} on {}: {tensor}", isa.name());
                }
            }
            checked += 1;
        }
        assert!(checked > 0, "{name}: no expected values for an instruction set of this CPU");
    }
}
