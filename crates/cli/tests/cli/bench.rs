//! Tests of `posterize bench --per-layer` and `--compare`, and of `posterize inspect --plan`.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    fixture::Fixture,
    support::{fails, fails_with_usage_error, posterize, succeeds},
};

fn json_of(command: &mut Command) -> Value {
    serde_json::from_str(&succeeds(command.arg("--json"))).unwrap()
}

fn quick(command: &mut Command) -> &mut Command {
    command.args(["--runs", "5", "--threads", "1"])
}

#[test]
fn per_layer_reports_time_and_part_of_the_peak() {
    let fixture = Fixture::new();
    let file = fixture.int8();
    let bench = || {
        let mut command = fixture.with_file("bench", &file);
        command.arg("--per-layer");
        command
    };
    let report = json_of(quick(&mut bench()));
    let layers = report["per_layer"]["layers"].as_array().unwrap();
    let shares: f64 = layers.iter().map(|layer| layer["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    let scalar = report["isa"] == "scalar";
    for layer in layers {
        assert!(layer["seconds"].as_f64().unwrap() > 0.0, "{layer}");
        let multiplies = layer["multiply_adds"].as_u64().unwrap() > 0;
        assert_eq!(layer["of_peak"].is_number(), multiplies && !scalar, "{layer}");
    }
    let layer = |name| layers.iter().find(|layer| layer["name"] == name).unwrap();
    assert_eq!(layer("classifier.1")["multiply_adds"], 1280 * 3);
    // It multiplies int8 values, and its output is float.
    let classifier = layer("classifier.1");
    assert_eq!(classifier["precision"], "int8 dynamic");
    assert_eq!(classifier["kernel"], "int8_dynamic_linear");
    assert_eq!(layer("features.18.0")["precision"], "int8");
    let peaks = report["per_layer"]["peaks"].as_array().unwrap();
    assert_eq!(peaks.is_empty(), scalar);
    assert!(peaks.iter().all(|peak| peak["multiply_adds_per_second"].as_f64().unwrap() > 1e8));

    let printed = succeeds(quick(&mut bench()));
    assert!(printed.contains("▏features"), "{printed}");
    assert!(printed.contains("classifier.1 "), "{printed}");
    assert!(printed.contains("█"), "{printed}");
    // Scalar code has no peak, because its instructions depend on the compiler.
    let mut command = bench();
    let report = json_of(quick(&mut command).env("POSTERIZE_ISA", "scalar"));
    assert_eq!(report["per_layer"]["peaks"], json!([]));
}

#[test]
fn compare_reports_the_ratio_of_times() {
    let fixture = Fixture::new();
    let file = fixture.int8();
    let mut command = fixture.command("bench");
    let report = json_of(quick(command.arg("--compare").arg(&file)));
    assert_eq!(report["precision"], "float32");
    let compared = &report["compared"];
    assert_eq!(compared["other"]["precision"], "int8");
    let ratio = |name: &str| compared["ratio"][name].as_f64().unwrap();
    let order = ["min", "lower_quartile", "median", "upper_quartile", "max"].map(ratio);
    assert!(order[0] > 0.0 && order.is_sorted(), "{order:?}");
    assert_eq!(compared["ratio"]["pairs"], 5);

    // A saved model compared with an architecture.
    let mut command = fixture.with_file("bench", &file);
    command.args(["--compare", "mobilenet_v2", "--input", "pixels"]);
    let printed = succeeds(quick(&mut command));
    assert!(
        printed.contains(" times as long as mobilenet_v2 (float32): median of 5 pairs"),
        "{printed}"
    );
    assert_eq!(printed.lines().count(), 6, "{printed}");

    let mut command = fixture.with_file("bench", &file);
    let error = fails(command.args(["--compare", "none.safetensors"]));
    assert!(error.contains("none.safetensors: cannot open"), "{error}");
    let mut command = fixture.with_file("bench", &file);
    let error = fails_with_usage_error(command.args(["--compare", "mobilenet_v9"]));
    assert!(error.contains("mobilenet_v9"), "{error}");
}

#[test]
fn plan_reports_where_outputs_are_in_memory() {
    let fixture = Fixture::new();
    let file = fixture.int8();
    let plan = |batch: &str| {
        let mut command = fixture.with_file("inspect", &file);
        json_of(command.args(["--plan", "--batch", batch, "--threads", "1"]))
    };
    let report = plan("1");
    assert_eq!(report["input_shape"], json!([1, 3, 224, 224]));
    let steps = report["steps"].as_array().unwrap();
    let arena = |precision: &str| report[format!("{precision}_bytes")].as_u64().unwrap();
    let layers: Vec<&str> = steps
        .iter()
        .flat_map(|s| s["layers"].as_array().unwrap())
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(layers[..2], ["quant", "features.0.0"]);
    assert_eq!(*layers.last().unwrap(), "classifier.1");
    for step in steps {
        let shape = step["output_shape"].as_array().unwrap();
        let values: u64 = shape.iter().map(|size| size.as_u64().unwrap()).product();
        let int8 = step["precision"] == "int8";
        let bytes = step["bytes"].as_u64().unwrap();
        assert_eq!(bytes, if int8 { values } else { 4 * values });
        let end = step["offset"].as_u64().unwrap() + bytes;
        assert!(end <= arena(if int8 { "int8" } else { "float" }), "{step}");
    }
    // A step reads the output of the step before it, so the two must not overlap.
    for pair in steps.windows(2).filter(|pair| pair[0]["precision"] == pair[1]["precision"]) {
        let range = |step: &Value| {
            let start = step["offset"].as_u64().unwrap();
            start..start + step["bytes"].as_u64().unwrap()
        };
        let (a, b) = (range(&pair[0]), range(&pair[1]));
        assert!(a.end <= b.start || b.end <= a.start, "{pair:?}");
    }
    let total = report["activation_bytes"].as_u64().unwrap();
    let sum = arena("float") + arena("int8") + report["scratch_bytes"].as_u64().unwrap();
    assert_eq!(total, sum);
    assert_eq!(plan("3")["int8_bytes"].as_u64().unwrap(), 3 * arena("int8"));

    let mut command = fixture.command("inspect");
    let printed =
        succeeds(command.args(["features.2", "--plan", "--size", "64", "--threads", "1"]));
    assert!(printed.contains("features.2.conv"), "{printed}");
    assert!(!printed.contains("features.3"), "{printed}");
    assert!(printed.contains("for an input of [1, 3, 64, 64]"), "{printed}");
    let mut command = posterize(&fixture.path("cache"));
    let error = fails(command.args(["inspect", "mobilenet_v2", "no.such", "--plan"]));
    assert!(error.contains("no.such: no such module"), "{error}");
}
