//! Tests of `posterize sensitivity`.

use std::process::Command;

use serde_json::Value;

use crate::{fixture::Fixture, max_drop::Fashion, support::succeeds};

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeeds(command.arg("--json"))).unwrap()
}

#[test]
fn a_layer_with_channels_far_apart_is_named_with_cause_and_remedy() {
    let fashion = Fashion::new();
    let command = |options: &[&str]| {
        let mut command = fashion.command("sensitivity");
        command.args(["--qconfig", "default", "--batches", "2", "--limit", "40", "--data"]);
        command.arg(fashion.path("val")).args(options);
        command
    };
    let report = json(&mut command(&[]));
    assert_eq!((&report["pictures"], &report["labelled"]), (&40.into(), &true.into()));
    let layers = report["layers"].as_array().unwrap();
    let worst = &layers[0];
    // README.md of the built-in model says why.
    assert_eq!(worst["name"], "features.1.conv.0.0");
    let cause = &worst["causes"][0];
    assert!(cause["text"].as_str().unwrap().starts_with("channel ranges of its weights differ"));
    assert_eq!(
        (&cause["remedy"], &cause["option"]),
        (&"equalize".into(), &"--equalize always".into())
    );
    let decibels = |layer: &Value| layer["only_int8"]["sqnr_db"].as_f64().unwrap();
    assert!(layers.is_sorted_by(|a, b| decibels(a) <= decibels(b)), "{report}");

    // The option is one that helps.
    let better = json(&mut command(&["--equalize", "always"]));
    let int8 = |report: &Value| report["int8"]["sqnr_db"].as_f64().unwrap();
    assert!(int8(&better) > int8(&report) + 10.0, "{better}");

    let printed = succeeds(&mut command(&[]));
    assert!(printed.lines().all(|line| line.chars().count() <= 100), "{printed}");
    assert!(printed.contains("\nfeatures.1.conv.0.0, "), "{printed}");
    assert!(printed.contains("\n  try --equalize always"), "{printed}");
    assert!(printed.contains("and 6 less sensitive layers (-v for all)"), "{printed}");
    let all = succeeds(&mut command(&["-v"]));
    assert!(layers.iter().all(|layer| all.contains(layer["name"].as_str().unwrap())), "{all}");
}

#[test]
fn pictures_need_no_labels_and_threads_change_nothing_but_times() {
    let fixture = Fixture::new();
    let report = |threads: &str| {
        let mut command = fixture.command("sensitivity");
        command.arg("--weights").arg(fixture.path("small.safetensors"));
        command.arg("--calibrate").arg(fixture.data());
        command.args(["--batches", "1", "--limit", "5", "--threads", threads]);
        let mut report = json(&mut command);
        for key in ["seconds", "threads"] {
            report[key].take();
        }
        for layer in report["layers"].as_array_mut().unwrap() {
            assert!(layer["extra_ms"].take().is_number());
        }
        report
    };
    let one = report("1");
    assert_eq!(one, report("3"));
    assert_eq!((&one["float_top1"], &one["labelled"]), (&100.0.into(), &false.into()));
    // Layers with weights, with the classifier that is quantized dynamically, and additions.
    let layers = one["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 53 + 11);
    let classifier = layers.iter().find(|layer| layer["name"] == "classifier.1").unwrap();
    assert_eq!(classifier["type"], "Linear");
    assert!(classifier["only_int8"]["sqnr_db"].as_f64().unwrap() > 20.0, "{classifier}");
    assert!(classifier["extra_bytes"].as_u64().unwrap() > 0, "{classifier}");
    assert!(classifier["facts"]["weight"]["per_channel"].as_bool().unwrap(), "{classifier}");
}
