//! Tests of commands on ONNX files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    fixture::Fixture,
    support::{fails_with_usage_error, posterize, run, succeeds, write_npy},
};

/// A file in testdata/onnx.
fn file(name: &str) -> String {
    format!("{}/../../testdata/onnx/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn command(folder: &Path, name: &str, onnx: &str) -> Command {
    let mut command = posterize(folder);
    command.arg(name).arg(file(onnx));
    command
}

#[test]
fn a_network_runs_on_arrays_and_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    // ReLU and a reshape to [N, 48].
    let x: Vec<f32> = (0..48).map(|index| index as f32 - 24.0).collect();
    let mut y: Vec<f32> = x.iter().map(|value| value.max(0.0)).collect();
    write_npy(&path("x.npy"), "(1, 3, 4, 4)", &x);
    write_npy(&path("y.npy"), "(1, 48)", &y);
    y[30] += 0.5;
    write_npy(&path("wrong.npy"), "(1, 48)", &y);
    write_npy(&path("shape.npy"), "(48,)", &y);

    let with_input = |input: &str| {
        let mut command = command(folder.path(), "run", "flatten_mul.onnx");
        command.arg("--input").arg(path(input));
        command
    };
    let text = succeeds(with_input("x.npy").arg("--expect").arg(path("y.npy")));
    assert!(text.contains("largest difference 0.000e0"), "{text}");

    let output = run(with_input("x.npy").arg("--json").arg("--expect").arg(path("wrong.npy")));
    assert_eq!(output.status.code(), Some(5));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let difference = &report["outputs"][0]["difference"];
    assert_eq!(difference["index"], serde_json::json!([0, 30]));
    assert_eq!((&difference["max_abs"], &report["within"]), (&0.5.into(), &false.into()));
    assert_eq!(
        run(with_input("x.npy").arg("--expect").arg(path("shape.npy"))).status.code(),
        Some(3)
    );
    assert_eq!(run(&mut with_input("y.npy")).status.code(), Some(3));

    // What is written is what is read.
    succeeds(with_input("x.npy").arg("--output").arg(path("found.npy")));
    let text = succeeds(with_input("x.npy").arg("--expect").arg(path("found.npy")));
    assert!(text.contains("0 of 48 values outside"), "{text}");
    let error = fails_with_usage_error(with_input("x.npy").arg("--output").arg(path("x.npy")));
    assert!(error.contains("--output"), "{error}");
}

#[test]
fn unsupported_nodes_have_an_exit_code_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["inspect", "bench", "evaluate"] {
        let output = run(&mut command(folder.path(), name, "unsupported/three.onnx"));
        assert_eq!(output.status.code(), Some(6), "{name}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("2 x Crop") && error.contains("FusedConv"), "{error}");
    }
}

#[test]
fn a_network_is_inspected_and_timed() {
    let folder = tempfile::tempdir().unwrap();
    let text = succeeds(&mut command(folder.path(), "inspect", "u_net.onnx"));
    assert!(text.contains("ConvTranspose2d"), "{text}");
    let json = succeeds(command(folder.path(), "inspect", "conv.onnx").arg("--json"));
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["input_shape"], serde_json::json!([1, 4, 9, 11]));
    succeeds(command(folder.path(), "bench", "conv.onnx").args(["--runs", "2"]));
    // A file that leaves height and width open.
    let mut open = command(folder.path(), "inspect", "unsupported/open_size.onnx");
    assert_eq!(run(&mut open).status.code(), Some(3));
    succeeds(
        command(folder.path(), "inspect", "unsupported/open_size.onnx").args(["--size", "16"]),
    );
}

#[test]
fn commands_on_pictures_ask_how_they_are_normalized() {
    let fixture = Fixture::new();
    let quantize = |onnx: &str| {
        let mut command = command(&fixture.path("cache"), "quantize", onnx);
        command
            .arg("--calibrate")
            .arg(fixture.data())
            .arg("-o")
            .arg(fixture.path("int8.safetensors"));
        command
    };
    let error = fails_with_usage_error(&mut quantize("classifier.onnx"));
    assert!(error.contains("--mean 0.485"), "{error}");
    let error =
        fails_with_usage_error(quantize("conv.onnx").args(["--mean", "0.5", "--std", "0.5"]));
    assert!(error.contains("[N, 4, 9, 11]"), "{error}");

    succeeds(quantize("classifier.onnx").args(["--mean", "0.5", "--std", "0.5"]));
    let evaluate = |model: &Path| {
        let mut command = posterize(&fixture.path("cache"));
        command.args(["inspect", "--json"]).arg(model);
        let report: Value = serde_json::from_str(&succeeds(&mut command)).unwrap();
        report["preprocessing"]["crop"].clone()
    };
    // The file has the preprocessing, so nobody asks again.
    assert_eq!(evaluate(&fixture.path("int8.safetensors")), 16);
    let picture = fs::read_dir(fixture.data()).unwrap().next().unwrap().unwrap().path();
    let picture = fs::read_dir(picture).unwrap().next().unwrap().unwrap().path();
    let mut classify = posterize(&fixture.path("cache"));
    let classify = classify.arg("classify").arg(fixture.path("int8.safetensors")).arg(picture);
    assert!(succeeds(classify).contains('%'));
}

#[test]
fn what_a_file_says_about_its_pictures_is_used_and_saved() {
    let fixture = Fixture::new();
    let int8 = fixture.path("int8.safetensors");
    let quantize = |onnx: &str| {
        let mut command = command(&fixture.path("cache"), "quantize", onnx);
        command.arg("--calibrate").arg(fixture.data()).arg("-o").arg(&int8);
        command
    };
    let inspected = || -> Value {
        let mut command = posterize(&fixture.path("cache"));
        let report: Value =
            serde_json::from_str(&succeeds(command.args(["inspect", "--json"]).arg(&int8)))
                .unwrap();
        report["preprocessing"].clone()
    };
    let near = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() < 1e-4, "{found}, expected {expected}");
    };

    // Bytes, which the graph normalizes.
    succeeds(&mut quantize("pictures/pixels.onnx"));
    let found = inspected();
    assert_eq!(found["crop"], serde_json::json!([12, 16]));
    near(&found["mean"][0], 0.485);
    near(&found["std"][2], 0.225);

    // Metadata, parts of which options replace.
    succeeds(quantize("pictures/metadata.onnx").args(["--interpolation", "bilinear"]));
    let found = inspected();
    assert_eq!(
        (&found["resize"], &found["channels"]),
        (&serde_json::json!([14, 18]), &"bgr".into())
    );
    assert_eq!(found["interpolation"], "bilinear");
    near(&found["std"][2], 0.125);

    // Options for a file that says nothing, and all of them from a file.
    let other = "pictures/other_metadata.onnx";
    let error = fails_with_usage_error(&mut quantize(other));
    assert!(error.contains("12 x 16 pixels") && error.contains("--input-range"), "{error}");
    let caffe = ["--bgr", "--input-range", "0,255", "--mean", "104,117,123"];
    succeeds(quantize(other).args(caffe));
    let found = inspected();
    near(&found["mean"][0], 104.0 / 255.0);
    near(&found["std"][1], 1.0 / 255.0);
    let json = fixture.path("pictures.json");
    fs::write(&json, found.to_string()).unwrap();
    succeeds(quantize(other).arg("--preprocessing").arg(&json));
    assert_eq!(inspected(), found);

    let mut evaluate = posterize(&fixture.path("cache"));
    evaluate.arg("evaluate").arg(&int8).arg("--data").arg(fixture.data());
    let error = fails_with_usage_error(evaluate.args(["--layout", "nhwc"]));
    assert!(error.contains("--layout is for ONNX files"), "{error}");
}

#[test]
fn files_without_a_batch_axis_run_on_arrays_of_their_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    // A column behind the others, and the softmax of each column.
    write_npy(&path("x.npy"), "(2, 2)", &[1.0, 4.0, 1.0, 4.0]);
    write_npy(&path("pads.npy"), "(4,)", &[0.0, 0.0, 0.0, 1.0]);
    write_npy(&path("y.npy"), "(2, 3)", &[0.5; 6]);
    let pads = format!("pads={}", path("pads.npy").display());
    let with_pads = || {
        let mut command = command(folder.path(), "run", "no_batch/pad.onnx");
        command.arg("--input").arg(path("x.npy")).arg("--constant").arg(&pads);
        command
    };
    let text = succeeds(with_pads().arg("--no-batch").arg("--expect").arg(path("y.npy")));
    assert!(text.contains("[2, 3]") && text.contains("0 of 6 values outside"), "{text}");
    // The softmax would go along the batch.
    assert_eq!(run(&mut with_pads()).status.code(), Some(6));

    let mut without_pads = command(folder.path(), "run", "no_batch/pad.onnx");
    let output = run(without_pads.arg("--input").arg(path("x.npy")).arg("--no-batch"));
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains("`pads`"));
    let error =
        fails_with_usage_error(with_pads().arg("--no-batch").arg("--constant").arg(path("y.npy")));
    assert!(error.contains("NAME=FILE"), "{error}");
}

#[test]
fn nan_runs_where_it_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let x = folder.path().join("x.npy");
    let mut values = [1.0; 48];
    values[5] = f32::NAN;
    write_npy(&x, "(1, 3, 4, 4)", &values);
    let run_of = |option: &[&str]| {
        let mut command = command(folder.path(), "run", "flatten_mul.onnx");
        run(command.arg("--input").arg(&x).args(option)).status.code()
    };
    assert_eq!(run_of(&["--allow-nan"]), Some(0));
    assert_ne!(run_of(&[]), Some(0));
}

#[test]
fn networks_of_other_inputs_are_calibrated_with_arrays() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let count = 5 * 4 * 9 * 11;
    let x: Vec<f32> = (0..count).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    write_npy(&path("x.npy"), "(5, 4, 9, 11)", &x);
    write_npy(&path("flat.npy"), "(5, 396)", &x);
    let quantize = |arrays: &str| {
        let mut command = command(folder.path(), "quantize", "conv.onnx");
        command.arg("--calibrate-arrays").arg(path(arrays)).arg("-o").arg(path("int8.safetensors"));
        command
    };
    let error = run(&mut quantize("flat.npy"));
    assert_eq!(error.status.code(), Some(3));
    let error = String::from_utf8(error.stderr).unwrap();
    assert!(error.contains("flat.npy") && error.contains("[1, 4, 9, 11]"), "{error}");
    let report: Value =
        serde_json::from_str(&succeeds(quantize("x.npy").args(["--batch-size", "2", "--json"])))
            .unwrap();
    assert_eq!((&report["mode"], &report["samples"]), (&"arrays".into(), &5.into()));
    assert_eq!(report["float_layers"], serde_json::json!([]));

    let run_on_x = |model: &Path| {
        let mut command = posterize(folder.path());
        command.arg("run").arg(model).arg("--input").arg(path("x.npy"));
        command
    };
    let float = PathBuf::from(file("conv.onnx"));
    succeeds(run_on_x(&float).arg("--output").arg(path("y.npz")));
    let same = succeeds(run_on_x(&float).arg("--expect").arg(path("y.npz")));
    assert!(same.contains("largest difference 0.000e0"), "{same}");
    let int8 = path("int8.safetensors");
    let output = run(run_on_x(&int8).arg("--json").arg("--expect").arg(path("y.npz")));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sqnr = report["outputs"][0]["difference"]["sqnr_db"].as_f64().unwrap();
    assert!((25.0..60.0).contains(&sqnr), "{sqnr} dB");

    // The network is cut at a value of the file.
    let node = "t1";
    let mut cut = quantize("x.npy");
    succeeds(cut.args(["--outputs", node]));
    let text = succeeds(&mut run_on_x(&int8));
    assert!(text.starts_with(node), "{text}");
    let error = fails_with_usage_error(
        posterize(folder.path()).args(["inspect"]).arg(&int8).args(["--outputs", node]),
    );
    assert!(error.contains("--outputs is for ONNX files"), "{error}");
}

#[test]
fn unsupported_nodes_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let inspect = |onnx: &str| {
        let mut command = command(folder.path(), "inspect", onnx);
        command.arg("--unsupported");
        command
    };
    let text = succeeds(&mut inspect("conv.onnx"));
    assert!(text.contains("all nodes are supported"), "{text}");
    let output = run(inspect("unsupported/three.onnx").arg("--json"));
    assert_eq!(output.status.code(), Some(6));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &report["unsupported"][0];
    assert_eq!((&first["op_type"], &first["count"]), (&"Crop".into(), &2.into()));
    let text = String::from_utf8(run(&mut inspect("unsupported/three.onnx")).stdout).unwrap();
    assert!(text.contains("com.microsoft") && text.contains("crop_a"), "{text}");
}
