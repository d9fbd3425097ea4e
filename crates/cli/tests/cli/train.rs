//! Tests of `posterize train`: the files it writes, its errors, and resuming a killed run.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use posterize::{
    StateDict,
    format::SavedModel,
    models::{Config, mobilenet_v2},
    training::{Checkpoint, OptimizerBuffer},
};
use serde_json::Value;

use crate::{
    fixture::{Fixture, config},
    support::{fails, fails_with_usage_error, posterize, run, succeeds},
};

impl Fixture {
    /// Returns `posterize train` on the pictures, with two epochs of three batches unless `options`
    /// has other values.
    fn train(&self, output: &str, options: &[&str]) -> Command {
        let mut command = self.command("train");
        command.arg("--data").arg(self.data()).arg("--val").arg(self.data());
        let defaults = [
            ["--epochs", "2"],
            ["--batches", "3"],
            ["--batch-size", "4"],
            ["--lr", "0.01"],
            ["--checkpoint-every", "60s"],
        ];
        command.args(defaults.iter().filter(|[name, _]| !options.contains(name)).flatten());
        command.arg("-o").arg(self.path(output)).args(options);
        command
    }

    fn weights(&self) -> String {
        self.path("small.safetensors").display().to_string()
    }
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeeds(command.arg("--json"))).unwrap()
}

#[test]
fn float_training_writes_weights_logs_curves_and_a_checkpoint() {
    let fixture = Fixture::new();
    let options = ["--momentum", "0.9", "--nesterov", "--weight-decay", "1e-4", "--clip", "5"];
    let mut command = fixture.train("out.safetensors", &options);
    let report = json(command.args(["--schedule", "cosine", "--warmup", "2", "--seed", "3"]));
    let epochs = report["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 2);
    assert_eq!((&epochs[1]["epoch"], &epochs[1]["steps"]), (&1.into(), &6.into()));
    assert_eq!((&epochs[0]["train_images"], &epochs[0]["val_images"]), (&12.into(), &12.into()));
    assert_eq!(report["last_top1"], epochs[1]["val_top1"]);
    let best = epochs.iter().map(|epoch| epoch["val_top1"].as_f64().unwrap()).fold(0.0, f64::max);
    assert_eq!(report["best_top1"].as_f64().unwrap(), best);

    // The accuracy of the written weights is the reported one.
    let weights = StateDict::open(fixture.path("out.safetensors")).unwrap();
    assert_eq!(weights.len(), fixture.model.state_dict().len());
    let mut evaluate = fixture.command("evaluate");
    evaluate
        .arg("--weights")
        .arg(fixture.path("out.safetensors"))
        .arg("--data")
        .arg(fixture.data());
    assert_eq!(json(&mut evaluate)["top1"].as_f64().unwrap(), best);

    let log = fs::read_to_string(fixture.path("out.csv")).unwrap();
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((lines.len(), lines[0][0], lines[2][0]), (3, "epoch", "1"));
    assert!(lines.iter().all(|line| line.len() == lines[0].len()));
    let steps = fs::read_to_string(fixture.path("out.steps.csv")).unwrap();
    let rates: Vec<f64> =
        steps.lines().skip(1).map(|l| l.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(rates.len(), 6);
    assert!(steps.starts_with("step,lr,loss,grad_norm\n"));
    assert!(rates[0] < rates[1] && rates[1] < rates[2] && rates[2] == 0.01 && rates[5] < rates[3]);
    let page = fs::read_to_string(fixture.path("out.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.matches("<polyline").count() == 5);
    assert!(!page.contains("http") && !page.contains("src="));
    let checkpoint = Checkpoint::open(fixture.path("out.checkpoint")).unwrap();
    assert_eq!((checkpoint.position.epoch, checkpoint.position.step), (2, 6));
    let running = |name: &&String| name.ends_with("running_mean") || name.ends_with("running_var");
    let trained = checkpoint.network.tensors.keys().filter(|name| !running(name)).count();
    let buffers = checkpoint.optimizer.buffers;
    assert_eq!(buffers[&OptimizerBuffer::Momentum].len(), trained);
}

#[test]
fn qat_writes_the_int8_model_and_its_float_weights() {
    let fixture = Fixture::new();
    let weights = fixture.weights();
    let float = fixture.path("float.safetensors").display().to_string();
    let options = ["--weights", &weights, "--qat", "--float-output", &float];
    let mut command = fixture.train("int8.safetensors", &options);
    let report = json(command.args(["--freeze-observer-after", "1", "--freeze-bn-after", "0"]));
    let epochs = report["epochs"].as_array().unwrap();
    let frozen = |name: &str| -> Vec<bool> {
        epochs.iter().map(|epoch| epoch[name].as_bool().unwrap()).collect()
    };
    assert_eq!(frozen("observers_frozen"), [false, true]);
    assert_eq!(frozen("bn_stats_frozen"), [true, true]);
    // `recommended` freezes the statistics from the start; PyTorch's presets do as its tutorial.
    for (qconfig, expected) in [("recommended", true), ("fbgemm", false)] {
        let options = ["--weights", &weights, "--qat", "--qconfig", qconfig, "--epochs", "1"];
        let mut command = fixture.train("other.safetensors", &options);
        let report = json(command.arg("--overwrite"));
        assert_eq!(report["epochs"][0]["bn_stats_frozen"], expected, "{qconfig}");
    }
    // `recommended` also distils from the float model by default.
    let loss = |options: &[&str]| {
        let qat = ["--weights", &weights, "--qat", "--epochs", "1", "--overwrite"];
        let report = json(&mut fixture.train("other.safetensors", &[&qat[..], options].concat()));
        report["epochs"][0]["train_loss"].as_f64().unwrap()
    };
    let (default, labels) = (loss(&[]), loss(&["--distill", "0"]));
    assert!(default == loss(&["--distill", "1"]) && default != labels, "{default} {labels}");
    assert!(labels == loss(&["--distill", "0", "--temperature", "3"]));
    assert!(default != loss(&["--temperature", "3"]));
    let saved = SavedModel::open(fixture.path("int8.safetensors")).unwrap();
    assert_eq!((saved.name.as_str(), saved.classes.len()), ("mobilenet_v2", 3));
    let mut evaluate = posterize(&fixture.path("cache"));
    evaluate
        .arg("evaluate")
        .arg(fixture.path("int8.safetensors"))
        .arg("--data")
        .arg(fixture.data());
    assert_eq!(json(&mut evaluate)["top1"], report["best_top1"]);
    let trained = StateDict::open(&float).unwrap();
    assert_ne!(trained, fixture.model.state_dict());
    assert_eq!(trained.len(), fixture.model.state_dict().len());
}

#[test]
fn the_defaults_depend_on_the_weights_and_on_qat() {
    let fixture = Fixture::new();
    let imagenet = mobilenet_v2(&Config { num_classes: 1000, ..config() }).unwrap().init(5);
    let imagenet_file = fixture.path("imagenet.safetensors").display().to_string();
    imagenet.state_dict().save_safetensors(&imagenet_file).unwrap();
    let settings = |options: &[&str]| {
        let mut command = fixture.command("train");
        command.arg("--data").arg(fixture.data()).arg("--val").arg(fixture.data());
        command.args(["--epochs", "1", "--batch-size", "4", "--overwrite"]).args(options);
        let report = json(command.arg("-o").arg(fixture.path("out.safetensors")));
        let baselines = ["float_top1", "untrained_top1"].map(|name| report[name].is_number());
        assert_eq!(baselines, [options.contains(&"--qat"); 2]);
        report["settings"].as_str().unwrap().to_owned()
    };
    let adamw = "1 epochs of 3 batches of 4; AdamW with weight decay 0.01, learning rate";
    let frozen = "statistics of batch norms frozen from the start";
    let weights = fixture.weights();
    for (options, expected) in [
        (&[][..], format!("{adamw} 0.002 along a cosine")),
        (&["--weights", &weights], format!("{adamw} 0.0001 along a cosine; {frozen}")),
        (
            &["--weights", &imagenet_file],
            format!("{adamw} 0.0001 along a cosine, 10 times in classifier.1; {frozen}"),
        ),
        (
            &["--weights", &weights, "--momentum", "0.8"],
            format!(
                "1 epochs of 3 batches of 4; SGD with momentum 0.8, learning rate 0.003 along a \
                 cosine; {frozen}"
            ),
        ),
        (
            &["--weights", &weights, "--qat"],
            format!(
                "1 epochs of 3 batches of 4; SGD, learning rate 0.0001 along a cosine; {frozen}"
            ),
        ),
    ] {
        assert_eq!(settings(options), expected, "{options:?}");
    }
}

/// The weights of a network with 1000 classes, or without its classifier, start a new classifier.
#[test]
fn training_for_other_classes_starts_a_new_classifier_on_the_same_weights() {
    let fixture = Fixture::new();
    let config = Config { num_classes: 1000, ..config() };
    let imagenet = mobilenet_v2(&config).unwrap().init(5).state_dict();
    imagenet.save_safetensors(fixture.path("imagenet.safetensors")).unwrap();
    let headless: StateDict =
        imagenet.clone().into_iter().filter(|(name, _)| !name.starts_with("classifier.")).collect();
    headless.save_safetensors(fixture.path("headless.safetensors")).unwrap();
    let train = |file: &str, options: &[&str]| {
        let weights = fixture.path(file).display().to_string();
        // A learning rate of almost zero keeps the weights.
        let options = [
            &[
                "--weights",
                &weights,
                "--lr",
                "1e-30",
                "--epochs",
                "1",
                "--overwrite",
                "--seed",
                "4",
            ],
            options,
        ];
        let output = run(&mut fixture.train("out.safetensors", &options.concat()));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        (said, fs::read(fixture.path("out.safetensors")).unwrap())
    };
    let (said, new) = train("imagenet.safetensors", &[]);
    let expected = "a new classifier starts at random: classifier.1.weight [3, 1280] (the file has \
                    [1000, 1280]), classifier.1.bias [3] (the file has [1000])";
    assert!(said.contains(expected), "{said}");
    let trained = StateDict::open(fixture.path("out.safetensors")).unwrap();
    let name = "features.3.conv.0.0.weight";
    assert_eq!(trained.get(name), imagenet.get(name));
    assert_eq!(trained.get("classifier.1.weight").unwrap().shape(), [3, 1280]);

    let (said, other) = train("headless.safetensors", &[]);
    assert!(said.contains("classifier.1.bias [3] (not in the file)"), "{said}");
    assert!(new == other, "the new classifier is not the same");
    let (said, _) = train("imagenet.safetensors", &["--qat"]);
    assert!(said.contains(expected), "{said}");
    // Weights that fit start as they are.
    let (said, _) = train("small.safetensors", &[]);
    assert!(!said.contains("classifier"), "{said}");
}

#[test]
fn the_weights_depend_on_the_options_but_not_on_threads() {
    let fixture = Fixture::new();
    let file = |options: &[&str]| {
        let options = [&["--keep", "last", "--epochs", "1", "--overwrite"], options].concat();
        succeeds(&mut fixture.train("again.safetensors", &options));
        fs::read(fixture.path("again.safetensors")).unwrap()
    };
    let first = file(&["--threads", "1"]);
    assert!(first == file(&["--threads", "3"]));
    for options in [
        &["--seed", "1"][..],
        &["--augment", "none"],
        &["--augment", "shifted:4"],
        &["--momentum", "0.5"],
        &["--freeze", "features.0*"],
        &["--lr-factor", "features=0.5"],
        &["--optimizer", "adam"],
        &["--optimizer", "sgd"],
        &["--weight-decay", "0.1"],
        &["--label-smoothing", "0.1"],
        &["--clip", "0.01"],
        &["--warmup", "2"],
        &["--batches", "2"],
    ] {
        assert!(first != file(options), "{options:?}");
    }
}

/// Starts a run, kills it (SIGKILL) in its second epoch, resumes it, and compares the result with that
/// of an uninterrupted run.
fn killed_and_resumed(options: &[&str]) {
    let fixture = Fixture::new();
    let weights = fixture.weights();
    let train = |output: &str| {
        let run = ["--epochs", "3", "--weights", &weights, "--checkpoint-every", "1"];
        fixture.train(output, &[&run[..], options].concat())
    };
    succeeds(&mut train("whole.safetensors"));

    let checkpoint = fixture.path("killed.checkpoint");
    let mut child =
        train("killed.safetensors").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let position = loop {
        assert!(Instant::now() < deadline, "no checkpoint within the second epoch");
        // The file is written atomically, so it can be read whenever it exists.
        if checkpoint.exists() {
            let position = Checkpoint::open(&checkpoint).unwrap().position;
            if position.epoch == 1 && position.batch >= 1 {
                break position;
            }
            assert!(position.epoch < 2, "the run was not seen in its second epoch");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success(), "the run ended before it was killed at {position:?}");
    let stopped = Checkpoint::open(&checkpoint).unwrap().position;
    assert!(stopped.step < 9, "{stopped:?}");

    let resume = ["--resume", checkpoint.to_str().unwrap(), "--threads", "1"];
    let report = json(train("killed.safetensors").args(resume));
    assert_eq!(report["epochs"].as_array().unwrap().len(), 3);
    let read = |name: &str| fs::read(fixture.path(name)).unwrap();
    assert!(read("whole.safetensors") == read("killed.safetensors"), "stopped at {stopped:?}");
    let [whole, resumed] = ["whole", "killed"]
        .map(|name| Checkpoint::open(fixture.path(&format!("{name}.checkpoint"))).unwrap());
    assert_eq!(whole.network, resumed.network);
    assert_eq!(whole.optimizer, resumed.optimizer);
    assert_eq!(whole.history.losses, resumed.history.losses);
    // Resuming a finished run only writes the files again.
    fs::remove_file(fixture.path("killed.safetensors")).unwrap();
    succeeds(train("killed.safetensors").args(["--resume", checkpoint.to_str().unwrap()]));
    assert!(read("whole.safetensors") == read("killed.safetensors"));
}

#[test]
fn a_resumed_float_run_gives_the_same_bits() {
    killed_and_resumed(&["--momentum", "0.9", "--schedule", "cosine"]);
}

#[test]
fn a_run_resumed_with_adamw_gives_the_same_bits() {
    killed_and_resumed(&["--optimizer", "adamw", "--lr", "1e-3"]);
}

#[test]
fn a_resumed_qat_run_gives_the_same_bits() {
    let freeze = ["--freeze-observer-after", "1", "--freeze-bn-after", "0"];
    killed_and_resumed(&[&["--qat", "--distill", "0.5"], &freeze[..]].concat());
}

/// Presses Ctrl-C in the second epoch, and runs the command that is printed.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_run_says_how_to_continue_and_gives_the_same_bits() {
    let fixture = Fixture::new();
    let train = |output: &str| {
        fixture.train(output, &["--epochs", "40", "--checkpoint-every", "1", "--momentum", "0.9"])
    };
    succeeds(&mut train("whole.safetensors"));
    let checkpoint = fixture.path("stopped.checkpoint");
    let child =
        train("stopped.safetensors").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !checkpoint.exists() || Checkpoint::open(&checkpoint).unwrap().position.epoch < 1 {
        assert!(Instant::now() < deadline, "no checkpoint of the second epoch");
        std::thread::sleep(Duration::from_millis(2));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{text}");
    let position = Checkpoint::open(&checkpoint).unwrap().position;
    let stopped =
        format!("stopped in epoch {} after {} of its batches", position.epoch, position.batch);
    assert!(text.contains("press Ctrl-C again") && text.contains(&stopped), "{text}");
    let resume = text.lines().last().unwrap();
    assert!(resume.ends_with(&format!("--resume {}", checkpoint.display())), "{resume}");
    let mut again = Command::new("sh");
    again.args(["-c", resume]).env("POSTERIZE_CACHE", fixture.path("cache"));
    succeeds(&mut again);
    let read = |name: &str| fs::read(fixture.path(name)).unwrap();
    assert!(read("whole.safetensors") == read("stopped.safetensors"), "{position:?}");
}

#[test]
fn a_run_that_does_not_learn_warns_and_says_what_to_try() {
    let fixture = Fixture::new();
    let warnings = |options: &[&str]| {
        let options = [&["--epochs", "3", "--overwrite"], options].concat();
        let output = run(&mut fixture.train("out.safetensors", &options));
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stderr).unwrap();
        text.lines().filter(|line| line.contains("warning:")).map(String::from).collect::<Vec<_>>()
    };
    let found = warnings(&["--lr", "1e-9"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("try ") && found[0].contains("--lr 0.00000001"), "{found:?}");
    assert!(warnings(&["--weights", &fixture.weights(), "--freeze", "features"]).len() <= 1);
}

#[test]
fn resuming_another_run_or_a_damaged_checkpoint_is_an_error() {
    let fixture = Fixture::new();
    succeeds(&mut fixture.train("out.safetensors", &["--epochs", "1"]));
    let checkpoint = fixture.path("out.checkpoint");
    let resume = |options: &[&str]| {
        let mut command = fixture.train("more.safetensors", options);
        command.arg("--resume").arg(&checkpoint).arg("--overwrite");
        command
    };
    let error = fails_with_usage_error(&mut resume(&["--lr", "0.1", "--seed", "1"]));
    assert!(error.contains("learning rate is 0.1, was 0.01"), "{error}");
    assert!(error.contains("seed is 1, was 0"), "{error}");
    let error = fails_with_usage_error(&mut resume(&["--qat", "--weights", &fixture.weights()]));
    assert!(error.contains("qconfig is QConfigMapping"), "{error}");
    assert!(error.contains("was float"), "{error}");
    // A resumed run may have more epochs.
    let report = json(&mut resume(&["--epochs", "3"]));
    assert_eq!(report["epochs"].as_array().unwrap().len(), 3);

    let whole = fs::read(&checkpoint).unwrap();
    let mut altered = whole.clone();
    *altered.last_mut().unwrap() ^= 1;
    for (bytes, expected) in [
        (&whole[..whole.len() / 2], "it is truncated or damaged"),
        (&altered, "its content was altered or damaged"),
        (b"", "expected a training run saved by posterize, found an empty file"),
        (&fs::read(fixture.weights()).unwrap(), "not a training run saved by posterize"),
    ] {
        fs::write(&checkpoint, bytes).unwrap();
        let error = fails(&mut resume(&[]));
        assert!(error.contains("out.checkpoint: ") && error.contains(expected), "{error}");
    }
    fs::remove_file(&checkpoint).unwrap();
    assert!(fails(&mut resume(&[])).contains("out.checkpoint: cannot open: No such file"));
}

#[test]
fn wrong_options_are_errors_before_training_starts() {
    let fixture = Fixture::new();
    let error =
        |options: &[&str]| fails_with_usage_error(&mut fixture.train("out.safetensors", options));
    assert!(
        error(&["--momentum", "1"]).contains("momentum must be from 0 to less than 1, found 1")
    );
    let adam = error(&["--optimizer", "adam", "--momentum", "0.9"]);
    assert!(adam.contains("--momentum is an option of --optimizer sgd"), "{adam}");
    let nesterov = error(&["--nesterov", "--momentum", "0"]);
    assert!(nesterov.contains("a momentum greater than 0"), "{nesterov}");
    assert!(error(&["--lr", "0"]).contains("learning rate must be greater than 0, found 0"));
    assert!(
        error(&["--label-smoothing", "2"]).contains("label_smoothing must be from 0 to 1, found 2")
    );
    assert!(error(&["--clip", "0"]).contains("must be greater than 0, found 0"));
    assert!(error(&["--warmup", "6"]).contains("less than the 6 steps of the training, found 6"));
    let distill = ["--qat", "--weights", &fixture.weights(), "--distill", "2"];
    assert!(error(&distill).contains("alpha of the distillation must be from 0 to 1, found 2"));
    for (options, expected) in [
        (["--qconfig", "fbgemm"], "--qat"),
        (["--distill", "1"], "--qat"),
        (["--augment", "shifted:99999"], "from 0 to 65535: number too large"),
        (["--lr-factor", "classifier"], "a glob pattern and a factor, such as classifier=10"),
        (["--freeze", "features.["], "unclosed character class"),
        (["--batches", "0"], "1 or more, or `all`"),
        (["--checkpoint-every", "5m"], "a number of batches such as 50, seconds such as 60s, or"),
    ] {
        let output = run(&mut fixture.train("out.safetensors", &options));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(expected), "{error}");
    }
    let empty = fixture.path("empty");
    fs::create_dir_all(&empty).unwrap();
    let mut command = fixture.command("train");
    command.arg("--data").arg(&empty).arg("--val").arg(fixture.data());
    let error = fails(command.arg("-o").arg(fixture.path("out.safetensors")));
    assert!(error.contains("empty: found no class folder"), "{error}");
    let mut command = posterize(&fixture.path("cache"));
    command
        .args(["train", "resnet18", "--data"])
        .arg(fixture.data())
        .arg("--val")
        .arg(fixture.data());
    let error = fails(command.arg("-o").arg(fixture.path("out.safetensors")));
    assert!(
        error.contains("3 class folders (ant, bee, cat), but the network has 1000 classes"),
        "{error}"
    );
    let error = fails(&mut fixture.train("none/out.safetensors", &[]));
    assert!(error.contains("none/out.safetensors: cannot create"), "{error}");
    let error = fails_with_usage_error(&mut fixture.train("out.csv", &[]));
    assert!(error.contains("/out.csv (-o) and "), "{error}");
    assert!(error.contains("/out.csv (the log of -o) are the same file"), "{error}");
    assert!(!fixture.path("out.safetensors").exists());
}

#[test]
fn diverged_training_names_the_layer_and_keeps_the_last_good_checkpoint() {
    let fixture = Fixture::new();
    let output =
        run(&mut fixture.train("out.safetensors", &["--checkpoint-every", "1", "--lr", "1e30"]));
    assert_eq!(output.status.code(), Some(3));
    let error = String::from_utf8(output.stderr).unwrap();
    let last = error.lines().last().unwrap();
    assert!(last.contains("NaN or infinite") && last.contains("epoch 0, batch 1"), "{error}");
    assert!(last.contains("out.checkpoint, of epoch 0, batch 1: --resume continues"), "{error}");
    let saved = Checkpoint::open(fixture.path("out.checkpoint")).unwrap();
    assert_eq!(saved.position.step, 1);
}
