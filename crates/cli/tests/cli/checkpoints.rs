//! Tests with checkpoints that are damaged, malicious, unreadable or of another network.

use std::{fs, path::Path};

use posterize::{StateDict, Tensor, checkpoint::StateTensor};

use crate::{
    fixture::Fixture,
    support::{fails, fails_with_usage_error, run},
};

const CHECKPOINTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/checkpoints");

fn inspect(fixture: &Fixture, weights: &Path) -> String {
    fails(fixture.command("inspect").arg("--weights").arg(weights))
}

#[test]
fn a_truncated_checkpoint_is_an_error_at_any_length() {
    let fixture = Fixture::new();
    let file = fixture.path("cut.pth");
    for whole in ["zip.pth", "legacy.pth", "weights.safetensors"] {
        let bytes = fs::read(Path::new(CHECKPOINTS).join(whole)).unwrap();
        let lengths =
            [0, 1, 7, 100, bytes.len() / 3, bytes.len() / 2, bytes.len() - 100, bytes.len() - 1];
        for length in lengths {
            fs::write(&file, &bytes[..length]).unwrap();
            let error = inspect(&fixture, &file);
            let start = format!("error: {}: ", file.display());
            assert!(error.starts_with(&start), "{whole} at {length}: {error}");
            assert!(!error.contains("do not fit"), "{whole} at {length} was read: {error}");
        }
    }
}

#[test]
fn a_pickle_that_would_run_code_is_an_error_that_names_the_function() {
    let fixture = Fixture::new();
    for hostile in ["hostile.pth", "hostile_legacy.pth", "hostile_protocol0.pth"] {
        let file = Path::new(CHECKPOINTS).join(hostile);
        let error = inspect(&fixture, &file);
        assert!(error.contains(hostile), "{error}");
        assert!(error.contains("system"), "{hostile}: {error}");
    }
    let file = fixture.path("mine.pth");
    let witness = fixture.path("witness");
    let command = format!("touch {}", witness.display());
    fs::write(&file, format!("cposix\nsystem\n(V{command}\ntR.")).unwrap();
    let error = inspect(&fixture, &file);
    assert!(error.contains("posix.system"), "{error}");
    assert!(!witness.exists());
}

#[test]
fn a_checkpoint_of_another_network_is_an_error_that_lists_differences() {
    let fixture = Fixture::new();
    let weights = fixture.path("small.safetensors");
    let mut wider = crate::support::posterize(&fixture.path("cache"));
    wider.args([
        "inspect",
        "mobilenet_v2",
        "--num-classes",
        "3",
        "--width-mult",
        "0.2",
        "--weights",
    ]);
    wider.arg(&weights);
    let mut error = |verbose: bool| {
        if verbose {
            wider.arg("-v");
        }
        let output = run(&mut wider);
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stderr).unwrap()
    };
    let start = format!(
        "error: {}: the weights do not fit MobileNetV2. Is it a checkpoint of another width?\n",
        weights.display()
    );
    let short = error(false);
    assert!(short.starts_with(&start), "{short}");
    let lines: Vec<&str> = short.lines().collect();
    assert_eq!(lines.len(), 1 + 1 + 20 + 1, "{short}");
    assert!(lines[1].ends_with(" of another shape:"), "{short}");
    assert!(lines[22].starts_with("    ... and ") && lines[22].ends_with(" more (-v for all)"));
    let long = error(true);
    assert!(long.starts_with(&start) && !long.contains("more (-v"), "{long}");
    assert!(
        long.contains(
            "features.7.conv.2.weight: the model needs [16, 48, 1, 1], the file has [8, 48"
        ),
        "{long}"
    );
}

/// Only `train` starts a new classifier; the other commands say that it does.
#[test]
fn weights_of_another_number_of_classes_or_without_a_classifier_are_for_training() {
    let fixture = Fixture::new();
    let state = StateDict::open(fixture.path("small.safetensors")).unwrap();
    let headless: StateDict =
        state.into_iter().filter(|(name, _)| !name.starts_with("classifier.")).collect();
    headless.save_safetensors(fixture.path("headless.safetensors")).unwrap();
    let commands: [(&str, &[&str]); 3] =
        [("evaluate", &["--data"]), ("quantize", &["-o", "int8", "--calibrate"]), ("inspect", &[])];
    for (file, classes, expected) in [
        (
            "small.safetensors",
            "5",
            "The model has 5 classes, the file 3. Is it a checkpoint for another number of classes? \
             Pass --num-classes 3, or train a new classifier with `posterize train --weights`",
        ),
        (
            "headless.safetensors",
            "3",
            "The classifier is missing, the other layers are not. Train a new one with `posterize train --weights`",
        ),
    ] {
        for (name, options) in commands {
            let mut command = crate::support::posterize(&fixture.path("cache"));
            command.current_dir(fixture.folder.path()).args([name, "mobilenet_v2"]);
            command.args(["--num-classes", classes, "--width-mult", "0.1", "--weights", file]);
            command.args(options);
            if !options.is_empty() {
                command.arg(fixture.data());
            }
            let output = run(&mut command);
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(3), "{command:?}: {error}");
            assert!(error.contains(expected), "{command:?}: {error}");
        }
    }
}

/// Profilers of multiply-adds (thop) leave such keys behind.
#[test]
fn extra_keys_are_ignored_if_that_is_asked_for() {
    let fixture = Fixture::new();
    let weights = fixture.path("profiled.safetensors");
    let mut state = StateDict::open(fixture.path("small.safetensors")).unwrap();
    let zero = || StateTensor::Float(Tensor::zeros([1]));
    let modules: Vec<String> = state
        .iter()
        .filter_map(|(name, _)| name.strip_suffix(".weight").map(str::to_owned))
        .collect();
    for module in &modules {
        state.insert(format!("{module}.total_ops"), zero());
    }
    state.insert("total_ops", zero());
    state.save_safetensors(&weights).unwrap();
    let output = run(fixture.command("inspect").arg("--weights").arg(&weights));
    assert_eq!(output.status.code(), Some(3));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--ignore-extra ignores them"), "{error}");
    assert!(error.contains("features.0.0.total_ops"), "{error}");

    let mut command = fixture.command("inspect");
    let output = run(command.arg("--ignore-extra").arg("--weights").arg(&weights));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let count = modules.len() + 1;
    let start =
        format!("{}: {count} keys are ignored: features.0.0.total_ops, ", weights.display());
    assert!(said.starts_with(&start), "{said}");
    assert!(said.ends_with(&format!(" and {} more\n", count - 20)), "{said}");
}

#[test]
fn nan_and_infinite_weights_are_warned_about() {
    let fixture = Fixture::new();
    let weights = fixture.path("nan.safetensors");
    let mut state = StateDict::open(fixture.path("small.safetensors")).unwrap();
    let name = "features.3.conv.0.0.weight";
    let Some(StateTensor::Float(tensor)) = state.get(name) else { panic!("no {name}") };
    let shape = tensor.shape().to_vec();
    let mut values = tensor.data().to_vec();
    (values[1], values[2], values[3]) = (f32::NAN, f32::NAN, f32::INFINITY);
    state.insert(name, StateTensor::Float(Tensor::new(shape, values).unwrap()));
    state.save_safetensors(&weights).unwrap();

    let mut command = fixture.command("evaluate");
    command.arg("--weights").arg(&weights).arg("--data").arg(fixture.data());
    let said = fails(&mut command);
    let expected = format!("warning: {}: {name} contains 2 NaN and 1 infinite", weights.display());
    assert!(said.starts_with(&expected), "{said}");
    let expected =
        "error: features.3.conv.0.0: its output has the value NaN, so the logit of class 0";
    assert!(said.lines().last().unwrap().starts_with(expected), "{said}");
}

#[test]
fn a_prefix_of_all_names_is_removed_and_said() {
    let fixture = Fixture::new();
    let weights = fixture.path("lightning.safetensors");
    let state = StateDict::open(fixture.path("small.safetensors")).unwrap();
    let state: StateDict =
        state.into_iter().map(|(name, tensor)| (format!("net.model.{name}"), tensor)).collect();
    state.save_safetensors(&weights).unwrap();

    let evaluate = |weights: &Path| {
        let mut command = fixture.command("evaluate");
        let command = command.arg("--weights").arg(weights).arg("--data").arg(fixture.data());
        let output = run(command.arg("--predictions").arg(fixture.path("predictions.csv")));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        (said, fs::read(fixture.path("predictions.csv")).unwrap())
    };
    let (said, predictions) = evaluate(&weights);
    let expected =
        format!("{}: the names begin with `net.model.`, which was removed", weights.display());
    assert!(said.contains(&expected), "{said}");
    let (said, plain) = evaluate(&fixture.path("small.safetensors"));
    assert!(!said.contains("removed"), "{said}");
    assert!(predictions == plain, "the predictions differ");
}

#[test]
fn a_checkpoint_with_two_sets_of_weights_says_which_is_used() {
    let fixture = Fixture::new();
    let file = Path::new(CHECKPOINTS).join("model_and_ema.pth");
    // It is a checkpoint of another network, but the message comes before that.
    let output = run(fixture.command("inspect").arg("--weights").arg(&file));
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "{}: the weights under `model` are used; the file also has weights under `model_ema` (--ema uses \
         the averaged ones)",
        file.display()
    );
    assert!(said.starts_with(&expected), "{said}");
    let output = run(fixture.command("inspect").arg("--ema").arg("--weights").arg(&file));
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "{}: the weights under `model_ema` are used; the file also has weights under `model`\n",
        file.display()
    );
    assert!(said.starts_with(&expected), "{said}");
    let file = Path::new(CHECKPOINTS).join("zip.pth");
    let error = fails(fixture.command("inspect").arg("--ema").arg("--weights").arg(&file));
    assert!(error.contains("expected averaged weights (EMA)"), "{error}");
    for option in ["--ema", "--ignore-extra"] {
        let error = fails_with_usage_error(fixture.command("inspect").args([option, "--fused"]));
        assert!(error.contains(&format!("{option} is for the file of --weights")), "{error}");
    }
}

#[test]
fn a_negative_running_variance_is_an_error_that_names_it() {
    let fixture = Fixture::new();
    let weights = fixture.path("negative.safetensors");
    let mut state = StateDict::open(fixture.path("small.safetensors")).unwrap();
    let name = "features.3.conv.0.1.running_var";
    let Some(StateTensor::Float(tensor)) = state.get(name) else { panic!("no {name}") };
    let shape = tensor.shape().to_vec();
    let mut values = tensor.data().to_vec();
    values[2] = -0.25;
    state.insert(name, StateTensor::Float(Tensor::new(shape, values).unwrap()));
    state.save_safetensors(&weights).unwrap();
    let error = inspect(&fixture, &weights);
    let expected = format!("error: {}: {name}: value 2 is -0.25, but", weights.display());
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn an_int8_model_as_weights_is_named_in_the_error() {
    let fixture = Fixture::new();
    let int8 = fixture.path("int8.safetensors");
    let mut quantize = fixture.command("quantize");
    quantize.arg("--weights").arg(fixture.path("small.safetensors"));
    quantize.arg("--calibrate").arg(fixture.data()).arg("-o").arg(&int8);
    let output = run(&mut quantize);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let error = inspect(&fixture, &int8);
    assert!(error.contains("an int8 model saved by posterize"), "{error}");
    assert!(error.contains("posterize evaluate FILE"), "{error}");
}

/// The files have holes, so they take no space on the disk. The program may have 1 GiB of addresses.
#[cfg(target_os = "linux")]
#[test]
fn a_checkpoint_that_needs_too_much_memory_is_an_error_that_names_the_tensor() {
    let fixture = Fixture::new();
    let inspect = |dtype: &str, bytes: u64| {
        let file = fixture.path("large.safetensors");
        let values = bytes / if dtype == "F16" { 2 } else { 4 };
        let header = format!(
            r#"{{"w":{{"dtype":"{dtype}","shape":[{values}],"data_offsets":[0,{bytes}]}}}}"#
        );
        let mut start = (header.len() as u64).to_le_bytes().to_vec();
        start.extend(header.as_bytes());
        fs::write(&file, &start).unwrap();
        let length = start.len() as u64 + bytes;
        fs::File::options().write(true).open(&file).unwrap().set_len(length).unwrap();
        let mut shell = std::process::Command::new("sh");
        shell.args([
            "-c",
            "ulimit -v 1048576 && exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_posterize"),
        ]);
        shell.args(["inspect", "mobilenet_v2", "--weights"]).arg(&file);
        fails(&mut shell)
    };
    let error = inspect("F32", 8 << 30);
    assert!(error.contains("does not give 85899346"), "{error}");
    assert!(error.contains("bytes for the file"), "{error}");
    let error = inspect("F16", 384 << 20);
    assert!(error.contains("tensor `w`: not enough memory"), "{error}");
    assert!(error.contains("does not give 805306368 bytes for its values"), "{error}");
}

/// Root can read every file, so if the tests run as root, the program runs as nobody.
#[cfg(unix)]
#[test]
fn files_without_read_permission_are_errors_with_their_paths() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};

    let fixture = Fixture::new();
    let forbid =
        |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    let allow = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    allow(fixture.folder.path());
    let root = fs::read(fixture.path("small.safetensors")).is_ok() && {
        let probe = fixture.path("probe");
        fs::write(&probe, "").unwrap();
        forbid(&probe);
        fs::read(&probe).is_ok()
    };
    let evaluate = || {
        let mut command = fixture.evaluate();
        if root {
            command.uid(65534).gid(65534);
        }
        command
    };
    if root && evaluate().output().is_err() {
        crate::support::skipped(
            "files_without_read_permission_are_errors_with_their_paths",
            "the user nobody cannot run the program",
        );
        return;
    }

    let weights = fixture.path("small.safetensors");
    forbid(&weights);
    let error = fails(&mut evaluate());
    let expected = format!("error: {}: cannot open: Permission denied", weights.display());
    assert!(error.starts_with(&expected), "{error}");
    allow(&weights);

    let picture = fixture.data().join("bee/2.ppm");
    forbid(&picture);
    let error = fails(evaluate().arg("--strict"));
    let expected = format!("error: {}: cannot read: Permission denied", picture.display());
    assert!(error.starts_with(&expected), "{error}");

    let folder = fixture.data().join("cat");
    forbid(&folder);
    let error = fails(&mut evaluate());
    assert!(error.contains(&format!("{}: ", folder.display())), "{error}");
    assert!(error.contains("Permission denied"), "{error}");
    allow(&folder);
}
