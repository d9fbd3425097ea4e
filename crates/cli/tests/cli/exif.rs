//! Tests of `--exif` and `--no-exif`, with pictures that are the same but for their orientation.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    fixture::Fixture,
    support::{posterize, run, succeeds},
};

const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/exif/pictures");

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeeds(command.arg("--json"))).unwrap()
}

/// The probabilities that the small network gives pictures.
fn probabilities(fixture: &Fixture, pictures: &[&str], options: &[&str]) -> Vec<Value> {
    let mut command = fixture.command("classify");
    command.arg("--weights").arg(fixture.path("small.safetensors")).args(options);
    command.args(pictures.iter().map(|name| Path::new(PICTURES).join(name)));
    let report = json(&mut command);
    report["pictures"].as_array().unwrap().iter().map(|found| found["classes"].clone()).collect()
}

#[test]
fn classify_turns_pictures_upright_unless_it_is_told_not_to() {
    let fixture = Fixture::new();
    let found = probabilities(&fixture, &["none.jpg", "jpeg_6.jpg"], &[]);
    assert_ne!(found[0], found[1]);
    let found = probabilities(&fixture, &["none.jpg", "jpeg_6.jpg"], &["--no-exif"]);
    assert_eq!(found[0], found[1]);
    // Also from standard input.
    let upright = probabilities(&fixture, &["jpeg_6.jpg"], &[]);
    let mut command = fixture.command("classify");
    command.arg("--weights").arg(fixture.path("small.safetensors")).arg("-");
    command.stdin(fs::File::open(Path::new(PICTURES).join("jpeg_6.jpg")).unwrap());
    assert_eq!(json(&mut command)["pictures"][0]["classes"], upright[0]);
}

/// Returns a folder of the pictures with one name for each class, and what a command finds on it with and
/// without `--exif`.
fn with_and_without(name: &str, found: impl Fn(&Fixture, &Path, &[&str]) -> Value) -> [Value; 2] {
    let fixture = Fixture::new();
    let data = fixture.path("turned");
    for class in crate::fixture::CLASSES {
        fs::create_dir_all(data.join(class)).unwrap();
        fs::copy(Path::new(PICTURES).join(name), data.join(class).join("0.jpg")).unwrap();
    }
    [found(&fixture, &data, &["--exif"]), found(&fixture, &data, &[])]
}

fn differs_only_if_turned(found: impl Fn(&Fixture, &Path, &[&str]) -> Value) {
    let [upright, plain] = with_and_without("none.jpg", &found);
    assert_eq!(upright, plain);
    let [turned, ignored] = with_and_without("jpeg_6.jpg", &found);
    assert_eq!(ignored, plain);
    assert_ne!(turned, ignored);
}

#[test]
fn evaluate_turns_pictures_only_with_exif() {
    differs_only_if_turned(|fixture, data, options| {
        let mut command = fixture.command("evaluate");
        command.arg("--weights").arg(fixture.path("small.safetensors")).arg("--data").arg(data);
        json(command.args(options))["loss"].clone()
    });
}

#[test]
fn quantize_and_inspect_turn_pictures_only_with_exif() {
    differs_only_if_turned(|fixture, data, options| {
        let mut command = fixture.command("quantize");
        command.arg("--weights").arg(fixture.path("small.safetensors")).args(options);
        command.arg("--calibrate").arg(data).arg("-o").arg(fixture.path("int8.safetensors"));
        json(&mut command)["ranges"].clone()
    });
    differs_only_if_turned(|fixture, data, options| {
        let int8 = fixture.path("int8.safetensors");
        let mut quantize = fixture.command("quantize");
        quantize.arg("--weights").arg(fixture.path("small.safetensors"));
        succeeds(quantize.arg("--calibrate").arg(fixture.data()).arg("-o").arg(&int8));
        let mut inspect = posterize(&fixture.path("cache"));
        inspect.arg("inspect").arg(&int8).arg("--against").arg(fixture.path("small.safetensors"));
        inspect.arg("--data").arg(data).args(options);
        json(&mut inspect)["layers"].clone()
    });
}

#[test]
fn train_turns_pictures_only_with_exif() {
    differs_only_if_turned(|fixture, data, options| {
        let mut command = fixture.command("train");
        command.arg("--weights").arg(fixture.path("small.safetensors")).args(options);
        command.arg("--data").arg(data).arg("--val").arg(data).args(["--augment", "none"]);
        command.args(["--overwrite", "--epochs", "1", "--batches", "1", "-o"]);
        let output = run(command.arg(fixture.path("out.safetensors")).arg("--json"));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success(), "{report}");
        let epoch = &report["epochs"][0];
        serde_json::json!([epoch["train_loss"], epoch["val_loss"]])
    });
}
