//! `posterize tutorial`.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    scene::{CLASSES, Scene},
    support::{fails, files, misused, posterize, run, succeeds},
};

fn tutorial(scene: &Scene) -> Command {
    let mut command = scene.command("tutorial");
    command.arg("--weights").arg(scene.path("small.safetensors")).arg("--data").arg(scene.data());
    command.arg("--out").arg(scene.path("out"));
    command
}

#[test]
fn the_story_is_told_in_order_and_written_down() {
    let scene = Scene::new();
    let told = succeeds(&mut tutorial(&scene));
    let mut rest = told.as_str();
    for part in [
        "Static quantization of mobilenet_v2, step by step",
        "Evaluated on all 12 pictures of",
        "Calibrated on 12 of the same pictures",
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
        "12 pictures show the procedure, not the accuracy: one picture more or less is 8.33 points.",
        "Written: ",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("no {part:?} in its place: {told}"));
        rest = &rest[at + part.len()..];
    }
    assert_eq!(files(&scene.path("out")), ["tutorial.html", "tutorial.md"]);
    let markdown = fs::read_to_string(scene.path("out/tutorial.md")).unwrap();
    let page = fs::read_to_string(scene.path("out/tutorial.html")).unwrap();
    for text in ["1. Fuse", "6. All 8 bits", "QuantizedConvReLU6_2d(", "| int8 recommended |"] {
        assert!(markdown.contains(text), "{text}");
    }
    for text in ["1. Fuse", "6. All 8 bits", "QuantizedConvReLU6_2d(", "<svg ", "</html>"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn json_has_the_table_and_says_what_calibrated() {
    let scene = Scene::new();
    let evaluated: Value =
        serde_json::from_str(&succeeds(scene.evaluate().args(["--json", "--limit", "9"]))).unwrap();
    let mut command = tutorial(&scene);
    command.args(["--json", "--limit", "9", "--seed", "3", "--augment", "--calibrate"]);
    let report: Value =
        serde_json::from_str(&succeeds(command.arg(scene.path("data/../data")))).unwrap();
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

    let others = scene.path("others/any");
    fs::create_dir_all(&others).unwrap();
    for number in 0..3 {
        let name = format!("{number}.ppm");
        fs::copy(scene.data().join("bee").join(&name), others.join(name)).unwrap();
    }
    let mut command = tutorial(&scene);
    command.arg("--json").arg("--calibrate").arg(scene.path("others"));
    let report: Value = serde_json::from_str(&succeeds(&mut command)).unwrap();
    assert_eq!(report["calibration"]["pictures"], "others");
    assert_eq!(report["calibration"]["images"], 3);
}

/// The embedded network with little training, in a folder of its own.
fn embedded(folder: &Path) -> Command {
    let mut command = posterize(&folder.join("cache"));
    command.args(["tutorial", "--offline", "--json", "--out"]).arg(folder.join("out"));
    command
}

#[test]
fn without_arguments_it_is_told_offline_on_what_the_program_carries() {
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
    assert!(default < float - 10.0, "one scale for a weight hurts: {top1:?}");
    assert!(fbgemm > float - 2.0 && recommended > float - 2.0, "{top1:?}");
    assert!(trained > default + 5.0, "training heals: {top1:?}");
    let epochs = report["epochs"].as_array().unwrap();
    let best = epochs.iter().map(|epoch| epoch["top1"].as_f64().unwrap()).fold(0.0, f64::max);
    assert_eq!((epochs.len(), best), (3, trained));
    // The pictures were unpacked there, and removed again.
    assert_eq!(files(folder.path()), ["out/tutorial.html", "out/tutorial.md"]);

    let page = fs::read_to_string(folder.path().join("out/tutorial.html")).unwrap();
    let markdown = fs::read_to_string(folder.path().join("out/tutorial.md")).unwrap();
    for text in ["7. Train with fake quantization", "FakeQuantize(", "features.1.conv.0.0"] {
        assert!(page.contains(text) && markdown.contains(text), "{text}");
    }
    assert!(page.contains("<polyline ") && page.contains("class=\"lost\""));
    assert!(markdown.contains("| epoch | loss | training top-1 % | int8 top-1 % |"));
}

#[test]
fn training_is_left_out_or_chosen_and_needs_pictures_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let told = succeeds(embedded(folder.path()).args(["--limit", "60", "--qat", "none"]));
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 4);
    assert_eq!(report["epochs"].as_array().unwrap().len(), 0);

    let scene = Scene::new();
    for same in [false, true] {
        let mut command = tutorial(&scene);
        if same {
            command.arg("--calibrate").arg(scene.path("data/."));
        }
        let error = misused(command.args(["--qat", "recommended"]));
        assert!(error.contains("--qat") && error.contains("pass --calibrate DIR"), "{error}");
    }

    let mut command = tutorial(&scene);
    command.args(["--qat", "recommended", "--epochs", "1", "--batches", "1", "--lr", "1e-5"]);
    for class in CLASSES {
        let others = scene.path("others").join(class);
        fs::create_dir_all(&others).unwrap();
        fs::copy(scene.data().join(class).join("0.ppm"), others.join("0.ppm")).unwrap();
    }
    command.arg("--json").arg("--calibrate").arg(scene.path("others"));
    let report: Value = serde_json::from_str(&succeeds(&mut command)).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows[4]["method"], "int8 recommended, QAT");
    assert_eq!(report["epochs"][0]["epoch"], 1);
}

#[test]
fn what_cannot_be_told_is_known_before_it_is_measured() {
    let scene = Scene::new();
    fs::write(scene.path("out"), "a file").unwrap();
    let error = fails(&mut tutorial(&scene));
    assert!(error.contains("out: cannot create: "), "{error}");
    fs::remove_file(scene.path("out")).unwrap();

    let error = fails(tutorial(&scene).arg("--calibrate").arg(scene.path("missing")));
    assert!(error.contains("missing: ") && error.contains("No such file"), "{error}");

    let broken = scene.path("broken/any");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("0.png"), "no picture").unwrap();
    let output = run(tutorial(&scene).arg("--json").arg("--calibrate").arg(scene.path("broken")));
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("none of its pictures could be decoded (1 tried)"), "{error}");
    assert_eq!(files(&scene.path("out")), [""; 0]);
}
