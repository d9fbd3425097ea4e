//! Tests of `posterize quantize --max-drop` and of recipes, on the built-in network and pictures.

use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    fixture::Fixture,
    support::{fails, fails_with_usage_error, files, posterize, run, succeeds},
};

/// The pictures of the built-in network in a folder.
pub(crate) struct Fashion(TempDir);

impl Fashion {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/embedded/pictures.zip");
        let mut archive = zip::ZipArchive::new(File::open(archive).unwrap()).unwrap();
        for index in 0..archive.len() {
            let mut file = archive.by_index(index).unwrap();
            let path = folder.path().join(file.name().unwrap().as_ref());
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns `posterize COMMAND` with the network and its calibration pictures.
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut posterize = posterize(&self.path("cache"));
        posterize.args([command, "fashion_mobilenet_v2", "--calibrate"]).arg(self.path("train"));
        posterize
    }

    /// Returns `posterize quantize` with one scale for each weight, and that output file.
    fn quantize(&self, output: &str, options: &[&str]) -> Command {
        let mut command = self.command("quantize");
        command.args(["--qconfig", "default", "-o"]).arg(self.path(output)).args(options);
        command
    }

    /// Returns the same with a target on the validation pictures.
    fn search(&self, output: &str, options: &[&str]) -> Command {
        let mut command = self.quantize(output, options);
        command.arg("--data").arg(self.path("val"));
        command
    }

    fn top1(&self, model: &str) -> f64 {
        let mut command = posterize(&self.path("cache"));
        command.arg("evaluate").arg(model).arg("--data").arg(self.path("val"));
        json(&mut command)["top1"].as_f64().unwrap()
    }
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeeds(command.arg("--json"))).unwrap()
}

#[test]
fn the_target_is_met_on_both_halves_and_the_recipe_repeats_the_file() {
    let fashion = Fashion::new();
    let (file, recipe) = (fashion.path("int8.safetensors"), fashion.path("recipe.json"));
    // Without equalization, layers must be given back.
    // Times do not matter with this budget.
    let options = ["--max-drop", "0.5", "--equalize", "never", "--budget-ms", "1000000"];
    let mut search = fashion.search("int8.safetensors", &options);
    let report = json(search.arg("--save-recipe").arg(&recipe));
    let target = &report["target"];
    assert_eq!(target["met"], true);
    assert_eq!(target["images"], serde_json::json!({ "search": 500, "confirmation": 500 }));
    let attempts = target["attempts"].as_array().unwrap();
    assert!(attempts[0]["drop"]["search"].as_f64().unwrap() > 10.0, "{target}");
    assert_eq!(attempts[0]["drop"]["confirmation"], Value::Null);
    let chosen = &attempts[target["chosen"].as_u64().unwrap() as usize];
    for half in ["search", "confirmation"] {
        assert!(chosen["drop"][half].as_f64().unwrap() <= 0.5, "{chosen}");
    }
    let given_back = target["given_back"].as_array().unwrap();
    assert_eq!(given_back[0]["name"], "features.1.conv.0.0");
    let float: Vec<&Value> =
        report["float_layers"].as_array().unwrap().iter().map(|layer| &layer["name"]).collect();
    assert!(given_back.iter().all(|layer| float.contains(&&layer["name"])), "{report}");

    // The halves are all pictures, so their mean is what `evaluate` measures of the file.
    let mean = |metric: &Value| {
        let half = |half: &str| metric[half].as_f64().unwrap();
        0.5 * (half("search") + half("confirmation"))
    };
    let int8 = fashion.top1(file.to_str().unwrap());
    assert!((int8 - mean(&chosen["metric"])).abs() < 1e-9);
    assert!((fashion.top1("fashion_mobilenet_v2") - mean(&target["float"]["metric"])).abs() < 1e-9);

    let repeat = |recipe: &str, options: &[&str]| {
        let mut command = fashion.command("quantize");
        command.arg("--recipe").arg(fashion.path(recipe)).arg("-o").arg(fashion.path("again"));
        command.args(options);
        command
    };
    let report = json(&mut repeat("recipe.json", &["--threads", "3"]));
    assert_eq!((&report["target"], &report["seed"]), (&Value::Null, &0.into()));
    assert!(fs::read(fashion.path("again")).unwrap() == fs::read(&file).unwrap());

    // A recipe can be changed.
    let mut changed: Value = serde_json::from_slice(&fs::read(&recipe).unwrap()).unwrap();
    changed["recipe"]["float_layers"] = serde_json::json!([]);
    fs::write(fashion.path("changed.json"), changed.to_string()).unwrap();
    assert_eq!(json(&mut repeat("changed.json", &[]))["float_layers"], serde_json::json!([]));
    assert!(fs::read(fashion.path("again")).unwrap() != fs::read(&file).unwrap());

    // Other pictures are warned of; other weights, other options and other files are errors.
    fs::remove_file(fashion.path("train/0_t-shirt_top").join(first(&fashion))).unwrap();
    let output = run(&mut repeat("recipe.json", &[]));
    assert!(output.status.success());
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.contains("the calibration pictures are not those of the recipe"), "{warning}");
    let output = run(&mut repeat("recipe.json", &["--seed", "1"]));
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--recipe <FILE>' cannot be used with '--seed <N>'"), "{error}");
    changed["weights_digest"] = "0123456789abcdef".into();
    fs::write(fashion.path("changed.json"), changed.to_string()).unwrap();
    let error = fails(&mut repeat("changed.json", &[]));
    assert!(error.contains("fashion_mobilenet_v2 with other weights (digest 0123"), "{error}");
    fs::write(fashion.path("changed.json"), "{\"recipe\": 1}").unwrap();
    let error = fails(&mut repeat("changed.json", &[]));
    assert!(error.contains("changed.json: this is no recipe"), "{error}");
}

/// Returns the name of a picture of the first class.
fn first(fashion: &Fashion) -> String {
    files(&fashion.path("train/0_t-shirt_top")).swap_remove(0)
}

#[test]
fn a_target_that_cannot_be_met_ends_with_5_and_writes_nothing() {
    let fashion = Fashion::new();
    let recipe = fashion.path("recipe.json");
    // The accuracy of equalized layers is not above that of float by so much.
    let options = ["--max-drop", "-20", "--limit", "60", "--batches", "2", "--json"];
    let mut search = fashion.search("int8.safetensors", &options);
    let output = run(search.arg("--save-recipe").arg(&recipe));
    assert_eq!(output.status.code(), Some(5));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let target = &report["target"];
    assert_eq!((&report["model"], &target["met"]), (&"fashion_mobilenet_v2".into(), &false.into()));
    assert_eq!(target["images"], serde_json::json!({ "search": 30, "confirmation": 0 }));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("not written, because no int8 network loses at most -20 points"),
        "{error}"
    );
    assert!(!fashion.path("int8.safetensors").exists() && !recipe.exists());

    // No network takes no time.
    let options = ["--max-drop", "100", "--budget-ms", "0", "--limit", "60", "--batches", "2"];
    let output = run(&mut fashion.search("int8.safetensors", &options));
    assert_eq!(output.status.code(), Some(5));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.lines().all(|line| line.chars().count() <= 100), "{printed}");
    assert!(printed.contains("ranges: as in the qconfig"), "{printed}");
    assert!(!printed.contains(" in float"), "{printed}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("loses at most 100 points in 0 ms; the best one ("), "{error}");
    assert!(!fashion.path("int8.safetensors").exists());
}

#[test]
fn options_of_a_search_need_each_other() {
    let fixture = Fixture::new();
    let quantize = |options: &[&str]| {
        let mut command = fixture.command("quantize");
        command.arg("--weights").arg(fixture.path("small.safetensors"));
        command.arg("--calibrate").arg(fixture.data()).arg("-o").arg(fixture.path("x"));
        command.args(options);
        command
    };
    for options in [&["--max-drop", "1"][..], &["--data", "val"], &["--budget-ms", "1"]] {
        let output = run(&mut quantize(options));
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("required arguments were not provided"), "{error}");
        assert!(error.contains("--data") && error.contains("--max-drop"), "{error}");
    }
    let data = fixture.data();
    let options = ["--max-drop", "NaN", "--data", data.to_str().unwrap()];
    let error = fails_with_usage_error(&mut quantize(&options));
    assert!(error.contains("must be a number"), "{error}");
}
