//! Tests of `posterize inspect` and `posterize bench`, and of behaviour that all commands share.

use std::process::Stdio;

use serde_json::Value;

use crate::{
    fixture::Fixture,
    support::{fails, fails_with_usage_error, posterize, run, succeeds},
};

const TREES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/logits/trees");

fn inspect(arguments: &[&str]) -> std::process::Command {
    let mut command = posterize(std::path::Path::new("/no/such/cache"));
    command.arg("inspect").args(arguments);
    command
}

fn json(command: &mut std::process::Command) -> Value {
    serde_json::from_str(&succeeds(command.arg("--json"))).unwrap()
}

#[test]
fn the_tree_equals_pytorchs_and_the_totals_equal_torchvisions() {
    let tree = std::fs::read_to_string(format!("{TREES}/mobilenet_v2.txt")).unwrap();
    let report = json(&mut inspect(&["mobilenet_v2"]));
    assert_eq!(report["tree"].as_str().unwrap(), tree.trim_end());
    // torchvision's metadata of MobileNet_V2_Weights: num_params, and _ops of 0.301 billion.
    assert_eq!(report["parameters"], 3_504_872);
    assert_eq!(report["multiply_adds"], 300_774_272);
    assert_eq!(report["input_shape"], serde_json::json!([1, 3, 224, 224]));
    let first = &report["layers"][0];
    assert_eq!(first["name"], "features.0.0");
    assert_eq!(first["type"], "Conv2d");
    assert_eq!(first["output_shape"], serde_json::json!([1, 32, 112, 112]));
    assert_eq!(first["parameters"], 864);
    assert_eq!(first["multiply_adds"], 10_838_016);
    let last = report["layers"].as_array().unwrap().last().unwrap();
    assert_eq!(last["output_shape"], serde_json::json!([1, 1000]));

    let printed = succeeds(&mut inspect(&["mobilenet_v2"]));
    assert!(printed.starts_with(tree.trim_end()), "{printed}");
    let end = "3.50 M parameters, 301 M multiply-adds for one picture of 224 x 224 pixels\n";
    assert!(printed.contains(end), "{printed}");
    let end = "mobilenet_v2: resize 256 (bilinear), centre crop 224, mean [0.485, 0.456, 0.406], \
               std [0.229, 0.224, 0.225]\n";
    assert!(printed.ends_with(end), "{printed}");
    assert!(printed.contains("3,504,872     300,774,272\n"), "{printed}");
}

#[test]
fn a_path_selects_a_module() {
    let tree =
        std::fs::read_to_string(format!("{TREES}/mobilenet_v2_relu_features_1.txt")).unwrap();
    let report = json(&mut inspect(&["mobilenet_v2", "features.1", "--activation", "relu"]));
    assert_eq!(report["tree"].as_str().unwrap(), tree.trim_end());
    assert_eq!(report["layers"].as_array().unwrap().len(), 5);
    assert_eq!(report["parameters"], 896);

    let error = fails(&mut inspect(&["mobilenet_v2", "features.1.conv.7"]));
    assert!(
        error
            .contains("features.1.conv.7: no such module; features.1.conv has the modules 0, 1, 2"),
        "{error}"
    );
}

#[test]
fn fused_layers_are_printed() {
    let name = "mobilenet_v2_relu_fused_features_1_conv.txt";
    let tree = std::fs::read_to_string(format!("{TREES}/{name}")).unwrap();
    let arguments = ["mobilenet_v2", "features.1.conv", "--activation", "relu", "--fused"];
    let report = json(&mut inspect(&arguments));
    assert_eq!(report["fused"], true);
    let types: Vec<&str> = report["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["ConvReLU2d", "Conv2d"]);
    // PyTorch replaces fused modules by Identity; posterize removes them.
    let without = |text: &str| -> String {
        text.lines().filter(|line| !line.contains("Identity()")).map(str::trim).collect()
    };
    assert_eq!(without(report["tree"].as_str().unwrap()), without(&tree));
}

#[test]
fn size_sets_the_input_shape_and_unknown_paths_are_errors() {
    let report = json(&mut inspect(&["resnet18", "--size", "64"]));
    assert_eq!(report["input_shape"], serde_json::json!([1, 3, 64, 64]));
    let error = fails(&mut inspect(&["efficientnet_lite0", "nothing.here"]));
    assert!(error.contains("nothing.here: no such module"), "{error}");
}

#[test]
fn bench_reports_min_median_and_p99() {
    let fixture = Fixture::new();
    let mut command = fixture.command("bench");
    command.args(["--runs", "20", "--batch", "2", "--threads", "1", "--weights"]);
    let report = json(command.arg(fixture.path("small.safetensors")));
    let time = |name: &str| report[name].as_f64().unwrap();
    assert!(0.0 < time("min_ms"));
    assert!(time("min_ms") <= time("median_ms"));
    assert!(time("median_ms") <= time("p99_ms"));
    assert_eq!((&report["batch"], &report["threads"]), (&Value::from(2), &Value::from(1)));
    assert_eq!((&report["runs"], &report["fused"]), (&Value::from(20), &Value::from(true)));
    // Without --weights the weights are random.
    let printed = succeeds(fixture.command("bench").args(["--runs", "1", "--no-fuse"]));
    assert!(printed.lines().nth(2).unwrap().starts_with("mobilenet_v2"), "{printed}");
}

#[test]
fn posterize_isa_chooses_the_instruction_set() {
    let fixture = Fixture::new();
    let mut command = fixture.command("bench");
    command.args(["--runs", "1"]).env("POSTERIZE_ISA", "scalar");
    assert_eq!(json(&mut command)["isa"], "scalar");
    let error = fails_with_usage_error(fixture.command("bench").env("POSTERIZE_ISA", "mmx"));
    assert!(error.contains("POSTERIZE_ISA: unknown instruction set \"mmx\""), "{error}");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    for arguments in [
        &["bench", "mobilenet_v2", "--threads", "0"][..],
        &["evaluate", "mobilenet_v2", "--limit", "-1"],
        &["inspect"],
        &["fetch", "resnet18"],
        &["frobnicate"],
    ] {
        let output = run(posterize(std::path::Path::new("/no/such/cache")).args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: "), "{arguments:?}");
    }
    let error = fails_with_usage_error(inspect(&["mobilenet_v2"]).args(["--width-mult", "0"]));
    assert!(error.contains("width_mult is 0"), "{error}");
    let error = fails_with_usage_error(inspect(&["resnet18"]).args(["--width-mult", "0.5"]));
    assert!(error.contains("resnet18 has no width_mult"), "{error}");
}

/// `posterize inspect … | head -1` ends without an error message when head closes the pipe.
#[test]
fn a_closed_output_pipe_is_not_an_error() {
    let mut command = inspect(&["efficientnet_lite4"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.status.success());
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = inspect(&["mobilenet_v2"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: cannot write to standard output: No space left"), "{error}");
}

#[test]
fn the_tensors_of_a_checkpoint_are_listed_with_the_models_that_they_fit() {
    let fixture = Fixture::new();
    let checkpoints = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/checkpoints");
    let file = format!("{checkpoints}/model_and_ema.pth");
    let report = json(&mut inspect(&[&file]));
    assert_eq!(report["format"], "PyTorch (zip)");
    assert_eq!(report["keys"], serde_json::json!(["model"]));
    assert_eq!(report["averaged"], serde_json::json!(["model_ema"]));
    let tensors = report["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 6);
    let expected = serde_json::json!(
        {"name": "conv.weight", "dtype": "float32", "shape": [2, 3, 2, 2], "bytes": 96}
    );
    assert_eq!(tensors[0], expected);
    assert_eq!(report["bytes"], 96 + 4 * 8 + 8);
    assert_eq!(report["values"], 24 + 4 * 2 + 1);
    assert_eq!(report["fits"], serde_json::json!([]));
    let report = json(inspect(&[&file]).arg("--ema"));
    assert_eq!(report["keys"], serde_json::json!(["model_ema"]));
    let text = succeeds(&mut inspect(&[&file]));
    assert!(text.contains("the file also has weights under `model_ema` (--ema uses"), "{text}");
    assert!(text.contains("those of no built-in model"), "{text}");

    for (name, format) in [
        ("types.pth", "PyTorch (zip)"),
        ("types_legacy.pth", "PyTorch (legacy)"),
        ("types.safetensors", "safetensors"),
    ] {
        let report = json(&mut inspect(&[&format!("{checkpoints}/{name}")]));
        assert_eq!(report["format"], format);
        let tensors = report["tensors"].as_array().unwrap();
        let bf16 = tensors.iter().find(|tensor| tensor["name"] == "bf16").unwrap();
        assert_eq!((&bf16["dtype"], &bf16["bytes"]), (&"bfloat16".into(), &16.into()), "{name}");
    }
    // Its values cannot be read, but listed.
    let report = json(&mut inspect(&[&format!("{checkpoints}/complex.pth")]));
    assert_eq!(report["tensors"][0]["dtype"], "complex64");

    let weights = fixture.path("resnet.safetensors").display().to_string();
    let config = posterize::models::Config { num_classes: 7, ..Default::default() };
    let state = posterize::models::resnet18(&config).unwrap().init(0).state_dict();
    state.save_safetensors(&weights).unwrap();
    let report = json(&mut inspect(&[&weights]));
    assert_eq!(report["fits"], serde_json::json!([{"model": "resnet18", "num_classes": 7}]));
    let text = succeeds(inspect(&[&weights]).arg("fc"));
    assert!(text.starts_with("tensor") && text.contains("fc.weight") && !text.contains("conv1"));
    assert!(text.contains(&format!("`resnet18 --num-classes 7 --weights {weights}`")), "{text}");
    let error = fails_with_usage_error(inspect(&[&weights]).arg("--fused"));
    assert!(error.contains("is a checkpoint"), "{error}");
}
