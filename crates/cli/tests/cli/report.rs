//! Tests of `posterize report`.

use std::{fs, path::Path, process::Command};

use posterize::models;
use serde_json::Value;

use crate::{
    fixture::{Fixture, config},
    support::{ASSETS, fails, fails_with_usage_error, skipped, succeeds},
};

impl Fixture {
    /// Returns `posterize report` of the int8 model `file` and the checkpoint, without `-o`.
    fn report_against(&self, file: &Path, weights: &Path) -> Command {
        let mut command = self.with_file("report", file);
        command.arg("--against").arg(weights).arg("--data").arg(self.data());
        command
    }

    /// Does the same with the checkpoint of which the model was made, and writes `report.html`.
    fn report(&self, file: &Path) -> Command {
        let mut command = self.report_against(file, &self.path("small.safetensors"));
        command.arg("-o").arg(self.path("report.html"));
        command
    }

    /// Returns `posterize report` of a model with a layer in float, against other weights than its own, so
    /// that predictions change.
    pub(crate) fn report_of_changes(&self) -> Command {
        let (file, weights) = (self.path("other.int8"), self.path("other.safetensors"));
        let others = models::mobilenet_v2(&config()).unwrap().init(1);
        others.state_dict().save_safetensors(&weights).unwrap();
        succeeds(self.quantize("other.int8").args(["--skip", "classifier.*"]));
        let mut command = self.report_against(&file, &weights);
        command.arg("-o").arg(self.path("report.html"));
        command
    }
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeeds(command.arg("--json"))).unwrap()
}

/// Checks that every element of a page is closed, and that it loads nothing.
fn check_page(page: &str) {
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for outside in ["http:", "https:", "<script", "<link", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for tag in [
        "html", "head", "style", "body", "main", "div", "table", "tr", "td", "th", "svg", "figure",
        "p", "ul", "ol", "li", "details", "summary", "a", "b", "span", "text", "title",
    ] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    for wrong in ["NaN", ">inf", "\"inf", "inf\"", "-inf"] {
        assert!(!page.contains(wrong), "{wrong}");
    }
}

#[test]
fn the_page_has_the_numbers_of_the_json_output() {
    let fixture = Fixture::new();
    let file = fixture.int8();
    let report = json(fixture.report(&file).args(["--layer-limit", "3"]));
    let page = fs::read_to_string(fixture.path("report.html")).unwrap();
    check_page(&page);
    assert_eq!(report["page_bytes"].as_u64().unwrap(), page.len() as u64);
    assert_eq!((&report["images"], &report["layer_images"]), (&12.into(), &3.into()));
    assert_eq!(report["int8"]["bytes"], fs::metadata(&file).unwrap().len());

    // The accuracies are those of `evaluate`.
    let int8 = json(fixture.with_file("evaluate", &file).arg("--data").arg(fixture.data()));
    let float = json(&mut fixture.evaluate());
    for (network, expected) in [("int8", int8), ("float", float)] {
        for key in ["top1", "top5"] {
            assert_eq!(report[network][key], expected[key], "{network} {key}");
        }
        let interval = &report[network]["top1_interval"];
        let top1 = report[network]["top1"].as_f64().unwrap();
        assert!(interval["low"].as_f64().unwrap() <= top1, "{interval}");
        assert!(interval["high"].as_f64().unwrap() >= top1, "{interval}");
        assert!(page.contains(&format!("<td>{top1:.2}</td>")), "{network}");
    }
    let outcomes = &report["outcomes"];
    let number = |key: &str| outcomes[key].as_u64().unwrap();
    assert_eq!(["both", "only_float", "only_int8", "neither"].map(number).iter().sum::<u64>(), 12);
    let points = 100.0 * (number("only_float") as f64 - number("only_int8") as f64) / 12.0;
    assert!((report["difference"]["points"].as_f64().unwrap() - points).abs() < 1e-9);

    // The ratios are those of `inspect --against` on the same pictures.
    let mut inspect = fixture.with_file("inspect", &file);
    inspect.arg("--against").arg(fixture.path("small.safetensors"));
    let inspected = json(inspect.arg("--data").arg(fixture.data()));
    let report = json(&mut fixture.report(&file));
    assert_eq!(report["layer_images"], 12);
    let layers = report["layers"].as_array().unwrap();
    assert_eq!(layers.len(), inspected["layers"].as_array().unwrap().len());
    for expected in inspected["layers"].as_array().unwrap() {
        let layer = layers.iter().find(|layer| layer["name"] == expected["name"]).unwrap();
        let ratio = |value: &Value| value["sqnr_db"].as_f64().unwrap();
        assert!((ratio(layer) - ratio(expected)).abs() < 1e-6, "{expected}");
        let name = expected["name"].as_str().unwrap();
        assert!(page.contains(&format!("<summary><b>{name}</b>")), "{name}");
        // The output of the classifier is float.
        let levels = layer["activations"]["levels"].as_array().unwrap();
        if layer["activations"]["levels_used"].is_null() {
            assert!(matches!(name, "classifier.0" | "classifier.1"), "{name}");
            continue;
        }
        let used = levels.iter().filter(|count| count.as_u64() != Some(0)).count();
        assert_eq!(layer["activations"]["levels_used"], used, "{name}");
    }
    let first = &layers[0];
    assert_eq!(first["name"], "features.0.0");
    let counts = first["weights"]["counts"].as_array().unwrap();
    let channels = first["weights"]["channels"].as_array().unwrap().len() as u64;
    assert_eq!(counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 27 * channels);
}

#[test]
fn layers_are_ranked_as_by_sensitivity() {
    let fixture = Fixture::new();
    let file = fixture.int8();
    let report = json(fixture.report(&file).arg("--sensitivity"));
    let page = fs::read_to_string(fixture.path("report.html")).unwrap();
    check_page(&page);
    let found = &report["sensitivity"];
    assert_eq!(found["pictures"], 12);
    let mut command = fixture.command("sensitivity");
    command.arg("--weights").arg(fixture.path("small.safetensors")).arg("--calibrate");
    command.arg(fixture.data()).args(["--batches", "2", "--batch-size", "5", "--data"]);
    let expected = json(command.arg(fixture.data()));
    assert_eq!(found["float_top1"], expected["float_top1"]);
    let sqnr = |value: &Value| value["sqnr_db"].as_f64().unwrap();
    // The float outputs are equal up to the rounding of the recovered factors.
    let [found_int8, expected_int8] = [found, &expected].map(|of| sqnr(&of["int8"]));
    assert!((found_int8 - expected_int8).abs() < 1e-4, "{found_int8} and {expected_int8}");
    let layers = found["layers"].as_array().unwrap();
    assert_eq!(layers.len(), expected["layers"].as_array().unwrap().len());
    for layer in expected["layers"].as_array().unwrap() {
        let other = layers.iter().find(|other| other["name"] == layer["name"]).unwrap();
        for key in ["only_int8", "only_float"] {
            // If channels were equalized, the factors are recovered from the weights.
            assert!((sqnr(&layer[key]) - sqnr(&other[key])).abs() < 0.1, "{layer} {other}");
        }
    }
    assert!(layers.is_sorted_by(|a, b| sqnr(&a["only_int8"]) <= sqnr(&b["only_int8"])));
    // Every layer leads to its details and has a cause.
    let section = page.split("<h2>").find(|part| part.starts_with("Which layers cost")).unwrap();
    assert_eq!(section.matches("; try <code>--").count(), layers.len());
    assert_eq!(section.matches("<a href=\"#layer").count(), layers.len());
    assert!(json(&mut fixture.report(&file))["sensitivity"].is_null());
}

#[test]
fn pictures_whose_prediction_changed_are_on_the_page() {
    let fixture = Fixture::new();
    let report = json(&mut fixture.report_of_changes());
    let page = fs::read_to_string(fixture.path("report.html")).unwrap();
    check_page(&page);
    let changed = report["changed"].as_array().unwrap();
    assert_eq!(page.matches("class=\"card\"").count(), changed.len());
    assert_eq!(page.matches("<img src=\"data:image/jpeg;base64,/9j/").count(), changed.len());
    assert!(!changed.is_empty(), "no prediction changed");
    for picture in changed {
        assert_ne!(picture["float"][0]["class"], picture["int8"][0]["class"]);
        assert_eq!(picture["float"].as_array().unwrap().len(), 3);
        let name = picture["label_name"].as_str().unwrap();
        assert!(picture["path"].as_str().unwrap().contains(name), "{picture}");
    }
    assert!(page.contains("<h2>Layers in float</h2>") && page.contains("it has no qconfig"));
    let layers = report["layers"].as_array().unwrap();
    let float = layers.iter().find(|layer| layer["name"] == "classifier.1").unwrap();
    assert_eq!(float["float_reason"], "it has no qconfig");
    assert!(float["activations"]["range"].is_null() && float["weights"].is_null());

    json(fixture.report_of_changes().args(["--pictures", "0"]));
    let page = fs::read_to_string(fixture.path("report.html")).unwrap();
    assert!(!page.contains("<img") && page.contains("The predicted class of "));
    let text = succeeds(fixture.report_of_changes().args(["--limit", "6"]));
    assert!(text.contains("layers with the lowest SQNR"), "{text}");
    assert!(text.contains("report.html (") && text.contains("6 pictures of"), "{text}");
}

#[test]
fn inputs_are_kept_and_wrong_arguments_are_usage_errors() {
    let fixture = Fixture::new();
    let file = fixture.int8();
    let weights = fixture.path("small.safetensors");
    for (output, option) in [(&file, "MODEL"), (&weights, "--against")] {
        let mut command = fixture.report_against(&file, &weights);
        let error = fails_with_usage_error(command.arg("-o").arg(output));
        assert!(error.contains(&format!("({option}), which would be lost")), "{error}");
    }
    let picture = fixture.data().join("bee/0.ppm");
    let mut command = fixture.report_against(&file, &weights);
    let error = fails_with_usage_error(command.arg("-o").arg(&picture));
    assert!(error.contains("(--data), which would be lost"), "{error}");

    let mut command = fixture.command("report");
    command.arg("--against").arg(&weights).arg("--data").arg(fixture.data());
    let error = fails_with_usage_error(&mut command);
    assert!(error.contains("expected the file of an int8 model"), "{error}");
    let mut command = fixture.with_file("report", &file);
    command.arg("--against").arg(&weights).args(["--data", "no/such/folder"]);
    let error = fails(command.arg("-o").arg(fixture.path("report.html")));
    assert!(error.contains("no/such/folder"), "{error}");
    let error = fails_with_usage_error(fixture.report(&file).args(["--crop", "64"]));
    assert!(error.contains("--crop cannot be used with a saved model"), "{error}");
}

/// The page of a real network is small enough to be sent by mail.
#[test]
fn a_report_of_tf_mobilenet_v2_is_small() {
    const TEST: &str = "a_report_of_tf_mobilenet_v2_is_small";
    let assets = Path::new(ASSETS);
    if !assets.exists() {
        skipped(TEST, &format!("{ASSETS} does not exist"));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (file, page) = (folder.path().join("int8.safetensors"), folder.path().join("report.html"));
    let weights = assets.join("tf_mobilenet_v2.pth");
    let mut quantize = crate::support::posterize(folder.path());
    quantize.args(["quantize", "tf_mobilenet_v2", "--batches", "1", "--weights"]).arg(&weights);
    quantize.arg("--calibrate").arg(assets.join("imagenet_1k/train")).arg("-o").arg(&file);
    succeeds(&mut quantize);
    let mut report = crate::support::posterize(folder.path());
    report.arg("report").arg(&file).arg("--against").arg(&weights).arg("-o").arg(&page);
    report.arg("--data").arg(assets.join("imagenet_1k/val")).args(["--limit", "60"]);
    let found = json(report.args(["--layer-limit", "6"]));
    assert!(found["page_bytes"].as_u64().unwrap() < 1_500_000);
    check_page(&fs::read_to_string(page).unwrap());
    // Layers of an equalized network are compared with their channels scaled back.
    for layer in found["layers"].as_array().unwrap() {
        let weights = &layer["weights"];
        let is_close = weights["sqnr_db"].as_f64().is_none_or(|sqnr| sqnr > 25.0);
        assert!(is_close && weights["changed"].as_f64().is_none_or(|x| x == 0.0), "{layer}");
    }
}
