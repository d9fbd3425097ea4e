//! Tests of the trainer: its records, its errors, and that a resumed run gives the same bits.

use std::collections::BTreeMap;
use std::fs;

use posterize::data::{Augmentation, ImageFolder, Loader, Preprocessing};
use posterize::nn::{Flatten, Sequential};
use posterize::ops::{Activation, BatchNorm, Conv2d, Linear, Padding};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::Options;
use posterize::training::{
    AdamOptions, Checkpoint, Distillation, EpochRecord, Freeze, Keep, LrFactor, Network,
    OptimizerBuffer, OptimizerOptions, Position, SgdOptions, StepRecord, TrainOptions,
    TrainedModel, Trainer, Watch,
};
use posterize::{Architecture, FloatModel};
use tempfile::TempDir;

/// Creates a folder with two classes of seven pictures of noise, one brighter than the other. One
/// of the files is not a picture.
fn pictures() -> (TempDir, ImageFolder) {
    pictures_of([("dark", 0), ("light", 90)])
}

fn pictures_of(classes: [(&str, u8); 2]) -> (TempDir, ImageFolder) {
    let root = tempfile::tempdir().unwrap();
    let mut state = 7u32;
    for (class, light) in classes {
        fs::create_dir(root.path().join(class)).unwrap();
        for number in 0..7 {
            let mut bytes = b"P6\n12 10\n255\n".to_vec();
            bytes.extend((0..360).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8 / 2 + light
            }));
            fs::write(root.path().join(format!("{class}/{number}.ppm")), bytes).unwrap();
        }
    }
    fs::write(root.path().join("dark/3.ppm"), "no picture").unwrap();
    let folder = ImageFolder::open(root.path(), None).unwrap();
    (root, folder)
}

fn model() -> FloatModel {
    let net = Sequential::new()
        .then(Conv2d::new(3, 8, 3).padding(Padding::all(1)).bias(false))
        .then(BatchNorm::two_d(8))
        .then(Activation::ReLU6)
        .then(Conv2d::new(8, 8, 3).padding(Padding::all(1)).groups(8).bias(false))
        .then(BatchNorm::two_d(8))
        .then(Activation::ReLU6)
        .then(Flatten)
        .then(Linear::new(8 * 8 * 8, 2));
    Architecture::trace(&net).unwrap().init(1)
}

fn settings() -> TrainOptions {
    TrainOptions {
        epochs: 4,
        batches: None,
        batch_size: 4,
        lr: 0.02,
        optimizer: SgdOptions { momentum: 0.9, ..SgdOptions::default() }.into(),
        freeze_observer: Freeze::After(2),
        freeze_bn: Freeze::After(1),
        ..TrainOptions::default()
    }
}

/// The same settings with another optimizer.
fn with(optimizer: OptimizerOptions) -> TrainOptions {
    TrainOptions { optimizer, lr: 1e-3, ..settings() }
}

/// The same settings without training of the first layers, and with a factor of the learning rate.
fn frozen() -> TrainOptions {
    let lr_factors = vec![LrFactor { modules: "7".parse().unwrap(), factor: 0.5 }];
    TrainOptions { frozen: vec!["[01]".parse().unwrap()], lr_factors, ..settings() }
}

/// The same settings with distillation.
fn distilled() -> TrainOptions {
    let distillation = Some(Distillation { alpha: 0.6, temperature: 2.0 });
    TrainOptions { distillation, ..settings() }
}

/// The same settings with batch norms that are re-estimated for validation and the result.
fn reestimated(keep: Keep) -> TrainOptions {
    TrainOptions { reestimate_bn: Some(2), keep, ..settings() }
}

fn trainer(folder: &ImageFolder, qat: bool, options: TrainOptions, threads: usize) -> Trainer {
    trainer_on([folder, folder], qat, options, threads)
}

fn trainer_on(
    [train, val]: [&ImageFolder; 2],
    qat: bool,
    options: TrainOptions,
    threads: usize,
) -> Trainer {
    let executor = Options::new(threads).unwrap();
    let network = if qat {
        let mapping = QConfigMapping::global(QConfig::recommended_qat());
        Network::qat(model().prepare_qat(&mapping).unwrap(), executor).unwrap()
    } else {
        Network::float(&model(), executor).unwrap()
    };
    let small = Preprocessing::imagenet().with_sizes(10, 8);
    let train = Loader::new(train, Augmentation::new(&small, 5)).threads(threads);
    let val = Loader::new(val, small).batch_size(3).threads(threads);
    Trainer::new(network, &train, &val, options, executor).unwrap()
}

/// Keeps all checkpoints and records.
#[derive(Default)]
struct Recorder {
    checkpoints: Vec<Checkpoint>,
    steps: Vec<StepRecord>,
    epochs: Vec<(EpochRecord, bool)>,
    skipped: usize,
    /// For each epoch, whether the model was int8.
    int8: Vec<bool>,
}

impl Watch for Recorder {
    fn step(&mut self, step: &StepRecord) {
        self.steps.push(*step);
    }

    fn skipped(&mut self, picture: &posterize::data::Skipped) {
        assert!(picture.path.ends_with("dark/3.ppm"));
        self.skipped += 1;
    }

    fn epoch(
        &mut self,
        epoch: &EpochRecord,
        model: &TrainedModel,
        kept: bool,
    ) -> posterize::Result<()> {
        self.epochs.push((epoch.clone(), kept));
        self.int8.push(matches!(model, TrainedModel::Int8(_)));
        Ok(())
    }

    fn wants_checkpoint(&mut self, _: &Position, _: bool) -> bool {
        true
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> posterize::Result<()> {
        self.checkpoints.push(checkpoint.clone());
        Ok(())
    }
}

/// Returns the records with all times set to zero, to compare them.
fn without_times(epochs: &[EpochRecord]) -> Vec<EpochRecord> {
    let reset = |e: &EpochRecord| EpochRecord { train_seconds: 0.0, val_seconds: 0.0, ..e.clone() };
    epochs.iter().map(reset).collect()
}

#[test]
fn steps_and_epochs_are_recorded_and_freezing_follows_the_options() {
    let (_root, folder) = pictures();
    for qat in [false, true] {
        let mut trainer = trainer(&folder, qat, settings(), 2);
        assert_eq!(trainer.steps_per_epoch(), 4);
        let mut seen = Recorder::default();
        let outcome = trainer.run(&mut seen).unwrap();
        assert_eq!(seen.skipped, 4, "once in each epoch");
        assert!(seen.int8.iter().all(|&int8| int8 == qat));
        let steps: Vec<_> = seen.steps.iter().map(|s| (s.step, s.epoch, s.batch)).collect();
        assert_eq!(steps[..5], [(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 0)]);
        assert_eq!(seen.steps.len(), 16);
        for (number, (epoch, _)) in seen.epochs.iter().enumerate() {
            assert_eq!((epoch.epoch, epoch.steps), (number, 4 * (number + 1)));
            assert_eq!((epoch.train_images, epoch.val_images), (13, 13));
            assert_eq!(epoch.bn_stats_frozen, number >= 1);
            assert_eq!(epoch.observers_frozen, qat && number >= 2);
            let last = &seen.steps[4 * number + 3];
            assert_eq!((epoch.train_loss, epoch.train_top1), (last.epoch_loss, last.epoch_top1));
        }
        let best = seen.epochs.iter().rfind(|(_, kept)| *kept).unwrap();
        assert_eq!(outcome.best, best.0);
        assert_eq!(outcome.last, seen.epochs[3].0);
        assert!(outcome.best.val_top1 > 90.0, "brightness is easy to learn: {outcome:?}");
        assert_eq!(seen.checkpoints.len(), 20, "after every step and every epoch");
    }
}

#[test]
fn a_run_resumed_at_any_step_gives_the_same_bits_with_any_number_of_threads() {
    let (_root, folder) = pictures();
    for (qat, settings) in [
        (false, settings()),
        (true, settings()),
        (true, distilled()),
        (false, with(OptimizerOptions::Adam(AdamOptions::default()))),
        (true, with(OptimizerOptions::AdamW(AdamOptions::adamw()))),
        (false, frozen()),
        (true, frozen()),
        (true, reestimated(Keep::Best)),
        (false, reestimated(Keep::Last)),
    ] {
        let mut whole = trainer(&folder, qat, settings.clone(), 1);
        let mut seen = Recorder::default();
        let outcome = whole.run(&mut seen).unwrap();
        for checkpoint in &seen.checkpoints {
            let bytes = checkpoint.to_bytes().unwrap();
            let read = Checkpoint::from_bytes("run.checkpoint", &bytes).unwrap();
            assert_eq!(read, *checkpoint);
            let mut resumed = trainer(&folder, qat, settings.clone(), 3);
            resumed.resume(read).unwrap();
            let again = resumed.run(&mut ()).unwrap();
            let at = checkpoint.position;
            assert_eq!(resumed.network().state(), whole.network().state(), "{at:?}");
            assert_eq!(resumed.checkpoint().optimizer, whole.checkpoint().optimizer, "{at:?}");
            assert_eq!(resumed.history().losses, whole.history().losses);
            let epochs = |trainer: &Trainer| without_times(&trainer.history().epochs);
            assert_eq!(epochs(&resumed), epochs(&whole));
            assert_eq!(again.kept_epoch().epoch, outcome.kept_epoch().epoch);
        }
    }
}

#[test]
fn the_teacher_is_the_network_before_training() {
    let (_root, folder) = pictures();
    // In float with frozen batch norms, the student's outputs equal the teacher's from the start,
    // so the loss is zero for any labels.
    let alone = TrainOptions {
        distillation: Some(Distillation::default()),
        freeze_bn: Freeze::Start,
        ..settings()
    };
    let mut student = trainer(&folder, false, alone.clone(), 2);
    let mut seen = Recorder::default();
    student.run(&mut seen).unwrap();
    assert!(seen.steps.iter().all(|step| step.loss < 1e-6 && step.grad_norm < 1e-3));
    // Fake quantization changes the outputs, so the loss is not zero.
    let mut rounded = trainer(&folder, true, alone.clone(), 2);
    rounded.run(&mut ()).unwrap();
    let losses = &rounded.history().losses;
    assert!(losses.iter().any(|&loss| loss > 1e-4), "{losses:?}");
    // A run with another teacher cannot be resumed.
    let mut seen = Recorder::default();
    trainer(&folder, true, distilled(), 1).run(&mut seen).unwrap();
    let mut other = trainer(&folder, true, settings(), 1);
    let error = other.resume(seen.checkpoints[2].clone()).unwrap_err().to_string();
    assert!(error.contains("distillation is none, was Distillation"), "{error}");
    let mut checkpoint = seen.checkpoints[2].clone();
    let setting = checkpoint.settings.get_mut("distillation").unwrap();
    let (_, weights) = setting.split_once(" from ").unwrap();
    *setting = setting.replace(weights, "0123456789abcdef");
    let error = trainer(&folder, true, distilled(), 1).resume(checkpoint).unwrap_err().to_string();
    assert!(error.contains("from 0123456789abcdef; resume it"), "{error}");
}

#[test]
fn batch_norms_frozen_from_the_start_keep_their_statistics() {
    let (_root, folder) = pictures();
    let running = |freeze_bn| {
        let mut trainer = trainer(&folder, true, TrainOptions { freeze_bn, ..settings() }, 1);
        let mut seen = Recorder::default();
        trainer.run(&mut seen).unwrap();
        let frozen: Vec<bool> = seen.epochs.iter().map(|(e, _)| e.bn_stats_frozen).collect();
        let state = trainer.network().state();
        (state.tensors["1.running_var"].data().to_vec(), frozen)
    };
    let (still, frozen) = running(Freeze::Start);
    assert_eq!((still, frozen), (vec![1.0; 8], vec![true; 4]));
    let (moved, frozen) = running(Freeze::Never);
    assert!(moved.iter().all(|&var| var != 1.0) && frozen == [false; 4]);
    // Without observed data there are no scales to convert with.
    let mut trainer =
        trainer(&folder, true, TrainOptions { freeze_observer: Freeze::Start, ..settings() }, 1);
    let error = trainer.run(&mut ()).unwrap_err().to_string();
    assert!(error.contains("saw no data"), "{error}");
}

#[test]
fn re_estimated_statistics_are_those_of_the_result_and_not_of_the_training() {
    let (_root, folder) = pictures();
    let options = |reestimate_bn| TrainOptions { reestimate_bn, keep: Keep::Last, ..settings() };
    let run = |options| {
        let mut trainer = trainer(&folder, true, options, 1);
        trainer.run(&mut ()).unwrap();
        trainer
    };
    let (with, without) = (run(options(Some(3))), run(options(None)));
    assert_eq!(with.history().losses, without.history().losses);
    let losses = |trainer: &Trainer| -> Vec<f64> {
        trainer.history().epochs.iter().map(|epoch| epoch.val_loss).collect()
    };
    assert_ne!(losses(&with), losses(&without));
    let [with, without] = [with, without].map(|trainer| trainer.network().state().tensors);
    for (name, tensor) in &with {
        assert_eq!(name.contains("running_"), *tensor != without[name], "{name}");
    }
}

#[test]
fn frozen_modules_stay_as_they_are_and_the_others_are_trained() {
    let (_root, folder) = pictures();
    for qat in [false, true] {
        let mut trainer = trainer(&folder, qat, frozen(), 2);
        assert_eq!(trainer.trained_values(), 8 * 9 + 2 * 8 + 8 * 8 * 8 * 2 + 2);
        let before = trainer.network().state().tensors;
        let outcome = trainer.run(&mut ()).unwrap();
        assert!(outcome.best.val_top1 > 90.0, "{outcome:?}");
        let after = trainer.network().state().tensors;
        for (name, tensor) in &before {
            let is_frozen = name.starts_with("0.") || name.starts_with("1.");
            assert_eq!(after[name] == *tensor, is_frozen, "{name}");
        }
        let checkpoint = trainer.checkpoint();
        let momentum = &checkpoint.optimizer.buffers[&OptimizerBuffer::Momentum];
        assert!(momentum.keys().all(|name| !name.starts_with("0.")), "{:?}", momentum.keys());
        assert_eq!(checkpoint.settings["frozen modules"], "[01]");
        assert_eq!(checkpoint.settings["learning rate factors"], "7=0.5");
        let mut other = self::trainer(&folder, qat, settings(), 1);
        let error = other.resume(checkpoint).unwrap_err().to_string();
        assert!(error.contains("frozen modules is none, was [01]"), "{error}");
    }
}

#[test]
fn of_several_factors_of_a_module_the_last_is_used() {
    let (_root, folder) = pictures();
    let trained = |factors: &[(&str, f64)]| {
        let lr_factors = factors
            .iter()
            .map(|&(glob, factor)| LrFactor { modules: glob.parse().unwrap(), factor });
        let options = TrainOptions { lr_factors: lr_factors.collect(), epochs: 1, ..settings() };
        let mut trainer = trainer(&folder, false, options, 2);
        trainer.run(&mut ()).unwrap();
        trainer.network().state()
    };
    assert_eq!(trained(&[("*", 0.5)]), trained(&[("7", 2.0), ("*", 0.5)]));
    assert_ne!(trained(&[("*", 0.5)]), trained(&[("*", 0.5), ("7", 2.0)]));
}

#[test]
fn the_best_or_the_last_epoch_is_kept() {
    let (_root, folder) = pictures();
    // With swapped classes, the accuracy falls while the network learns.
    let (_swapped_root, swapped) = pictures_of([("dark", 90), ("light", 0)]);
    let trainer = |keep| {
        let options = TrainOptions { keep, ..settings() };
        trainer_on([&folder, &swapped], false, options, 1)
    };
    let mut last = trainer(Keep::Last);
    let outcome = last.run(&mut ()).unwrap();
    assert!(outcome.best.epoch < outcome.last.epoch && outcome.last.epoch == 3, "{outcome:?}");
    assert!(outcome.best.beats(&outcome.last));
    assert_eq!(outcome.kept_epoch(), &outcome.last);
    let mut best = trainer(Keep::Best);
    let mut seen = Recorder::default();
    let outcome = best.run(&mut seen).unwrap();
    let states = seen.checkpoints.iter().filter(|c| c.position.batch == 0);
    let at_best = states.into_iter().nth(outcome.best.epoch).unwrap();
    assert_eq!(best.network().state(), at_best.network);
    assert_ne!(best.network().state(), last.network().state());
}

/// Stops a run after a number of calls of [`Watch::wants_stop`].
struct Stopping {
    calls: usize,
    saved: Vec<Checkpoint>,
}

impl Watch for Stopping {
    fn wants_stop(&mut self) -> bool {
        self.calls = self.calls.saturating_sub(1);
        self.calls == 0
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> posterize::Result<()> {
        self.saved.push(checkpoint.clone());
        Ok(())
    }
}

#[test]
fn a_run_stopped_in_training_or_validation_gives_the_same_bits() {
    let (_root, folder) = pictures();
    for settings in [settings(), reestimated(Keep::Last)] {
        stopped_runs_give_the_same_bits(&folder, &settings);
    }
}

fn stopped_runs_give_the_same_bits(folder: &ImageFolder, settings: &TrainOptions) {
    let mut whole = trainer(folder, true, settings.clone(), 2);
    whole.run(&mut ()).unwrap();
    // An epoch has four steps and five batches of validation.
    for (calls, epoch, batch) in [(1, 0, 1), (4, 0, 4), (5, 0, 4), (9, 0, 4), (10, 1, 1)] {
        let mut watch = Stopping { calls, saved: Vec::new() };
        let error = trainer(folder, true, settings.clone(), 2).run(&mut watch).unwrap_err();
        assert_eq!(error.kind(), posterize::ErrorKind::Interrupted);
        assert!(error.to_string().contains(&format!("in epoch {epoch}, after {batch} of its")));
        let [checkpoint] = watch.saved.as_slice() else { panic!("{:?}", watch.saved.len()) };
        assert_eq!((checkpoint.position.epoch, checkpoint.position.batch), (epoch, batch));
        let mut resumed = trainer(folder, true, settings.clone(), 1);
        resumed.resume(checkpoint.clone()).unwrap();
        resumed.run(&mut ()).unwrap();
        assert_eq!(resumed.network().state(), whole.network().state(), "{calls}");
        let epochs = |trainer: &Trainer| without_times(&trainer.history().epochs);
        assert_eq!(epochs(&resumed), epochs(&whole));
    }
}

/// Returns the momentum of a checkpoint's optimizer.
fn momentum(checkpoint: &mut Checkpoint) -> &mut BTreeMap<String, Vec<f32>> {
    checkpoint.optimizer.buffers.get_mut(&OptimizerBuffer::Momentum).unwrap()
}

#[test]
fn inconsistent_checkpoints_are_errors() {
    let (_root, folder) = pictures();
    let mut seen = Recorder::default();
    trainer(&folder, true, settings(), 1).run(&mut seen).unwrap();
    let good = &seen.checkpoints[6];
    assert_eq!((good.position.epoch, good.position.batch), (1, 2));
    let refused = |change: &dyn Fn(&mut Checkpoint)| {
        let mut checkpoint = good.clone();
        change(&mut checkpoint);
        trainer(&folder, true, settings(), 1).resume(checkpoint).unwrap_err().to_string()
    };
    for (change, says) in [
        (
            &(|c: &mut Checkpoint| c.position.epoch = 2) as &dyn Fn(&mut Checkpoint),
            "the records of 2 epochs",
        ),
        (&|c| c.position.batch = 99, "at batch 99 of"),
        (&|c| c.position.step = 3, "expected 3 losses"),
        (&|c| c.best = None, "no best network after 1 epochs"),
        (&|c| c.optimizer.buffers.clear(), "momentum buffers, found 0"),
        (&|c| momentum(c).values_mut().next().unwrap().push(0.0), "momentum buffer of 0.weight"),
        (
            &|c| {
                let momentum = c.optimizer.buffers.remove(&OptimizerBuffer::Momentum).unwrap();
                c.optimizer.buffers.insert(OptimizerBuffer::ExpAvg, momentum);
            },
            "momentum buffers, found 0",
        ),
        (&|c| c.optimizer.step = 3, "steps of the optimizer, found 3"),
        (&|c| drop(c.network.tensors.pop_first()), "0.weight: the saved state has no such tensor"),
        (&|c| c.network.values.quantization = None, "float training"),
        (
            &|c| drop(c.settings.insert("seed".into(), "9".into())),
            "seed is 0, was 9; resume it with the same",
        ),
    ] {
        let error = refused(change);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn files_that_are_not_a_training_run_are_errors() {
    let (_root, folder) = pictures();
    let bytes = trainer(&folder, true, settings(), 1).checkpoint().to_bytes().unwrap();
    let refused = |bytes: &[u8]| {
        let error = Checkpoint::from_bytes("a/run.checkpoint", bytes).unwrap_err().to_string();
        assert!(error.starts_with("a/run.checkpoint: "), "{error}");
        error
    };
    assert!(Checkpoint::from_bytes("run", &bytes).is_ok());
    // Truncated files.
    for length in (0..bytes.len()).step_by(97).chain([1, 8, 9, bytes.len() - 1]) {
        refused(&bytes[..length]);
    }
    // Altered files. The digest covers every name and value.
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for index in (header..bytes.len()).step_by(61) {
        let mut altered = bytes.clone();
        altered[index] ^= 0x10;
        assert!(refused(&altered).contains("altered or damaged"));
    }
    let saved = {
        let mapping = QConfigMapping::global(QConfig::recommended());
        let mut observed = model().fuse().unwrap().prepare(&mapping).unwrap();
        let values = (0..192).map(|i| i as f32 / 100.0).collect();
        observed.forward(&posterize::Tensor::new([1, 3, 8, 8], values).unwrap()).unwrap();
        posterize::format::SavedModel::new(observed.convert().unwrap()).to_bytes().unwrap()
    };
    assert!(refused(&saved).contains("not a training run saved by posterize"));
    let error = posterize::format::SavedModel::from_bytes("run", &bytes).unwrap_err().to_string();
    assert!(error.contains("not a model saved by posterize"), "{error}");
}

#[test]
fn a_folder_without_readable_pictures_and_invalid_options_are_errors() {
    let (root, _) = pictures();
    for class in ["dark", "light"] {
        for number in 0..7 {
            fs::write(root.path().join(format!("{class}/{number}.ppm")), "no picture").unwrap();
        }
    }
    let folder = ImageFolder::open(root.path(), None).unwrap();
    let error = trainer(&folder, false, settings(), 1).run(&mut ()).unwrap_err().to_string();
    assert!(error.contains("epoch 0: none of the 14 training pictures"), "{error}");
    let executor = Options::new(1).unwrap();
    let loader = Loader::new(&folder, Preprocessing::imagenet());
    for (options, says) in [
        (TrainOptions { epochs: 0, ..settings() }, "epochs must be at least 1, found 0"),
        (TrainOptions { batches: Some(0), ..settings() }, "batches must be at least 1, found 0"),
        (TrainOptions { batch_size: 0, ..settings() }, "batch_size must be at least 1, found 0"),
        (TrainOptions { lr: -1.0, ..settings() }, "learning rate must be greater than 0, found -1"),
        (
            TrainOptions { frozen: vec!["features.*".parse().unwrap()], ..settings() },
            "module glob features.* matches no module with parameters; the outermost modules with \
             parameters are 0, 1, 3, 4, 7",
        ),
        (
            TrainOptions {
                frozen: vec!["[0-3]".parse().unwrap(), "*".parse().unwrap()],
                ..settings()
            },
            "module glob * freezes all parameters that are left",
        ),
        (
            TrainOptions {
                lr_factors: vec![LrFactor { modules: "7".parse().unwrap(), factor: 0.0 }],
                ..settings()
            },
            "learning rate factor of 7 must be greater than 0, found 0",
        ),
        (TrainOptions { clip: Some(-1.0), ..settings() }, "must be greater than 0, found -1"),
        (
            TrainOptions {
                distillation: Some(Distillation { alpha: 2.0, temperature: 1.0 }),
                ..settings()
            },
            "alpha of the distillation must be from 0 to 1, found 2",
        ),
    ] {
        let network = Network::float(&model(), executor).unwrap();
        let error = Trainer::new(network, &loader, &loader, options, executor).err().unwrap();
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// Runs are resumed by these texts, so checkpoints of earlier versions can be resumed only while they
/// stay as they are.
#[test]
fn the_texts_of_settings_in_checkpoints_do_not_change() {
    let (_root, folder) = pictures();
    let settings = trainer(&folder, true, distilled(), 1).checkpoint().settings;
    let text = |name: &str| settings[name].as_str();
    assert_eq!(text("schedule"), "Constant");
    assert_eq!(
        text("optimiser"),
        "SgdOptions { momentum: 0.9, weight_decay: 0.0, decay: All, nesterov: false }"
    );
    let adam = trainer(&folder, false, with(OptimizerOptions::Adam(AdamOptions::default())), 1);
    assert_eq!(
        adam.checkpoint().settings["optimiser"],
        "Adam(AdamOptions { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, decay: All })"
    );
    assert_eq!(
        text("augmentation"),
        "Augment(Augmentation { crop: 8, scale: [0.08, 1.0], ratio: [0.75, 1.3333333333333333], \
         flip: 0.5, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], seed: 5 })"
    );
    assert_eq!(
        text("preprocessing"),
        "Evaluate(Preprocessing { resize: 10, crop: 8, mean: [0.485, 0.456, 0.406], std: [0.229, \
         0.224, 0.225] })"
    );
    assert!(
        text("distillation").starts_with("Distillation { alpha: 0.6, temperature: 2.0 } from ")
    );
    let observer = |kind: &str, dtype: &str, qscheme: &str, range: &str| {
        format!(
            "ObserverSpec {{ kind: {kind}, dtype: {dtype}, qscheme: {qscheme}, reduce_range: false, \
             quant_range: {range}, eps: 1.1920929e-7, averaging_constant: 0.01, bins: 2048, \
             ch_axis: 0 }}"
        )
    };
    let activation = observer("MovingAverageMinMax", "Quint8", "PerTensorAffine", "None");
    let kind = "MovingAveragePerChannelMinMax";
    let weight = observer(kind, "Qint8", "PerChannelSymmetric", "Some((-127, 127))");
    assert_eq!(
        text("qconfig"),
        format!(
            "QConfigMapping {{ global: Some(QConfig {{ activation: {activation}, weight: {weight} \
             }}), object_types: [], module_globs: [], module_names: [] }}"
        )
    );
}
