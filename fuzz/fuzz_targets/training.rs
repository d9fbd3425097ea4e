//! Reads arbitrary bytes as the checkpoint of a training run, and resumes the run. The result must be an
//! error, or a run that goes on to its end or to an error, and whose checkpoint is the same after saving
//! and reading it again.
#![no_main]

mod mutate;

use std::{fs, sync::OnceLock};

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use posterize::data::{ImageFolder, Loader, Preprocessing};
use posterize::nn::{Flatten, Sequential};
use posterize::ops::{Activation, BatchNorm, Conv2d, Dropout, Linear};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::Options;
use posterize::training::{
    Checkpoint, Freeze, Network, Position, SgdOptions, TrainOptions, Trainer, Watch,
};
use posterize::{Architecture, Result};
use tempfile::TempDir;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    // Nothing can be changed into a checkpoint at random.
    let start = &starts()[seed as usize % 2];
    if size < 100 && start.len() <= max_size {
        data[..start.len()].copy_from_slice(start);
        return start.len();
    }
    mutate::mutate(data, size, max_size, seed)
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(checkpoint) = Checkpoint::from_bytes("fuzz", bytes) else { return };
    let saved = checkpoint.to_bytes().unwrap();
    assert_eq!(Checkpoint::from_bytes("fuzz", &saved).unwrap().to_bytes().unwrap(), saved);
    for qat in [false, true] {
        let mut trainer = trainer(qat);
        if trainer.resume(checkpoint.clone()).is_ok() {
            let saved = trainer.checkpoint().to_bytes().unwrap();
            assert_eq!(Checkpoint::from_bytes("fuzz", &saved).unwrap().to_bytes().unwrap(), saved);
            let _ = trainer.run(&mut ());
        }
    }
});

/// Returns the run whose checkpoints are read: a small network and six pictures of noise.
fn trainer(qat: bool) -> Trainer {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..6u8 {
            let class = folder.path().join(["dark", "light"][usize::from(number % 2)]);
            fs::create_dir_all(&class).unwrap();
            let mut picture = b"P6\n8 8\n255\n".to_vec();
            picture
                .extend((0..192u8).map(|place| place.wrapping_mul(37) ^ number.wrapping_mul(91)));
            fs::write(class.join(format!("{number}.ppm")), picture).unwrap();
        }
        folder
    });
    let options = Options::new(1).unwrap();
    let net = Sequential::new()
        .then(Conv2d::new(3, 4, 3).bias(false))
        .then(BatchNorm::two_d(4))
        .then(Activation::ReLU6)
        .then(Flatten)
        .then(Dropout::new(0.1))
        .then(Linear::new(64, 2));
    let model = Architecture::trace(&net).unwrap().init(1);
    let network = if qat {
        let mapping = QConfigMapping::global(QConfig::recommended_qat());
        Network::qat(model.prepare_qat(&mapping).unwrap(), options).unwrap()
    } else {
        Network::float(&model, options).unwrap()
    };
    let pictures = ImageFolder::open(folder.path(), None).unwrap();
    let small = Preprocessing { resize: 6, crop: 6, ..Preprocessing::imagenet() };
    let train = Loader::new(&pictures, small.clone()).threads(1);
    let val = Loader::new(&pictures, small).batch_size(3).threads(1);
    let run = TrainOptions {
        epochs: 2,
        batches: None,
        batch_size: 2,
        lr: 0.02,
        optimizer: SgdOptions { momentum: 0.9, ..SgdOptions::default() }.into(),
        freeze_observer: Freeze::After(0),
        freeze_bn: Freeze::After(0),
        ..TrainOptions::default()
    };
    Trainer::new(network, &train, &val, run, options).unwrap()
}

/// Returns the checkpoints of a float and of a quantization-aware run, in the middle of the second epoch.
fn starts() -> &'static [Vec<u8>; 2] {
    static STARTS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    STARTS.get_or_init(|| {
        [false, true].map(|qat| {
            let mut trainer = trainer(qat);
            let mut fourth = AfterStep(4, None);
            trainer.run(&mut fourth).unwrap();
            fourth.1.expect("the run has that step").to_bytes().unwrap()
        })
    })
}

/// Keeps the checkpoint after a number of steps.
struct AfterStep(usize, Option<Checkpoint>);

impl Watch for AfterStep {
    fn wants_checkpoint(&mut self, position: &Position, _epoch_ended: bool) -> bool {
        position.step == self.0
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.1 = Some(checkpoint.clone());
        Ok(())
    }
}
