//! Tests that a saved float model is all that a command needs.

use std::{path::Path, process::Command};

use posterize::{
    FloatModel,
    checkpoint::StateTensor,
    data::{Interpolation, Preprocessing},
    format::SavedModel,
};
use serde_json::Value;

use crate::{
    fixture::{CLASSES, Fixture},
    support::{fails, fails_with_usage_error, posterize, run, succeeds},
};

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeeds(command.arg("--json"))).unwrap()
}

impl Fixture {
    /// Trains the small network for an epoch, and returns the report.
    fn trained(&self, output: &Path) -> Value {
        let mut command = self.command("train");
        command.arg("--data").arg(self.data()).arg("--val").arg(self.data()).arg("-o").arg(output);
        json(command.args(["--activation", "relu", "--epochs", "1", "--batch-size", "4"]))
    }
}

#[test]
fn every_command_takes_a_trained_float_model_without_other_options() {
    let fixture = Fixture::new();
    let [float, int8, qat] =
        ["float", "int8", "qat"].map(|name| fixture.path(&format!("{name}.safetensors")));
    let trained = fixture.trained(&float);
    let saved = SavedModel::open(&float).unwrap();
    assert_eq!((saved.name.as_str(), saved.classes.len()), ("mobilenet_v2", CLASSES.len()));
    let command = |name: &str, file: &Path| {
        let mut command = posterize(&fixture.path("cache"));
        command.arg(name).arg(file);
        command
    };

    let report = json(command("evaluate", &float).arg("--data").arg(fixture.data()));
    assert_eq!((&report["top1"], &report["precision"]), (&trained["best_top1"], &"float32".into()));
    let unfused =
        json(command("evaluate", &float).arg("--no-fuse").arg("--data").arg(fixture.data()));
    assert_eq!(unfused["fused"], false);

    let picture = fixture.data().join("bee/1.ppm");
    let report = json(command("classify", &float).arg(&picture));
    assert!(CLASSES.contains(&report["pictures"][0]["classes"][0]["name"].as_str().unwrap()));

    let report = json(command("inspect", &float).arg("features.1.conv"));
    assert_eq!((&report["classes"], &report["preprocessing"]["crop"]), (&3.into(), &224.into()));
    assert!(report["tree"].as_str().unwrap().contains("ReLU(inplace=True)"), "{report}");
    let report = json(command("inspect", &float).args(["--fused", "--size", "64"]));
    assert_eq!(report["input_shape"], serde_json::json!([1, 3, 64, 64]));
    let printed = succeeds(&mut command("inspect", &float));
    assert!(printed.ends_with("std [0.229, 0.224, 0.225]; 3 classes\n"), "{printed}");
    json(command("inspect", &float).arg("--plan"));

    let report = json(command("bench", &float).args(["--runs", "1", "--compare"]).arg(&float));
    assert_eq!(report["precision"], "float32");

    json(command("quantize", &float).arg("--calibrate").arg(fixture.data()).arg("-o").arg(&int8));
    let quantized = SavedModel::open(&int8).unwrap();
    assert_eq!((quantized.name, quantized.classes), ("mobilenet_v2".into(), saved.classes));
    assert_eq!(quantized.preprocessing, saved.preprocessing);
    // It has no batch norms to keep apart.
    let error = fails_with_usage_error(command("evaluate", &int8).arg("--no-fuse"));
    assert!(error.contains("--no-fuse cannot be used with an int8 model"), "{error}");

    let again = fixture.path("again.safetensors");
    let mut train = command("train", &float);
    train.arg("--data").arg(fixture.data()).arg("--val").arg(fixture.data()).arg("--qat");
    train.args(["--epochs", "1", "--batch-size", "4", "--float-output"]).arg(&again);
    json(train.arg("-o").arg(&qat));
    assert!(SavedModel::open(&qat).unwrap().model.as_quantized().is_some());
    let again = SavedModel::open(&again).unwrap();
    assert_eq!((again.classes.len(), again.preprocessing), (3, saved.preprocessing));
    assert_ne!(again.model, saved.model);
    assert_eq!(again.model.graph(), saved.model.graph());
}

#[test]
fn a_float_model_is_also_a_checkpoint_and_its_options_are_refused() {
    let fixture = Fixture::new();
    let float = fixture.path("float.safetensors");
    let trained = fixture.trained(&float);
    let mut evaluate = fixture.command("evaluate");
    evaluate.args(["--activation", "relu", "--weights"]).arg(&float);
    assert_eq!(json(evaluate.arg("--data").arg(fixture.data()))["top1"], trained["best_top1"]);
    for option in [["--num-classes", "3"], ["--activation", "relu"], ["--width-mult", "0.1"]] {
        let mut command = posterize(&fixture.path("cache"));
        command.arg("evaluate").arg(&float).args(option);
        let error = fails_with_usage_error(command.arg("--data").arg(fixture.data()));
        assert!(error.contains("cannot be used with a saved model, which has its own"), "{error}");
    }
    // A model that a program saved may have a name that is no architecture's.
    let model = FloatModel::open(&float).unwrap();
    let saved = SavedModel::open(&float).unwrap();
    let own = SavedModel::new(model)
        .with_name("my network")
        .with_preprocessing(saved.preprocessing.clone())
        .with_classes(saved.classes.clone());
    own.save(&float).unwrap();
    for options in [&["--augment"][..], &[]] {
        let mut command = posterize(&fixture.path("cache"));
        command.arg("quantize").arg(&float).args(options).arg("--calibrate").arg(fixture.data());
        let report = json(command.arg("-o").arg(fixture.path("int8.safetensors")));
        assert_eq!(report["model"], "my network");
    }
}

#[test]
fn options_of_the_preprocessing_are_used_saved_and_printed() {
    let fixture = Fixture::new();
    let int8 = fixture.path("int8.safetensors");
    let options =
        ["--crop", "64", "--crop-ratio", "0.9", "--interpolation", "bicubic", "--mean", "0.5"];
    let weights = fixture.path("small.safetensors");
    let mut quantize = fixture.command("quantize");
    quantize.arg("--weights").arg(&weights).arg("--calibrate").arg(fixture.data()).args(options);
    json(quantize.args(["--std", "0.25,0.5,0.75", "-o"]).arg(&int8));
    let saved = SavedModel::open(&int8).unwrap().preprocessing.unwrap();
    let expected = Preprocessing {
        interpolation: Interpolation::Bicubic,
        mean: [0.5; 3],
        std: [0.25, 0.5, 0.75],
        ..Preprocessing::imagenet().with_sizes(71, 64)
    };
    assert_eq!(saved, expected);

    let command = |name: &str| {
        let mut command = posterize(&fixture.path("cache"));
        command.arg(name).arg(&int8);
        command
    };
    let printed = succeeds(&mut command("inspect"));
    let line = "resize 71 (bicubic), centre crop 64, mean [0.5, 0.5, 0.5], std [0.25, 0.5, 0.75]";
    assert!(printed.contains(line), "{printed}");
    let error = fails_with_usage_error(command("inspect").args(["--crop", "32"]));
    assert!(error.contains("--crop cannot be used with a saved model"), "{error}");

    // The same crops without the file give the same result; others replace those of the file.
    let loss = |command: &mut Command, options: &[&str]| {
        let output = run(command.arg("--data").arg(fixture.data()).args(options).arg("--json"));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (report["loss"].as_f64().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (of_file, note) = loss(&mut command("evaluate"), &[]);
    assert_eq!(note, "");
    assert_eq!(loss(&mut command("evaluate"), &options).0, of_file);
    let (other, note) = loss(&mut command("evaluate"), &["--interpolation", "nearest"]);
    assert!(other != of_file && note.contains("pictures: resize 71 (nearest)"), "{note}");
    assert!(note.contains("the file has: resize 71 (bicubic)"), "{note}");

    let report = json(fixture.command("inspect").args(["--crop", "160"]));
    assert_eq!(report["input_shape"], serde_json::json!([1, 3, 160, 160]));
    assert_eq!(report["preprocessing"]["resize"], 182);
    for wrong in [["--std", "0"], ["--mean", "1,2"], ["--crop", "0"], ["--crop-ratio", "2"]] {
        let output = run(fixture.command("bench").args(wrong));
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn networks_that_return_nan_are_errors() {
    let fixture = Fixture::new();
    let mut state = fixture.model.state_dict();
    let mut bias = state.float("classifier.1.bias").unwrap().clone();
    bias.data_mut()[1] = f32::NAN;
    state.insert("classifier.1.bias", StateTensor::Float(bias));
    let weights = fixture.path("nan.safetensors");
    state.save_safetensors(&weights).unwrap();
    let with_weights = |name: &str| {
        let mut command = fixture.command(name);
        command.arg("--weights").arg(&weights);
        command
    };
    let error = fails(with_weights("evaluate").arg("--data").arg(fixture.data()));
    let expected =
        "classifier.1: its output has the value NaN, so the logit of class 1 for picture 0";
    assert!(error.contains(expected), "{error}");
    let picture = fixture.data().join("ant/0.ppm");
    let error = fails(with_weights("classify").arg(&picture));
    assert!(error.contains("ant/0.ppm: classifier.1: its output has the value NaN"), "{error}");
    let mut quantize = with_weights("quantize");
    quantize.arg("--calibrate").arg(fixture.data()).arg("-o").arg(fixture.path("int8"));
    let error = fails(&mut quantize);
    assert!(error.contains("classifier.1") && error.contains("NaN"), "{error}");
    assert!(!fixture.path("int8").exists());
}
