//! Tests of errors with `--json`.

use std::{fs, process::Command};

use posterize::{
    Architecture,
    data::Preprocessing,
    format::SavedModel,
    nn::Sequential,
    ops::{AdaptiveAvgPool2d, Flatten, MaxPool2d},
};
use serde_json::{Value, json};

use crate::{
    fixture::Fixture,
    support::{posterize, run},
};

/// Runs a command with `--json`, which must print one object with an error. Returns the error, and what is
/// printed on stderr.
#[track_caller]
fn error(command: &mut Command) -> (Value, String) {
    let output = run(command.arg("--json"));
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(object.as_object().unwrap().len(), 1, "{object}");
    let error = object["error"].clone();
    assert_eq!(error["exit_code"], json!(output.status.code()), "{error}");
    (error, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn errors_are_one_object_with_the_fields_that_are_known() {
    let fixture = Fixture::new();
    let inspect = |weights: &str| {
        let mut command = fixture.command("inspect");
        command.arg("--weights").arg(fixture.path(weights));
        command
    };
    let path = |name: &str| fixture.path(name).to_str().unwrap().to_owned();

    let (missing, stderr) = error(&mut inspect("missing.pth"));
    assert_eq!((&missing["kind"], &missing["exit_code"]), (&json!("io"), &json!(4)));
    assert_eq!(missing["path"], path("missing.pth"));
    // The message is also printed as text.
    assert_eq!(stderr, format!("error: {}\n", missing["message"].as_str().unwrap()));
    assert!(missing.get("layer").is_none() && missing.get("hint").is_none(), "{missing}");

    fs::write(fixture.path("damaged.pth"), "no checkpoint").unwrap();
    let (damaged, _) = error(&mut inspect("damaged.pth"));
    assert_eq!((&damaged["kind"], &damaged["exit_code"]), (&json!("corrupt_file"), &json!(3)));

    let mut other = posterize(&fixture.path("cache"));
    other.args(["inspect", "resnet18", "--weights"]).arg(fixture.path("small.safetensors"));
    let (other, _) = error(&mut other);
    assert_eq!(other["kind"], "state_dict_mismatch");
    assert_eq!(other["path"], path("small.safetensors"));

    let (module, _) = error(inspect("small.safetensors").arg("features.99"));
    assert_eq!(
        (&module["kind"], &module["layer"]),
        (&json!("invalid_layer"), &json!("features.99"))
    );

    let (offline, _) =
        error(posterize(&fixture.path("cache")).args(["fetch", "mobilenet_v2", "--offline"]));
    assert_eq!((&offline["kind"], &offline["exit_code"]), (&json!("network"), &json!(4)));
    assert!(offline["hint"].as_str().unwrap().starts_with("download https://"), "{offline}");
}

#[test]
fn wrong_arguments_are_an_object_too() {
    let fixture = Fixture::new();
    for (arguments, message, hint) in [
        (
            &["inspect", "--weigths", "w.pth"][..],
            "unexpected argument '--weigths' found",
            "'--weights'",
        ),
        (&["quantise"], "unrecognized subcommand 'quantise'", "'quantize'"),
        (&[], "'posterize' requires a subcommand", "--help"),
        (&["inspect", "vgg16"], "found no model `vgg16`", ""),
    ] {
        let (error, stderr) = error(posterize(&fixture.path("cache")).args(arguments));
        assert_eq!(error["exit_code"], 2, "{error}");
        let found = error["message"].as_str().unwrap();
        assert!(found.starts_with(message) && !found.contains('\u{1b}'), "{error}");
        assert!(error["hint"].as_str().unwrap_or_default().contains(hint), "{error}");
        assert!(!stderr.is_empty());
    }
    // What follows `--` is no option, and without the option there is no object.
    let output = run(posterize(&fixture.path("cache")).args(["inspect", "--no", "--", "--json"]));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
}

/// Of the pictures of `classify`, some may fail; then the result is the one object.
#[test]
fn a_result_that_was_printed_is_the_only_object() {
    let fixture = Fixture::new();
    let mut command = fixture.command("classify");
    command.arg("--weights").arg(fixture.path("small.safetensors")).arg("--json");
    let output = run(command.arg(fixture.path("missing.jpg")));
    assert_eq!(output.status.code(), Some(3));
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(object["failed"].as_array().unwrap().len(), 1, "{object}");
}

/// With `-o /dev/stdout` the file is on stdout, so the object is on stderr.
#[cfg(target_os = "linux")]
#[test]
fn errors_are_not_mixed_with_a_file_on_stdout() {
    let fixture = Fixture::new();
    let mut command = fixture.command("quantize");
    command.arg("--weights").arg(fixture.path("missing.pth"));
    command.arg("--calibrate").arg(fixture.data()).args(["-o", "/dev/stdout", "--json"]);
    let output = run(&mut command);
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let object: Value = serde_json::from_str(stderr.lines().next().unwrap()).unwrap();
    assert_eq!(object["error"]["kind"], "io");
}

#[test]
fn a_model_above_the_limits_is_an_error_with_the_file_and_the_layer() {
    let fixture = Fixture::new();
    let file = fixture.path("large.safetensors");
    let large = Preprocessing::imagenet().with_sizes(1024, 1024);
    // 3 million maxima of a million values each.
    let net = Sequential::new()
        .then(MaxPool2d::new(1001).stride(1).padding(500))
        .then(AdaptiveAvgPool2d::new([1, 1]))
        .then(Flatten);
    SavedModel::new(Architecture::trace(&net).unwrap().init(0))
        .with_preprocessing(large)
        .save(&file)
        .unwrap();
    let picture = fixture.data().join("bee/1.ppm");
    for picture in [None, Some(&picture)] {
        let mut command = posterize(&fixture.path("cache"));
        command.arg(if picture.is_some() { "classify" } else { "bench" }).arg(&file).args(picture);
        let (error, _) = error(&mut command);
        assert_eq!((&error["kind"], &error["exit_code"]), (&json!("limit_exceeded"), &json!(1)));
        assert_eq!((&error["path"], &error["layer"]), (&json!(file), &json!("0")), "{error}");
        let start = format!("{}: 0: ", file.display());
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(&start) && message.contains("smaller pictures"), "{message}");
    }
}
