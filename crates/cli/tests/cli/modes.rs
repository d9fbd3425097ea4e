//! Tests the quantization that needs no calibration pictures, and 7-bit activations.

use std::{path::Path, process::Command};

use posterize::{format::SavedModel, quantization::QuantizedModel};
use serde_json::Value;

use crate::{
    fixture::{CLASSES, Fixture},
    support::{fails_with_usage_error, posterize, succeeds},
};

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeeds(command.arg("--json"))).unwrap()
}

/// Returns `posterize COMMAND FILE`.
fn of_file(fixture: &Fixture, command: &str, file: &Path) -> Command {
    let mut posterize = posterize(&fixture.path("cache"));
    posterize.arg(command).arg(file);
    posterize
}

/// Returns `posterize quantize` with the small network.
fn command(fixture: &Fixture) -> Command {
    let mut command = fixture.command("quantize");
    command.arg("--weights").arg(fixture.path("small.safetensors"));
    command
}

/// Quantizes the small network without pictures, and returns the report.
fn quantize(fixture: &Fixture, mode: &str, output: &Path) -> Value {
    let classes = fixture.path("names.txt");
    std::fs::write(&classes, CLASSES.join("\n")).unwrap();
    let mut command = command(fixture);
    json(command.arg(mode).arg("--classes").arg(classes).arg("-o").arg(output))
}

#[test]
fn every_command_takes_what_was_quantized_without_pictures() {
    let fixture = Fixture::new();
    let picture = fixture.data().join("bee/1.ppm");
    for (mode, precision, layers) in [
        ("--dynamic", "int8 dynamic", [1, 1]),
        ("--weight-only", "int8 weights", [0, 53]),
        ("--no-pictures", "int8", [53, 1]),
    ] {
        let file = fixture.path("out.safetensors");
        let report = quantize(&fixture, mode, &file);
        assert_eq!(report["mode"], mode.trim_start_matches('-').replace('-', "_"));
        let found = ["int8_layers", "int8_weights"].map(|key| report[key].as_u64().unwrap());
        assert_eq!(found, layers, "{mode}");
        assert_eq!(report["classes"], CLASSES.len());
        let (before, after) = (&report["float_bytes"], &report["int8_bytes"]);
        assert!(after.as_u64().unwrap() < before.as_u64().unwrap(), "{mode}: {report}");
        assert_eq!(report["ranges"].is_array(), mode == "--no-pictures", "{report}");

        let data = fixture.data();
        let report = json(of_file(&fixture, "evaluate", &file).arg("--data").arg(&data));
        assert_eq!((&report["precision"], &report["images"]), (&precision.into(), &12.into()));
        let report = json(of_file(&fixture, "classify", &file).arg(&picture));
        let name = report["pictures"][0]["classes"][0]["name"].as_str().unwrap().to_owned();
        assert!(CLASSES.contains(&name.as_str()));
        let report = json(of_file(&fixture, "bench", &file).args(["--runs", "1", "--per-layer"]));
        assert!(report.to_string().contains("classifier.1"), "{report}");
        let report = json(&mut of_file(&fixture, "inspect", &file));
        let classifier = |layer: &&Value| layer["name"] == "classifier.1";
        let layer = report["layers"].as_array().unwrap().iter().find(classifier).unwrap();
        assert!(layer["weight_scale"].is_array() && layer["scale"].is_null(), "{layer}");
        assert!(report["tree"].as_str().unwrap().contains("torch.qint8"), "{report}");
        json(of_file(&fixture, "inspect", &file).arg("--plan"));
        let mut against = of_file(&fixture, "inspect", &file);
        against.arg("--against").arg(fixture.path("small.safetensors")).arg("--data").arg(&data);
        let layers = json(&mut against)["layers"].as_array().unwrap().len();
        assert!(layers > 50, "{layers}");
        let page = fixture.path("report.html");
        let mut report = of_file(&fixture, "report", &file);
        report.arg("--against").arg(fixture.path("small.safetensors")).arg("--data").arg(&data);
        json(report.arg("-o").arg(page));
    }
}

#[test]
fn the_text_says_what_a_mode_costs() {
    let fixture = Fixture::new();
    for (mode, said) in [
        ("--dynamic", "Only linear layers compute in int8"),
        ("--weight-only", "the model runs in float, at the speed of float"),
        ("--no-pictures", "The ranges were not observed but estimated from the statistics"),
    ] {
        let mut command = command(&fixture);
        command.arg(mode).arg("-o").arg(fixture.path("out.safetensors"));
        let text = succeeds(&mut command);
        assert!(text.contains(said) && text.contains("it has no class names"), "{text}");
    }
}

#[test]
fn options_that_need_pictures_are_refused_without_them() {
    let fixture = Fixture::new();
    let refused = |options: &[&str]| {
        let mut command = command(&fixture);
        command.args(options).arg("-o").arg(fixture.path("out.safetensors"));
        fails_with_usage_error_of_clap(&mut command)
    };
    assert!(refused(&[]).contains("--calibrate <PATH>"));
    for options in [
        &["--dynamic", "--calibrate", "photos"][..],
        &["--weight-only", "--rounding", "nearest"],
        &["--no-pictures", "--equalize", "never"],
        &["--no-pictures", "--observer", "mse"],
        &["--dynamic", "--reduce-range"],
        &["--dynamic", "--weight-only"],
        &["--no-pictures", "--dynamic"],
        &["--no-pictures", "--ranges", "ranges.json"],
        &["--dynamic", "--save-ranges", "ranges.json"],
    ] {
        let error = refused(options);
        assert!(error.contains("cannot be used with"), "{options:?}: {error}");
    }
    let mut command = command(&fixture);
    command.args(["--no-pictures", "--bias-correction", "empirical", "-o"]);
    let error = fails_with_usage_error(command.arg(fixture.path("out.safetensors")));
    assert!(error.contains("--bias-correction empirical needs pictures"), "{error}");
}

/// Returns what clap prints about wrong arguments.
fn fails_with_usage_error_of_clap(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn activations_of_7_bits_have_the_scales_of_127_steps() {
    let fixture = Fixture::new();
    let file = |name: &str| fixture.path(name);
    let quantize = |options: &[&str], output: &Path| {
        let mut command = command(&fixture);
        command.args(["--calibrate"]).arg(fixture.data()).args(["--batches", "1"]);
        command.args(["--observer", "min-max", "--equalize", "never"]).args(options);
        json(command.arg("-o").arg(output))
    };
    let (full, reduced, recipe) =
        (file("full.safetensors"), file("reduced.safetensors"), file("recipe.json"));
    quantize(&[], &full);
    let saving = ["--reduce-range", "--save-recipe", recipe.to_str().unwrap()];
    let report = quantize(&saving, &reduced);
    let open = |path: &Path| QuantizedModel::open(path).unwrap();
    let (full, saved) = (open(&full), open(&reduced));
    let mut compared = 0;
    for (id, _) in full.graph().iter() {
        let (Some(wide), Some(narrow)) = (full.qparams(id), saved.qparams(id)) else { continue };
        if wide.scale < 1e-5 {
            // The values of deep layers of a random network almost vanish; their scale is the smallest.
            continue;
        }
        let ratio = narrow.scale / wide.scale;
        assert!((ratio - 255.0 / 127.0).abs() < 1e-4, "{ratio}");
        assert!(narrow.zero_point <= 127);
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
    let activations = |model: &QuantizedModel| {
        let qconfig = model.mapping().qconfigs().next().unwrap().clone();
        qconfig.activation.target().unwrap().quant_range()
    };
    assert_eq!((activations(&full), activations(&saved)), ((0, 255), (0, 127)));
    let range = &report["ranges"][1];
    let width = range["max"].as_f64().unwrap() - range["min"].as_f64().unwrap().min(0.0);
    assert!((range["scale"].as_f64().unwrap() - width / 127.0).abs() < 1e-6, "{range}");
    // The recipe repeats it.
    let again = file("again.safetensors");
    let mut command = command(&fixture);
    command.args(["--calibrate"]).arg(fixture.data()).arg("--recipe").arg(&recipe);
    json(command.arg("-o").arg(&again));
    let bytes = |path: &Path| SavedModel::open(path).unwrap().to_bytes().unwrap();
    assert_eq!(bytes(&again), bytes(&reduced));
}
