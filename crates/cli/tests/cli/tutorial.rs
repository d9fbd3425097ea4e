//! Tests of `posterize tutorial`.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    fixture::{CLASSES, Fixture},
    support::{fails, fails_with_usage_error, files, posterize, run, succeeds},
};

fn tutorial(fixture: &Fixture) -> Command {
    let mut command = fixture.command("tutorial");
    command
        .arg("--weights")
        .arg(fixture.path("small.safetensors"))
        .arg("--data")
        .arg(fixture.data());
    command.arg("--out").arg(fixture.path("out"));
    command
}

#[test]
fn steps_are_printed_in_order_and_written_to_files() {
    let fixture = Fixture::new();
    let printed = succeeds(&mut tutorial(&fixture));
    let mut rest = printed.as_str();
    for part in [
        "Static quantization of mobilenet_v2, step by step",
        "Evaluation: all 12 pictures of",
        "Calibration: 12 of the evaluated pictures",
        "1. Fuse",
        "features.1, before fusion:\nInvertedResidual(",
        "BatchNorm2d(",
        "features.1, after fusion:\nInvertedResidual(",
        "(0): ConvReLU6_2d(",
        "2. Measure the float network",
        "3. Insert observers",
        "MinMaxObserver(min_val=inf, max_val=-inf)\n",
        "4. ",
        "QuantizedConvReLU6_2d(",
        "5. ",
        "6. ",
        "Summary",
        "int8 recommended",
        "12 pictures are too few to measure accuracy: one picture more or less is 8.33 points.",
        "Written to ",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing: {printed}"));
        rest = &rest[at + part.len()..];
    }
    assert_eq!(files(&fixture.path("out")), ["tutorial.html", "tutorial.md"]);
    let markdown = fs::read_to_string(fixture.path("out/tutorial.md")).unwrap();
    let page = fs::read_to_string(fixture.path("out/tutorial.html")).unwrap();
    for text in ["1. Fuse", "6. Use all 8 bits", "QuantizedConvReLU6_2d(", "| int8 recommended |"] {
        assert!(markdown.contains(text), "{text}");
    }
    for text in ["1. Fuse", "6. Use all 8 bits", "QuantizedConvReLU6_2d(", "<svg ", "</html>"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn json_has_the_table_and_the_calibration() {
    let fixture = Fixture::new();
    let evaluated: Value =
        serde_json::from_str(&succeeds(fixture.evaluate().args(["--json", "--limit", "9"])))
            .unwrap();
    let mut command = tutorial(&fixture);
    command.args(["--json", "--limit", "9", "--seed", "3", "--augment", "--calibrate"]);
    let report: Value =
        serde_json::from_str(&succeeds(command.arg(fixture.path("data/../data")))).unwrap();
    assert_eq!(report["images"], 9);
    assert_eq!(report["calibration"]["pictures"], "evaluated", "the same folder by another name");
    assert_eq!(report["calibration"]["augmented"], true);
    assert_eq!(report["calibration"]["seed"], 3);
    let rows = report["rows"].as_array().unwrap();
    let methods: Vec<&str> = rows.iter().map(|row| row["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["float", "int8 default", "int8 fbgemm", "int8 recommended"]);
    for figure in ["top1", "top5"] {
        assert_eq!(rows[0][figure], evaluated[figure], "{figure}");
    }
    assert_eq!(rows[0]["speedup"], 1.0);
    for row in rows {
        assert!(row["ms_per_image"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["size_mb"].as_f64() <= rows[0]["size_mb"].as_f64(), "{row}");
    }

    let others = fixture.path("others/any");
    fs::create_dir_all(&others).unwrap();
    for number in 0..3 {
        let name = format!("{number}.ppm");
        fs::copy(fixture.data().join("bee").join(&name), others.join(name)).unwrap();
    }
    let mut command = tutorial(&fixture);
    command.arg("--json").arg("--calibrate").arg(fixture.path("others"));
    let report: Value = serde_json::from_str(&succeeds(&mut command)).unwrap();
    assert_eq!(report["calibration"]["pictures"], "others");
    assert_eq!(report["calibration"]["images"], 3);
}

/// Returns `posterize tutorial` offline on the built-in model, with output below `folder`.
fn embedded(folder: &Path) -> Command {
    let mut command = posterize(&folder.join("cache"));
    command.args(["tutorial", "--offline", "--json", "--out"]).arg(folder.join("out"));
    command
}

#[test]
fn without_arguments_it_runs_offline_on_the_built_in_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = embedded(folder.path());
    command.args(["--limit", "500", "--epochs", "3"]).env("TMPDIR", folder.path());
    let report: Value = serde_json::from_str(&succeeds(&mut command)).unwrap();
    assert_eq!(report["model"], "fashion_mobilenet_v2");
    assert_eq!(report["data"], "embedded/val");
    assert_eq!(report["calibration"]["data"], "embedded/train");
    assert_eq!(report["calibration"]["pictures"], "others");
    let rows = report["rows"].as_array().unwrap();
    let methods: Vec<&str> = rows.iter().map(|row| row["method"].as_str().unwrap()).collect();
    let expected =
        ["float", "int8 default", "int8 fbgemm", "int8 recommended", "int8 default, QAT"];
    assert_eq!(methods, expected);
    let top1: Vec<f64> = rows.iter().map(|row| row["top1"].as_f64().unwrap()).collect();
    let [float, default, fbgemm, recommended, trained] = top1[..] else { panic!("{top1:?}") };
    assert!(float > 90.0, "{top1:?}");
    assert!(default < float - 10.0, "per-tensor weights should lose accuracy: {top1:?}");
    assert!(fbgemm > float - 2.0 && recommended > float - 2.0, "{top1:?}");
    assert!(trained > default + 5.0, "training should restore accuracy: {top1:?}");
    let epochs = report["epochs"].as_array().unwrap();
    let best = epochs.iter().map(|epoch| epoch["top1"].as_f64().unwrap()).fold(0.0, f64::max);
    assert_eq!((epochs.len(), best), (3, trained));
    // The pictures were unpacked into TMPDIR, and removed again.
    assert_eq!(files(folder.path()), ["out/tutorial.html", "out/tutorial.md"]);

    let page = fs::read_to_string(folder.path().join("out/tutorial.html")).unwrap();
    let markdown = fs::read_to_string(folder.path().join("out/tutorial.md")).unwrap();
    for text in ["7. Train with fake quantization", "FakeQuantize(", "features.1.conv.0.0"] {
        assert!(page.contains(text) && markdown.contains(text), "{text}");
    }
    assert!(page.contains("<polyline ") && page.contains("class=\"lost\""));
    assert!(markdown.contains("| epoch | loss | train top-1 % | int8 top-1 % |"));
}

#[test]
fn training_is_optional_and_needs_other_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let printed = succeeds(embedded(folder.path()).args(["--limit", "60", "--qat", "none"]));
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 4);
    assert_eq!(report["epochs"].as_array().unwrap().len(), 0);

    let fixture = Fixture::new();
    for same in [false, true] {
        let mut command = tutorial(&fixture);
        if same {
            command.arg("--calibrate").arg(fixture.path("data/."));
        }
        let error = fails_with_usage_error(command.args(["--qat", "recommended"]));
        assert!(error.contains("--qat") && error.contains("pass --calibrate DIR"), "{error}");
    }

    let mut command = tutorial(&fixture);
    command.args(["--qat", "recommended", "--epochs", "1", "--batches", "1", "--lr", "1e-5"]);
    for class in CLASSES {
        let others = fixture.path("others").join(class);
        fs::create_dir_all(&others).unwrap();
        fs::copy(fixture.data().join(class).join("0.ppm"), others.join("0.ppm")).unwrap();
    }
    command.arg("--json").arg("--calibrate").arg(fixture.path("others"));
    let report: Value = serde_json::from_str(&succeeds(&mut command)).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows[4]["method"], "int8 recommended, QAT");
    assert_eq!(report["epochs"][0]["epoch"], 1);
}

#[test]
fn errors_are_found_before_anything_is_measured() {
    let fixture = Fixture::new();
    fs::write(fixture.path("out"), "a file").unwrap();
    let error = fails(&mut tutorial(&fixture));
    assert!(error.contains("out: cannot create: "), "{error}");
    fs::remove_file(fixture.path("out")).unwrap();

    let error = fails(tutorial(&fixture).arg("--calibrate").arg(fixture.path("missing")));
    assert!(error.contains("missing: ") && error.contains("No such file"), "{error}");

    let broken = fixture.path("broken/any");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("0.png"), "no picture").unwrap();
    let output =
        run(tutorial(&fixture).arg("--json").arg("--calibrate").arg(fixture.path("broken")));
    assert_eq!(output.status.code(), Some(3));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("no picture could be decoded (1 skipped"), "{error}");
    assert_eq!(files(&fixture.path("out")), [""; 0]);
}
