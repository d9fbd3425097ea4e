//! Tests of the files that commands write: inputs are not replaced, other runs are kept, and what cannot
//! be written is found before the work.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use posterize::{StateDict, format::SavedModel, training::Checkpoint};
use serde_json::Value;

use crate::{
    fixture::Fixture,
    support::{fails, fails_with_usage_error, files, run, succeeds},
};

impl Fixture {
    /// Returns `posterize quantize` with the checkpoint and the pictures, without `-o`.
    fn to_quantize(&self) -> Command {
        let mut command = self.command("quantize");
        command.arg("--weights").arg(self.path("small.safetensors"));
        command.arg("--calibrate").arg(self.data()).args(["--batches", "1", "--batch-size", "4"]);
        command
    }

    /// Returns `posterize train` for one epoch of one batch, without `-o`.
    fn to_train(&self) -> Command {
        let mut command = self.command("train");
        command.arg("--data").arg(self.data()).arg("--val").arg(self.data());
        command.args(["--epochs", "1", "--batches", "1", "--batch-size", "4", "--limit", "4"]);
        command
    }
}

#[cfg(unix)]
#[test]
fn an_input_is_not_replaced_by_an_output() {
    use std::os::unix::fs::symlink;
    let fixture = Fixture::new();
    let weights = fixture.path("small.safetensors");
    let before = fs::read(&weights).unwrap();
    symlink("small.safetensors", fixture.path("symlink")).unwrap();
    fs::hard_link(&weights, fixture.path("hard_link")).unwrap();
    for name in ["small.safetensors", "symlink", "hard_link", "data/../small.safetensors"] {
        let output = fixture.path(name);
        let error = fails_with_usage_error(fixture.to_quantize().arg("-o").arg(&output));
        let expected = format!(
            "{} (-o) is the same file as {} (--weights)",
            output.display(),
            weights.display()
        );
        assert!(error.contains(&expected), "{error}");
        let mut train = fixture.to_train();
        train.arg("--qat").arg("--weights").arg(&weights).arg("-o").arg(fixture.path("new"));
        let error = fails_with_usage_error(train.arg("--float-output").arg(&output));
        assert!(error.contains("(--float-output) is the same file as "), "{error}");
        let error = fails_with_usage_error(fixture.evaluate().arg("--predictions").arg(&output));
        assert!(error.contains("(--predictions) is the same file as "), "{error}");
    }
    // The logs that training writes beside -o, a picture, a file of classes and a saved model.
    let classes = fixture.path("out.csv");
    fs::write(&classes, "ant\nbee\ncat\n").unwrap();
    let mut train = fixture.to_train();
    train.arg("--overwrite").arg("--classes").arg(&classes);
    let error = fails_with_usage_error(train.arg("-o").arg(fixture.path("out.safetensors")));
    assert!(error.contains("(the log of -o) is the same file as "), "{error}");
    let picture = fixture.data().join("ant/0.ppm");
    let error = fails_with_usage_error(fixture.to_quantize().arg("-o").arg(&picture));
    assert!(error.contains("ant/0.ppm (--calibrate), which would be lost"), "{error}");
    let int8 = fixture.path("int8.safetensors");
    succeeds(fixture.to_quantize().arg("-o").arg(&int8));
    let mut evaluate = crate::support::posterize(&fixture.path("cache"));
    evaluate.arg("evaluate").arg(&int8).arg("--data").arg(fixture.data());
    let error = fails_with_usage_error(evaluate.arg("--predictions").arg(&int8));
    assert!(error.contains("int8.safetensors (MODEL), which would be lost"), "{error}");
    let out = fixture.path("out");
    fs::create_dir(&out).unwrap();
    fs::hard_link(&weights, out.join("tutorial.md")).unwrap();
    let mut tutorial = fixture.command("tutorial");
    tutorial.arg("--weights").arg(&weights).arg("--data").arg(fixture.data());
    let error = fails_with_usage_error(tutorial.arg("--out").arg(&out));
    assert!(error.contains("tutorial.md (--out) is the same file as "), "{error}");
    assert!(fs::read(&weights).unwrap() == before);
    assert!(SavedModel::open(&int8).is_ok());
}

#[test]
fn two_outputs_are_not_the_same_file() {
    let fixture = Fixture::new();
    let mut train = fixture.to_train();
    train.arg("--qat").arg("--weights").arg(fixture.path("small.safetensors"));
    train.arg("-o").arg(fixture.path("out.safetensors"));
    let twice = fixture.path("data/../out.checkpoint");
    let error = fails_with_usage_error(train.arg("--float-output").arg(&twice));
    assert!(
        error.contains("out.checkpoint (--float-output) and ")
            && error.contains("out.checkpoint (the checkpoint of -o) are the same file"),
        "{error}"
    );
}

#[test]
fn training_does_not_replace_the_files_of_another_run() {
    let fixture = Fixture::new();
    let train = || {
        let mut command = fixture.to_train();
        command.arg("-o").arg(fixture.path("a.safetensors"));
        command
    };
    succeeds(&mut train());
    let checkpoint = fixture.path("a.checkpoint");
    let before = fs::read(&checkpoint).unwrap();
    let error = fails_with_usage_error(train().args(["--seed", "1"]));
    assert!(error.contains("a.checkpoint: this file of another run would be replaced"), "{error}");
    assert!(error.contains("--overwrite") && error.contains("--resume"), "{error}");
    // The same name with another ending has the same logs.
    let mut other = fixture.to_train();
    let error = fails_with_usage_error(other.arg("-o").arg(fixture.path("a.pt")));
    assert!(error.contains("this file of another run"), "{error}");
    assert!(fs::read(&checkpoint).unwrap() == before);
    // Resuming another run does not allow it either.
    succeeds(fixture.to_train().arg("-o").arg(fixture.path("b.safetensors")));
    let resumed = train().arg("--resume").arg(fixture.path("b.checkpoint")).output().unwrap();
    assert_eq!(resumed.status.code(), Some(2));
    assert!(fs::read(&checkpoint).unwrap() == before);
    succeeds(train().arg("--resume").arg(&checkpoint));
    succeeds(train().args(["--seed", "1", "--overwrite"]));
    assert!(fs::read(&checkpoint).unwrap() != before);
}

/// Not even root can create a file below a file.
#[test]
fn what_cannot_be_written_is_found_before_the_work() {
    let fixture = Fixture::new();
    let file = fixture.path("file");
    fs::write(&file, "").unwrap();
    let below = file.join("out.safetensors");
    let mut commands = [fixture.to_quantize(), fixture.to_train(), fixture.evaluate()];
    for (command, option) in commands.iter_mut().zip(["-o", "-o", "--predictions"]) {
        let error = fails(command.arg(option).arg(&below));
        assert!(error.contains("file/out.safetensors: cannot create: Not a directory"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let mut train = fixture.to_train();
    train.args(["--qat", "--weights", "missing.pth", "--float-output"]).arg(&below);
    let error = fails(train.arg("-o").arg(fixture.path("out.safetensors")));
    assert!(error.contains("file/out.safetensors: cannot create: "), "{error}");
    let mut tutorial = fixture.command("tutorial");
    let error = fails(tutorial.arg("--out").arg(&file));
    assert!(error.contains("file: cannot create: "), "{error}");
    assert_eq!(files(fixture.folder.path()).iter().filter(|f| !f.starts_with("data")).count(), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn the_checkpoint_is_written_before_the_other_files() {
    let fixture = Fixture::new();
    let output = fixture.path("out.safetensors");
    // The log is a link to a full device, so writing it fails at the end of the epoch.
    std::os::unix::fs::symlink("/dev/full", fixture.path("out.csv")).unwrap();
    let output = run(fixture.to_train().arg("--overwrite").arg("-o").arg(&output));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(error.contains("out.csv: cannot write: No space left on device"), "{error}");
    assert!(error.contains("out.checkpoint, of epoch 1, batch 0: --resume continues"), "{error}");
    assert_eq!(Checkpoint::open(fixture.path("out.checkpoint")).unwrap().position.epoch, 1);
    assert!(StateDict::open(fixture.path("out.safetensors")).is_ok());
}

/// The limit on the size of files is one that root has too.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_file_and_no_other() {
    let fixture = Fixture::new();
    let output = fixture.path("int8.safetensors");
    fs::write(&output, "old").unwrap();
    let quantize = fixture.to_quantize();
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]);
    limited.arg(quantize.get_program()).args(quantize.get_args()).arg("-o").arg(&output);
    let error = fails(&mut limited);
    assert!(error.contains("int8.safetensors: cannot write: File too large"), "{error}");
    assert_eq!(fs::read(&output).unwrap(), b"old");
    let names = fs::read_dir(fixture.folder.path()).unwrap().count();
    assert_eq!(names, 3, "the checkpoint, the pictures and the old file");
}

#[cfg(unix)]
#[test]
fn a_model_on_standard_output_is_not_mixed_with_the_report() {
    let fixture = Fixture::new();
    let file = fixture.path("int8.safetensors");
    succeeds(fixture.to_quantize().arg("-o").arg(&file));
    let expected = fs::read(&file).unwrap();
    // To a pipe.
    let output = run(fixture.to_quantize().args(["--json", "-o", "/dev/stdout"]));
    assert!(output.status.success() && output.stdout == expected);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let report: Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
    assert_eq!(report["bytes_after"].as_u64().unwrap(), expected.len() as u64);
    // To a file, after what is there already.
    let redirected = fixture.path("redirected");
    fs::write(&redirected, "before").unwrap();
    let file = fs::OpenOptions::new().append(true).open(&redirected).unwrap();
    let mut quantize = fixture.to_quantize();
    quantize.args(["-o", "/dev/stdout"]).stdout(file).stderr(Stdio::null());
    assert!(quantize.status().unwrap().success());
    assert!(fs::read(&redirected).unwrap() == [b"before", &expected[..]].concat());
    // Nothing is kept, and the report is where it always is.
    let printed = succeeds(fixture.to_quantize().args(["-o", "/dev/null"]));
    assert!(printed.contains("/dev/null written in "), "{printed}");
    let predictions = run(fixture.evaluate().args(["--predictions", "/dev/stdout"]));
    let stdout = String::from_utf8(predictions.stdout).unwrap();
    assert!(stdout.starts_with("path,label,p1") && stdout.lines().count() == 13, "{stdout}");
    assert!(String::from_utf8(predictions.stderr).unwrap().contains("top-1"));
    let error = fails_with_usage_error(fixture.to_train().args(["-o", "/dev/stdout"]));
    assert!(error.contains("/dev/stdout: training writes this file after every epoch"), "{error}");
    assert!(!Path::new("/dev/stdout.csv").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_named_pipe_is_written_to() {
    let fixture = Fixture::new();
    let pipe = fixture.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    let printed = succeeds(fixture.to_quantize().arg("-o").arg(&pipe));
    assert!(printed.contains("pipe written in "), "{printed}");
    fs::write(fixture.path("copy"), reader.join().unwrap()).unwrap();
    assert_eq!(SavedModel::open(fixture.path("copy")).unwrap().name, "mobilenet_v2");
}

/// `timeout` ends a run that waits for the pipe.
#[cfg(target_os = "linux")]
#[test]
fn fetching_from_a_pipe_is_an_error() {
    let fixture = Fixture::new();
    let pipe = fixture.path("weights.pth");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = Command::new("timeout");
    command.args(["20", env!("CARGO_BIN_EXE_posterize"), "fetch", "mobilenet_v2", "--cache"]);
    let error = fails(command.arg(fixture.path("cache")).arg("--from").arg(&pipe));
    assert!(error.contains("weights.pth: expected a regular file"), "{error}");
    assert!(!fixture.path("cache").exists());
}

/// The names of the folder, of a class, and of pictures that can and cannot be read.
#[cfg(unix)]
#[test]
fn control_characters_in_names_are_escaped() {
    let fixture = Fixture::new();
    let evil = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}1m\r\u{202e}é";
    let data = fixture.path(&format!("data{evil}"));
    fs::rename(fixture.data(), &data).unwrap();
    fs::rename(data.join("ant"), data.join(format!("ant{evil}"))).unwrap();
    let broken = data.join(format!("bee/{evil}.ppm"));
    fs::write(&broken, "no picture").unwrap();
    let is_control = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    let evaluate = || {
        let mut command = fixture.command("evaluate");
        command.arg("--weights").arg(fixture.path("small.safetensors")).arg("--data").arg(&data);
        command
    };
    let check = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.contains(is_control), "{text:?}");
        assert!(text.contains(r"\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}1m\r\u{202e}é"), "{text}");
    };
    let output = run(&mut evaluate());
    check(output.stdout);
    check(output.stderr);
    // The file written, and the pictures. A model's classes cannot have such names.
    fs::rename(data.join(format!("ant{evil}")), data.join("ant")).unwrap();
    let int8 = fixture.path(&format!("int8{evil}.safetensors"));
    let mut quantize = fixture.command("quantize");
    quantize.arg("--weights").arg(fixture.path("small.safetensors")).arg("--calibrate").arg(&data);
    check(succeeds(quantize.arg("-o").arg(&int8)).into_bytes());
    let mut classify = crate::support::posterize(&fixture.path("cache"));
    classify.arg("classify").arg(&int8).arg(data.join("bee/0.ppm")).arg(&broken);
    let output = run(&mut classify);
    check(output.stdout);
    check(output.stderr);
    // JSON has escapes of its own, which give the same names.
    let output = run(evaluate().arg("--json"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(is_control), "{text:?}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["data"], data.to_str().unwrap());
}

/// Ctrl-C removes the unpacked pictures, and a run after a killed one removes that one's.
#[cfg(target_os = "linux")]
#[test]
fn interrupted_and_killed_runs_leave_no_pictures() {
    let fixture = Fixture::new();
    let temporary = fixture.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let folders = || fs::read_dir(&temporary).unwrap().count();
    let tutorial = || {
        let mut command = crate::support::posterize(&fixture.path("cache"));
        command.args(["tutorial", "--qat", "none", "--limit", "10", "--out"]);
        command.arg(fixture.path("out")).env("TMPDIR", &temporary);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let stopped_by = |signal: &str| {
        let mut child = tutorial().spawn().unwrap();
        while folders() == 0 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        child.wait().unwrap()
    };
    let status = stopped_by("INT");
    assert_eq!((status.code(), folders()), (Some(130), 0), "{status}");
    let status = stopped_by("KILL");
    assert_eq!((status.code(), folders()), (None, 1), "{status}");
    assert!(tutorial().status().unwrap().success());
    assert_eq!(folders(), 0);
}

/// A run that was killed while it wrote leaves a temporary file, which the next one removes.
#[cfg(target_os = "linux")]
#[test]
fn the_temporary_file_of_a_killed_run_is_removed() {
    let fixture = Fixture::new();
    fs::write(fixture.path(".posterize-killed.part"), "half a model").unwrap();
    succeeds(fixture.to_quantize().arg("-o").arg(fixture.path("int8.safetensors")));
    assert!(!fixture.path(".posterize-killed.part").exists());
}
