//! Tests of the texts of `--help`.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    fixture::{CLASSES, Fixture},
    support::{posterize, run, succeeds, write_npy},
};

const COMMANDS: [&str; 13] = [
    "tutorial",
    "inspect",
    "quantize",
    "sensitivity",
    "evaluate",
    "report",
    "classify",
    "run",
    "bench",
    "train",
    "fetch",
    "completions",
    "man",
];

fn help(command: &[&str]) -> String {
    succeeds(posterize(Path::new("/no/such/cache")).args(command).arg("--help"))
}

/// Returns the keys in the `JSON output` sections of a help text. A line lists keys, separated by
/// commas, and their description after two spaces or more. Lines of descriptions are indented further.
fn documented_keys(help: &str) -> BTreeSet<String> {
    let (_, json) = help.split_once("JSON output").expect("a section on JSON output");
    json.lines()
        .filter(|line| (2..=6).contains(&(line.len() - line.trim_start().len())))
        .filter_map(|line| line.trim_start().split_once("  "))
        .flat_map(|(keys, _)| keys.split(", "))
        .map(str::to_owned)
        .collect()
}

/// Adds all keys of a JSON value. Those inside `qconfig` are left out: they are part of the format of
/// saved models.
fn add_keys(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                keys.insert(key.clone());
                if key != "qconfig" {
                    add_keys(value, keys);
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                add_keys(value, keys);
            }
        }
        _ => {}
    }
}

/// Runs each command with `--json`, in all variants that have different keys.
fn json_outputs(fixture: &Fixture, command: &str) -> Vec<Value> {
    let file = fixture.int8();
    let weights = fixture.path("small.safetensors");
    let with_weights = || {
        let mut with_weights = fixture.command(command);
        with_weights.arg("--weights").arg(&weights);
        with_weights
    };
    let with_file = || fixture.with_file(command, &file);
    let of_onnx = |name: &str| {
        let mut of_onnx = posterize(&fixture.path("cache"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/onnx").join(name);
        of_onnx.arg(command).arg(path);
        of_onnx
    };
    let mut commands: Vec<Command> = match command {
        "tutorial" => {
            let mut tutorial = with_weights();
            for class in CLASSES {
                let others = fixture.path("others").join(class);
                fs::create_dir_all(&others).unwrap();
                fs::copy(fixture.data().join(class).join("0.ppm"), others.join("0.ppm")).unwrap();
            }
            tutorial.arg("--data").arg(fixture.data()).arg("--out").arg(fixture.path("out"));
            tutorial.arg("--calibrate").arg(fixture.path("others"));
            tutorial.args(["--qat", "recommended", "--epochs", "1", "--batches", "1"]);
            vec![tutorial]
        }
        "inspect" => {
            let mut against = with_file();
            against.arg("--against").arg(&weights).args(["--limit", "2"]);
            against.arg("--data").arg(fixture.data());
            let mut plan = with_file();
            plan.arg("--plan");
            let mut checkpoint = posterize(&fixture.path("cache"));
            checkpoint.arg("inspect").arg(&weights);
            let (mut unsupported, mut blue_first) =
                (of_onnx("unsupported/three.onnx"), of_onnx("pictures/metadata.onnx"));
            unsupported.arg("--unsupported");
            blue_first.arg("--fused");
            vec![with_weights(), with_file(), against, plan, checkpoint, unsupported, blue_first]
        }
        "quantize" => {
            let mut quantize = with_weights();
            quantize.args(["--skip", "classifier.*", "--batches", "1", "--calibrate"]);
            quantize.arg(fixture.data()).arg("-o").arg(fixture.path("other.safetensors"));
            // A target that is not met, after which layers were given back. Times do not matter with this
            // budget.
            let mut search = with_weights();
            search.args(["--max-drop", "-100", "--budget-ms", "1000000"]);
            search.args(["--batches", "1", "--batch-size", "4", "--data"]);
            search.arg(fixture.data()).arg("--calibrate").arg(fixture.data());
            search.arg("-o").arg(fixture.path("unmet.safetensors"));
            let mut without_pictures = with_weights();
            without_pictures.arg("--no-pictures").arg("-o").arg(fixture.path("other.safetensors"));
            let x = fixture.path("x.npy");
            write_npy(&x, "(1, 4, 9, 11)", &[0.5; 4 * 9 * 11]);
            let mut arrays = of_onnx("conv.onnx");
            arrays
                .arg("--calibrate-arrays")
                .arg(x)
                .arg("-o")
                .arg(fixture.path("other.safetensors"));
            vec![quantize, search, without_pictures, arrays]
        }
        "sensitivity" => {
            let mut sensitivity = with_weights();
            sensitivity.args(["--batches", "1", "--limit", "4", "--calibrate"]);
            sensitivity.arg(fixture.data());
            vec![sensitivity]
        }
        "evaluate" => vec![fixture.evaluate()],
        "report" => {
            let mut report = fixture.report_of_changes();
            report.arg("--sensitivity");
            vec![report]
        }
        "classify" => {
            let mut classify = with_file();
            classify.arg(fixture.data().join("bee/0.ppm")).arg(fixture.path("missing.jpg"));
            vec![classify]
        }
        "run" => {
            let (x, y) = (fixture.path("x.npy"), fixture.path("y.npy"));
            write_npy(&x, "(1, 3, 32, 32)", &[0.5; 3 * 32 * 32]);
            write_npy(&y, "(1, 3)", &[0.0; 3]);
            let mut compare = with_file();
            compare.arg("--input").arg(x).arg("--expect").arg(y).args(["--atol", "1000"]);
            vec![compare]
        }
        "bench" => {
            let (mut compare, mut per_layer) = (with_file(), with_file());
            compare.args(["--runs", "5", "--compare"]).arg(&file);
            per_layer.args(["--runs", "1", "--per-layer"]);
            vec![compare, per_layer]
        }
        "train" => {
            let mut train = with_weights();
            train.arg("--data").arg(fixture.data()).arg("--val").arg(fixture.data());
            train.args(["--epochs", "1", "--batches", "1"]);
            train.arg("-o").arg(fixture.path("trained.safetensors"));
            vec![train]
        }
        "fetch" => {
            let digest = Sha256::digest("weights");
            let digits = format!("{:08x}", u32::from_be_bytes(*digest.first_chunk().unwrap()));
            fs::write(fixture.path("weights.pth"), "weights").unwrap();
            let mut fetch = posterize(&fixture.path("cache"));
            fetch.args(["fetch", "mobilenet_v2", "--from"]).arg(fixture.path("weights.pth"));
            fetch.args(["--url", &format!("https://mirror/net-{digits}.pth")]);
            succeeds(&mut fetch);
            let option = |option| {
                let mut command = posterize(&fixture.path("cache"));
                command.args(["fetch", option]);
                command
            };
            vec![fetch, option("--list"), option("--clean")]
        }
        "completions" => {
            let mut completions = posterize(&fixture.path("cache"));
            completions.args(["completions", "bash"]);
            vec![completions]
        }
        "man" => {
            let mut man = posterize(&fixture.path("cache"));
            man.arg("man").arg(fixture.path("pages"));
            vec![man]
        }
        _ => panic!("no variant of {command}"),
    };
    let output = |command: &mut Command| {
        let output = run(command.arg("--json").stdin(Stdio::null()));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{command:?}: {error}"))
    };
    commands.iter_mut().map(output).collect()
}

#[test]
fn help_documents_exactly_the_keys_of_the_json_output() {
    let fixture = Fixture::new();
    for command in COMMANDS {
        let mut keys = BTreeSet::new();
        for output in json_outputs(&fixture, command) {
            add_keys(&output, &mut keys);
        }
        let documented = documented_keys(&help(&[command]));
        let missing: Vec<&String> = keys.difference(&documented).collect();
        let wrong: Vec<&String> = documented.difference(&keys).collect();
        assert!(missing.is_empty() && wrong.is_empty(), "{command}: {missing:?} {wrong:?}");
    }
}

#[test]
fn the_main_help_mentions_every_command() {
    let text = help(&[]);
    let listed: Vec<&str> = text
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(listed, [&COMMANDS[..], &["help"]].concat());
    for command in COMMANDS.iter().take_while(|command| **command != "fetch") {
        assert!(text.contains(&format!("posterize {command}")), "{command}");
    }
    // The description of a command has more than the line in the list.
    for command in COMMANDS {
        let description = help(&[command]).split("\n\nUsage:").next().unwrap().to_owned();
        assert!(description.contains("\n\n"), "{command}: {description}");
    }
    // -h is shorter than --help, but has the order of use as well.
    let short = succeeds(posterize(Path::new("/no/such/cache")).arg("-h"));
    assert!(short.contains("Order of use:") && !short.contains("Environment variables:"));
    assert!(text.contains("Order of use:") && text.contains("Environment variables:"));
}
