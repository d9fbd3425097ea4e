//! Tests of `posterize quantize --save-ranges` and `--ranges`.

use std::{fs, process::Command};

use posterize::format::SavedModel;
use serde_json::Value;

use crate::{
    fixture::Fixture,
    support::{fails, fails_with_usage_error, run, succeeds},
};

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeeds(command.arg("--json"))).unwrap()
}

/// Options with which no picture is needed besides those for the ranges.
const NO_PICTURES: [&str; 4] = ["--bias-correction", "none", "--rounding", "nearest"];

impl Fixture {
    /// Returns `posterize quantize` with the checkpoint and the file of ranges, but without pictures.
    fn without_pictures(&self, output: &str) -> Command {
        let mut command = self.command("quantize");
        command.arg("--weights").arg(self.path("small.safetensors"));
        command.arg("--ranges").arg(self.path("ranges.json"));
        command.arg("-o").arg(self.path(output));
        command
    }

    /// Writes `ranges.json` with some options, and returns the bytes of the int8 file.
    fn save_ranges(&self, options: &[&str]) -> (Vec<u8>, Value) {
        let mut command = self.quantize("first.safetensors");
        let report = json(command.arg("--save-ranges").arg(self.path("ranges.json")).args(options));
        (fs::read(self.path("first.safetensors")).unwrap(), report)
    }

    fn ranges(&self) -> String {
        fs::read_to_string(self.path("ranges.json")).unwrap()
    }
}

#[test]
fn the_ranges_of_a_file_give_the_same_bytes() {
    let fixture = Fixture::new();
    for options in [
        &["--equalize", "always"][..],
        &["--observer", "percentile", "--percentile", "99.9", "--skip", "features.1[0-9]*"],
        &["--per-tensor", "--equalize", "always", "--rounding", "nearest"],
        &["--qconfig", "fbgemm", "--bias-correction", "fast"],
    ] {
        let (first, report) = fixture.save_ranges(options);
        assert_eq!(report["ranges_file"], Value::Null);
        assert!(report["saved_ranges"].as_str().unwrap().ends_with("ranges.json"), "{report}");
        let mut command = fixture.quantize("again.safetensors");
        command.arg("--ranges").arg(fixture.path("ranges.json")).args(options);
        let again = json(&mut command);
        assert!(first == fs::read(fixture.path("again.safetensors")).unwrap(), "{options:?}");
        for key in ["ranges", "equalized", "pictures", "passes"] {
            assert_eq!(again[key], report[key], "{key}");
        }
        assert!(again["ranges_file"].as_str().unwrap().ends_with("ranges.json"), "{again}");
        assert_eq!(again["saved_ranges"], Value::Null);
    }

    let (_, report) = fixture.save_ranges(&NO_PICTURES);
    let again = json(fixture.without_pictures("again.safetensors").args(NO_PICTURES));
    // Without a folder of pictures, the file has no class names.
    let model = |name: &str| SavedModel::open(fixture.path(name)).unwrap().model;
    assert_eq!(model("first.safetensors"), model("again.safetensors"));
    assert_eq!((&again["ranges"], &again["pictures"]), (&report["ranges"], &10.into()));
    // A line for every value, which has the name and scale that the report has.
    let text = fixture.ranges();
    for range in report["ranges"].as_array().unwrap() {
        let start = format!("{{\"name\": {}, \"min\": ", range["name"]);
        let line = text.lines().find(|line| line.trim_start().starts_with(&start)).unwrap();
        let value: Value = serde_json::from_str(line.trim().trim_end_matches(',')).unwrap();
        assert_eq!(value["observed"]["min"], range["min"]);
        for key in ["scale", "zero_point"] {
            assert_eq!(value[key], range[key], "{line}");
        }
        assert_eq!(value["quant_range"], serde_json::json!([0, 255]));
    }
}

#[test]
fn a_recipe_and_the_ranges_give_the_same_bytes() {
    let fixture = Fixture::new();
    let recipe = fixture.path("recipe.json");
    let options = ["--equalize", "always", "--save-recipe", recipe.to_str().unwrap()];
    let (first, _) = fixture.save_ranges(&options);
    let mut command = fixture.without_pictures("again.safetensors");
    let error = fails_with_usage_error(command.arg("--recipe").arg(&recipe));
    assert!(
        error.ends_with("but bias correction and rounding need pictures: pass --calibrate PATH\n"),
        "{error}"
    );
    succeeds(command.arg("--calibrate").arg(fixture.data()));
    assert!(first == fs::read(fixture.path("again.safetensors")).unwrap());
}

#[test]
fn a_range_can_be_changed() {
    let fixture = Fixture::new();
    let (first, report) = fixture.save_ranges(&NO_PICTURES);
    let mut changed: Value = serde_json::from_str(&fixture.ranges()).unwrap();
    let value = &mut changed["ranges"]["values"][1];
    assert_eq!(value["name"], "features.0.0");
    value["max"] = 5.1.into();
    value["min"] = 0.0.into();
    fs::write(fixture.path("ranges.json"), changed.to_string()).unwrap();
    let mut command = fixture.without_pictures("again.safetensors");
    let output = run(command.args(NO_PICTURES).arg("--json"));
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(
        note.contains("ranges.json: 1 of 64 ranges were changed, so that their scales are others: features.0.0\n"),
        "{note}"
    );
    let again: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(again["ranges"][1]["scale"].as_f64().unwrap() as f32, 5.1 / 255.0);
    assert_eq!(again["ranges"][2], report["ranges"][2]);
    assert!(first != fs::read(fixture.path("again.safetensors")).unwrap());
}

#[test]
fn files_that_cannot_be_used_are_errors() {
    let fixture = Fixture::new();
    fixture.save_ranges(&NO_PICTURES);
    let text = fixture.ranges();
    let error_of = |content: &[u8], options: &[&str]| {
        fs::write(fixture.path("ranges.json"), content).unwrap();
        let mut command = fixture.without_pictures("x.safetensors");
        let output = run(command.args(NO_PICTURES).args(options));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{error}");
        assert!(error.contains("ranges.json: "), "{error}");
        assert!(!fixture.path("x.safetensors").exists());
        error
    };
    let line = |name: &str| {
        let start = format!("{{\"name\": \"{name}\"");
        text.lines().find(|line| line.contains(&start)).unwrap().to_owned()
    };
    let first = line("features.0.0");
    let (min, max) = (first.find("\"min\"").unwrap(), first.find(", \"scale\"").unwrap());
    let with = |range: &str| {
        let line = format!("{}{range}{}", &first[..min], &first[max..]);
        text.replace(&first, &line)
    };
    let digest = text.find("model_digest").unwrap();
    for (content, expected) in [
        (String::new(), "these are no ranges: EOF"),
        (text[..text.len() / 2].to_owned(), "these are no ranges: EOF"),
        ("{}".into(), "these are no ranges: missing field `model`"),
        (
            with("\"min\": NaN, \"max\": 1"),
            "column 39, in `{\"name\": \"features.0.0\", \"min\": NaN",
        ),
        (with("\"min\": null, \"max\": 1"), "expected f32 at line"),
        (with("\"min\": 1"), "missing field `max`"),
        (with("\"min\": 0, \"min\": 0, \"max\": 1"), "duplicate field `min`"),
        (with("\"min\": 0, \"max\": 1e999"), "number out of range"),
        (with("\"min\": 0, \"max\": 1e99"), "these are no ranges: number out of range at line 23"),
        (
            with("\"min\": -3e38, \"max\": 3e38"),
            "features.0.0: expected a finite range with min <= max, found min -3",
        ),
        (
            with("\"min\": 2, \"max\": 1"),
            "features.0.0: expected a finite range with min <= max, found min 2 and max 1; correct it",
        ),
        (
            text.replace(&format!("{first}\n"), ""),
            "1 of 64 ranges are missing; add them, or calibrate again: features.0.0",
        ),
        (
            text.replace(&first, &format!("{first}\n{first}")),
            "features.0.0: there are two ranges of this value; remove one",
        ),
        (
            text.replace("\"name\": \"features.0.0\"", "\"name\": \"faetures\""),
            "faetures: the network has no observed value of this name",
        ),
        (
            text.replace("\"format_version\": 1", "\"format_version\": 7"),
            "expected format version 1 of ranges, found 7; use the version of posterize",
        ),
        (
            text.replace(&text[digest..digest + 20], "model_digest\": \"0000"),
            "of other weights: expected the digest 0000",
        ),
        (format!("{text}\0"), "these are no ranges: trailing characters"),
    ] {
        let error = error_of(content.as_bytes(), &[]);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let error = error_of(&vec![b' '; (64 << 20) + 1], &[]);
    assert!(error.contains("expected at most 67108864 bytes, found more"), "{error}");
    let error = error_of(text.as_bytes(), &["--observer", "min-max"]);
    assert!(
        error.contains("input: expected a range for MinMaxObserver for torch.quint8 from 0 to 255, found one for MSE"),
        "{error}"
    );
    let error = error_of(text.as_bytes(), &["--activation", "relu"]);
    assert!(error.contains("the ranges are those of another network"), "{error}");
    fs::remove_file(fixture.path("ranges.json")).unwrap();
    let error = fails(fixture.without_pictures("x.safetensors").args(NO_PICTURES));
    assert!(error.contains("ranges.json: cannot read: "), "{error}");
}

#[test]
fn options_that_need_pictures_say_so() {
    let fixture = Fixture::new();
    fixture.save_ranges(&[]);
    let error = fails_with_usage_error(&mut fixture.without_pictures("x.safetensors"));
    assert!(
        error.contains("but bias correction and rounding need pictures: pass --calibrate PATH, or --bias-correction none --rounding nearest"),
        "{error}"
    );
    let mut command = fixture.without_pictures("x.safetensors");
    let error = fails_with_usage_error(command.args(["--bias-correction", "none"]));
    assert!(
        error.contains("rounding needs pictures: pass --calibrate PATH, or --rounding"),
        "{error}"
    );
    // Other pictures than those of the calibration.
    let mut command = fixture.without_pictures("x.safetensors");
    let output = run(command.arg("--calibrate").arg(fixture.data()).args(["--seed", "1"]));
    assert!(output.status.success());
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.contains("the pictures are not those that were calibrated on"), "{warning}");

    let mut command = fixture.command("quantize");
    let output = run(command.args(["--weights", "w", "-o", "x"]));
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("not provided") && error.contains("--calibrate <PATH>"), "{error}");
    for option in
        [&["--save-ranges", "y"][..], &["--save-recipe", "y"], &["--max-drop", "1", "--data", "."]]
    {
        let output = run(fixture.without_pictures("x.safetensors").args(option));
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.contains("'--ranges <FILE>' cannot be used with") && error.contains(option[0]),
            "{error}"
        );
    }
    let mut command = fixture.quantize("y.safetensors");
    let error = fails(command.arg("--save-ranges").arg(fixture.path("missing/ranges.json")));
    assert!(error.contains("missing/ranges.json"), "{error}");
    assert!(!fixture.path("y.safetensors").exists());
}
