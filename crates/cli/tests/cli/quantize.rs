//! Tests of `posterize quantize`, and of the other commands on the file that it writes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use posterize::{
    data::{Class, load_picture},
    format::SavedModel,
    metrics,
    ops::Op,
    quantization::QuantizedModel,
};
use serde_json::Value;

use crate::{
    fixture::{CLASSES, Fixture},
    support::{ASSETS, fails, fails_with_usage_error, posterize, run, skipped, succeeds},
};

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeeds(command.arg("--json"))).unwrap()
}

impl Fixture {
    /// Returns `posterize quantize` with the checkpoint and the pictures, and that output file.
    pub(crate) fn quantize(&self, output: &str) -> Command {
        let mut command = self.command("quantize");
        command.arg("--weights").arg(self.path("small.safetensors"));
        command.arg("--calibrate").arg(self.data()).arg("-o").arg(self.path(output));
        command.args(["--batches", "2", "--batch-size", "5"]);
        command
    }

    /// Writes a quantized model, and returns its path.
    pub(crate) fn int8(&self) -> PathBuf {
        succeeds(&mut self.quantize("int8.safetensors"));
        self.path("int8.safetensors")
    }

    /// Returns `posterize COMMAND FILE`.
    pub(crate) fn with_file(&self, command: &str, file: &Path) -> Command {
        let mut posterize = posterize(&self.path("cache"));
        posterize.arg(command).arg(file);
        posterize
    }

    fn picture(&self, class: usize, number: usize) -> PathBuf {
        self.data().join(CLASSES[class]).join(format!("{number}.ppm"))
    }
}

#[test]
fn the_file_has_model_preprocessing_and_classes() {
    let fixture = Fixture::new();
    let report = json(&mut fixture.quantize("int8.safetensors"));
    let file = fixture.path("int8.safetensors");
    assert_eq!(report["model"], "mobilenet_v2");
    assert_eq!((&report["pictures"], &report["skipped"]), (&Value::from(10), &Value::from(0)));
    assert_eq!(report["bytes_after"], file.metadata().unwrap().len());
    let before = fixture.path("small.safetensors").metadata().unwrap().len();
    assert_eq!(report["bytes_before"], before);
    assert!(report["bytes_after"].as_u64().unwrap() * 2 < before, "{report}");
    assert_eq!((&report["int8_layers"], &report["classes"]), (&Value::from(53), &Value::from(3)));
    assert_eq!(report["float_layers"], serde_json::json!([]));

    let saved = SavedModel::open(&file).unwrap();
    let nodes = saved.model.graph().nodes();
    let additions = nodes.iter().filter(|node| matches!(node.op, Op::Add(_))).count();
    assert_eq!(report["ranges"].as_array().unwrap().len(), 1 + 52 + additions);
    assert_eq!(saved.name, "mobilenet_v2");
    assert_eq!(saved.preprocessing.unwrap().crop, [224, 224]);
    let class = |name: &&str| Class { folder: (*name).into(), name: (*name).into() };
    assert_eq!(saved.classes, CLASSES.iter().map(class).collect::<Vec<_>>());
    let range = &report["ranges"][1];
    let id = saved.model.graph().find(range["name"].as_str().unwrap()).unwrap();
    let qparams = saved.model.as_quantized().unwrap().qparams(id).unwrap();
    assert_eq!(range["zero_point"], qparams.zero_point);
    assert_eq!(range["scale"].as_f64().unwrap() as f32, qparams.scale);
}

#[test]
fn the_file_depends_on_the_options_but_not_on_threads() {
    let fixture = Fixture::new();
    let file = |options: &[&str]| {
        succeeds(fixture.quantize("again.safetensors").args(options));
        fs::read(fixture.path("again.safetensors")).unwrap()
    };
    let first = file(&["--threads", "1"]);
    assert!(first == file(&["--threads", "3"]));
    for options in [
        &["--seed", "1"][..],
        &["--augment"],
        &["--qconfig", "fbgemm"],
        &["--per-tensor"],
        &["--activation", "relu"],
        &["--skip", "features.18.*"],
    ] {
        assert!(first != file(options), "{options:?}");
    }
    assert!(file(&["--augment", "--threads", "1"]) == file(&["--augment", "--threads", "2"]));
}

#[test]
fn float_layers_are_listed_with_reasons() {
    let fixture = Fixture::new();
    let skip = ["--skip", "classifier.*", "--skip", "features.0", "-v"];
    let printed = succeeds(fixture.quantize("int8.safetensors").args(skip));
    for line in [
        "features.0.0 (ConvReLU6_2d) stays in float: it has no qconfig",
        "classifier.1 (Linear) stays in float: it has no qconfig",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
    let inspected = succeeds(&mut fixture.with_file("inspect", &fixture.path("int8.safetensors")));
    for line in printed.lines().filter(|line| line.contains(" stays in float: ")) {
        assert!(inspected.contains(line), "{inspected}");
    }
    // -v prints ranges, also that of the float layer's output, which is quantized for the next layer.
    assert!(printed.lines().any(|line| line.starts_with("features.0.0 ")), "{printed}");
    let model = QuantizedModel::open(fixture.path("int8.safetensors")).unwrap();
    assert!(
        model.layer_named("features.0.0").is_none()
            && model.layer_named("features.1.conv.0.0").is_some()
    );

    let error =
        fails_with_usage_error(fixture.quantize("x.safetensors").args(["--skip", "faetures.*"]));
    assert!(error.contains("match no layer: faetures.*"), "{error}");
    assert!(!fixture.path("x.safetensors").exists());
}

#[test]
fn evaluate_and_bench_accept_the_file() {
    let fixture = Fixture::new();
    let file = fixture.int8();
    let csv = fixture.path("out.csv");
    let mut command = fixture.with_file("evaluate", &file);
    command.arg("--data").arg(fixture.data()).arg("--predictions").arg(&csv);
    let report = json(&mut command);
    assert_eq!(
        (&report["model"], &report["precision"]),
        (&"mobilenet_v2 int8".into(), &"int8".into())
    );
    assert_eq!(report["images"], 12);
    let saved = SavedModel::open(&file).unwrap();
    let preprocessing = saved.preprocessing.as_ref().unwrap();
    for (number, line) in fs::read_to_string(&csv).unwrap().lines().skip(1).enumerate() {
        let crop = load_picture(fixture.picture(number / 4, number % 4), preprocessing).unwrap();
        let logits = saved.model.forward(&preprocessing.tensor(&[crop]).unwrap()).unwrap();
        let (class, logit) = metrics::topk(logits.data(), 1)[0];
        let fields: Vec<&str> = line.split(',').collect();
        let expected = [(number / 4).to_string(), class.to_string(), logit.to_string()];
        assert_eq!(fields[1..4], expected, "{line}");
    }

    // Class numbers come from the model and do not depend on which folders exist.
    fs::remove_dir_all(fixture.data().join("ant")).unwrap();
    succeeds(&mut command);
    assert!(fs::read_to_string(&csv).unwrap().lines().nth(1).unwrap().contains("0.ppm,1,"));
    fs::create_dir(fixture.data().join("dog")).unwrap();
    let error = fails(fixture.with_file("evaluate", &file).arg("--data").arg(fixture.data()));
    assert!(error.contains("no class of the model has the folder dog"), "{error}");

    let report = json(fixture.with_file("bench", &file).args(["--runs", "2", "--threads", "1"]));
    assert_eq!(report["precision"], "int8");
    assert!(report["median_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn inspect_prints_scales_and_sqnr() {
    let fixture = Fixture::new();
    let file = fixture.int8();
    let printed = succeeds(fixture.with_file("inspect", &file).arg("features.1"));
    assert!(printed.starts_with("InvertedResidual(\n"), "{printed}");
    assert!(printed.contains("(0): QuantizedConvReLU6_2d(8, 8, kernel_size=(3, 3)"), "{printed}");
    assert!(printed.contains("mobilenet_v2: resize 256 (bilinear), centre crop 224"), "{printed}");
    let report = json(&mut fixture.with_file("inspect", &file));
    let layers = report["layers"].as_array().unwrap();
    let layer = layers.iter().find(|layer| layer["name"] == "features.0.0").unwrap();
    assert_eq!(layer["zero_point"], 0);
    assert_eq!(layer["range"][0], 0.0);
    let (top, scale) = (layer["range"][1].as_f64().unwrap(), layer["scale"].as_f64().unwrap());
    assert!((top - 6.0).abs() <= scale || top < 6.0, "{layer}");
    assert_eq!(layer["bytes"], 8 * 27 + 8 * 4 + 8 * 4);

    let against = |reference: &str| {
        let mut command = fixture.with_file("inspect", &file);
        command.arg("--against").arg(reference).args(["--limit", "4"]);
        command.arg("--data").arg(fixture.data());
        command
    };
    let weights = fixture.path("small.safetensors");
    let report = json(&mut against(weights.to_str().unwrap()));
    assert_eq!(report["pictures"], 4);
    let layers = report["layers"].as_array().unwrap();
    let sqnr: Vec<f64> = layers.iter().map(|l| l["sqnr_db"].as_f64().unwrap()).collect();
    assert!(sqnr.is_sorted() && sqnr[0] > 5.0, "{sqnr:?}");
    assert!(layers.iter().any(|layer| layer["name"] == "features.3.add"));
    // The reference can also be given by the name of the architecture.
    let by_name = || {
        let mut command = against("mobilenet_v2");
        command.args(["--width-mult", "0.1", "--weights"]).arg(&weights);
        command
    };
    assert_eq!(json(&mut by_name())["layers"], report["layers"]);
    // With a checkpoint, the network is that of the file.
    let mut wrong = against(weights.to_str().unwrap());
    let error = fails_with_usage_error(wrong.args(["--width-mult", "0.1"]));
    assert!(error.contains("--width-mult cannot be used with a saved model"), "{error}");
    let printed = succeeds(&mut against(weights.to_str().unwrap()));
    assert!(printed.lines().nth(2).unwrap().contains("   ████"), "{printed}");

    let error = fails(by_name().args(["--activation", "relu"]));
    assert!(
        error.contains("features.0.0: the int8 network has ConvReLU6_2d(")
            && error.contains("ConvReLU2d(")
    );
}

#[test]
fn classify_prints_classes_and_unreadable_pictures() {
    let fixture = Fixture::new();
    let file = fixture.int8();
    let picture = fixture.picture(1, 2);
    let report = json(fixture.with_file("classify", &file).arg(&picture));
    let classes = report["pictures"][0]["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 3);
    let saved = SavedModel::open(&file).unwrap();
    let preprocessing = saved.preprocessing.as_ref().unwrap();
    let crop = load_picture(&picture, preprocessing).unwrap();
    let logits = saved.model.forward(&preprocessing.tensor(&[crop]).unwrap()).unwrap();
    let best = metrics::topk(logits.data(), 3);
    let mut sum = 0.0;
    for (found, (class, _)) in classes.iter().zip(best) {
        assert_eq!((&found["class"], &found["name"]), (&class.into(), &CLASSES[class].into()));
        sum += found["probability"].as_f64().unwrap();
    }
    assert!((sum - 1.0).abs() < 1e-9);

    // A picture from standard input gives the same result.
    let mut command = fixture.with_file("classify", &file);
    command.args(["-", "--json"]).stdin(fs::File::open(&picture).unwrap());
    let piped: Value = serde_json::from_str(&succeeds(&mut command)).unwrap();
    assert_eq!(piped["pictures"][0]["path"], "-");
    assert_eq!(piped["pictures"][0]["classes"], report["pictures"][0]["classes"]);

    // A glob pattern that matches a file which is no picture, and a file that does not exist.
    fs::write(fixture.picture(1, 1), "no picture").unwrap();
    let pattern = fixture.data().join("bee/*.ppm");
    let missing = fixture.path("missing.jpg");
    let mut command = fixture.with_file("classify", &file);
    let output = run(command.arg(&pattern).arg(&missing).stdin(Stdio::null()));
    assert_eq!(output.status.code(), Some(3));
    let (stdout, stderr) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let (stdout, stderr) = (stdout.unwrap(), stderr.unwrap());
    for number in [0, 2, 3] {
        let name = fixture.picture(1, number).display().to_string();
        assert!(stdout.lines().any(|line| line.starts_with(&name)), "{stdout}");
    }
    assert_eq!(stdout.matches(" %  ").count(), 9, "{stdout}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(
        lines[0].contains("bee/1.ppm: expected JPEG, PNG, BMP, PNM, WebP, GIF or TIFF, found"),
        "{stderr}"
    );
    assert!(lines[1].contains("missing.jpg: cannot read: "), "{stderr}");
    assert_eq!(
        lines[2],
        "error: 2 of 5 pictures could not be classified; the messages above say why"
    );
}

/// The pictures are the same in every layout, so the files written are too, except for the classes.
#[test]
fn calibration_pictures_need_no_labels() {
    let fixture = Fixture::new();
    let weights = fixture.path("small.safetensors");
    let flat = fixture.path("flat");
    fs::create_dir(&flat).unwrap();
    for class in 0..3 {
        for number in 0..4 {
            let name = format!("{class}{number}.ppm");
            fs::copy(fixture.picture(class, number), flat.join(name)).unwrap();
        }
    }
    let model = |calibrate: &[&Path], options: &[&str]| {
        let mut command = fixture.command("quantize");
        command.arg("--weights").arg(&weights).args(options);
        for path in calibrate {
            command.arg("--calibrate").arg(path);
        }
        let output = fixture.path("x.safetensors");
        let report = json(command.arg("-o").arg(&output));
        assert_eq!(report["pictures"], 12);
        let saved = SavedModel::open(&output).unwrap();
        let scales: Vec<_> = report["ranges"].as_array().unwrap().clone();
        (scales, saved.classes.len())
    };
    let (expected, classes) = model(&[&fixture.data()], &[]);
    assert_eq!(classes, 3);
    assert_eq!(model(&[&flat], &[]), (expected.clone(), 0));
    assert_eq!(model(&[&flat.join("*.ppm")], &[]), (expected.clone(), 0));
    let files: Vec<_> = (0..3).map(|class| fixture.data().join(CLASSES[class])).collect();
    let deep = files[2].join("deeper/still");
    fs::create_dir_all(&deep).unwrap();
    fs::rename(fixture.picture(2, 3), deep.join("3.ppm")).unwrap();
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    assert_eq!(model(&files, &[]), (expected.clone(), 0));
    // A file of classes belongs to the network, and not to the folders of the pictures.
    let list = fixture.path("classes");
    fs::write(&list, "\"golden retriever\" A dog\ngreat dane\tB\npug\n").unwrap();
    let found = model(&[&flat], &["--classes", list.to_str().unwrap()]);
    assert_eq!(found, (expected, 3));
    let saved = SavedModel::open(fixture.path("x.safetensors")).unwrap();
    assert_eq!(
        (&*saved.classes[0].folder, &*saved.classes[1].folder),
        ("golden retriever", "great dane")
    );

    let mut command = fixture.command("quantize");
    command.arg("--weights").arg(&weights).arg("--calibrate").arg(flat.join("*.jpg"));
    let error = fails_with_usage_error(command.arg("-o").arg(fixture.path("y.safetensors")));
    assert!(error.contains("flat/*.jpg: no file matches this pattern"), "{error}");
    fs::write(&list, "a\nb\n").unwrap();
    let mut command = fixture.command("quantize");
    command
        .arg("--weights")
        .arg(&weights)
        .arg("--calibrate")
        .arg(&flat)
        .arg("--classes")
        .arg(&list);
    let error = fails(command.arg("-o").arg(fixture.path("y.safetensors")));
    assert!(error.contains("it lists 2 classes, but the network has 3"), "{error}");
}

#[test]
fn wrong_files_and_options_are_errors() {
    let fixture = Fixture::new();
    let file = fixture.int8();
    let weights = fixture.path("small.safetensors");
    let bench = |file: &Path| fixture.with_file("bench", file);
    let error = fails(&mut bench(&weights));
    assert!(
        error.contains("small.safetensors: a safetensors file, but not a model saved"),
        "{error}"
    );
    let error = fails(&mut bench(&fixture.path("none.safetensors")));
    assert!(error.contains("none.safetensors: cannot open: No such file"), "{error}");
    let error = fails_with_usage_error(bench(&file).arg("--weights").arg(&weights));
    assert!(error.contains("remove the option"), "{error}");
    let error = fails_with_usage_error(bench(&file).arg("--no-fuse"));
    assert!(error.contains("--no-fuse cannot be used with an int8 model"), "{error}");
    let mut command = fixture.command("inspect");
    let error = fails_with_usage_error(
        command.args(["--against", "mobilenet_v2"]).arg("--data").arg(fixture.data()),
    );
    assert!(error.contains("but mobilenet_v2 is no saved model"), "{error}");
    let mut command = fixture.with_file("quantize", &file);
    command.arg("--calibrate").arg(fixture.data()).arg("-o").arg(fixture.path("twice.safetensors"));
    let error = fails_with_usage_error(&mut command);
    assert!(error.contains("int8.safetensors: this is an int8 model"), "{error}");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let error = fails(&mut bench(&file));
    assert!(error.contains("int8.safetensors: its content was altered or damaged"), "{error}");

    let error = fails(&mut fixture.quantize("none/int8.safetensors"));
    assert!(error.contains("none/int8.safetensors: cannot create: No such file"), "{error}");
    let error = fails(fixture.quantize("x.safetensors").args(["--classes", "/dev/null"]));
    assert!(error.contains("found no class"), "{error}");
}

/// On the first 300 pictures the float model has 88.67 %, and ONNX Runtime's int8 model 88.33 %. The
/// int8 file of PyTorch's tutorial has 3.59 MB.
#[test]
fn int8_tf_mobilenet_v2_is_accurate_and_small() {
    const TEST: &str = "int8_tf_mobilenet_v2_is_accurate_and_small";
    let assets = Path::new(ASSETS);
    if !assets.exists() {
        skipped(TEST, &format!("{ASSETS} does not exist"));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("int8.safetensors");
    let mut command = posterize(folder.path());
    command
        .args(["quantize", "tf_mobilenet_v2", "--weights"])
        .arg(assets.join("tf_mobilenet_v2.pth"));
    command.arg("--calibrate").arg(assets.join("imagenet_1k/train")).arg("-o").arg(&file);
    let report = json(&mut command);
    assert!(report["bytes_after"].as_u64().unwrap() <= 3_650_000, "{report}");
    assert_eq!(report["classes"], 1000);
    let mut command = posterize(folder.path());
    command.arg("evaluate").arg(&file).args(["--limit", "300", "--data"]);
    let report = json(command.arg(assets.join("imagenet_1k/val")));
    assert!(report["top1"].as_f64().unwrap() >= 87.0, "{report}");
}

#[test]
fn the_passes_are_those_of_the_qconfig_or_of_the_options() {
    let fixture = Fixture::new();
    let passes = |args: &[&str]| {
        let report = json(fixture.quantize("int8.safetensors").args(args));
        let passes = &report["passes"];
        let equalized = report["equalized"].as_bool().unwrap();
        (passes["equalization"].clone(), passes["bias_correction"].clone(), equalized)
    };
    let (equalization, correction, _) = passes(&[]);
    assert_eq!((equalization, correction), ("if_better".into(), "empirical".into()));
    let none = passes(&["--qconfig", "fbgemm"]);
    assert_eq!(none, ("never".into(), "none".into(), false));
    let args = ["--qconfig", "fbgemm", "--equalize", "always", "--bias-correction", "fast"];
    assert_eq!(passes(&args), ("always".into(), "fast".into(), true));
    for observer in ["min-max", "histogram", "mse", "entropy", "percentile"] {
        passes(&["--observer", observer, "--bias-correction", "none", "--equalize", "never"]);
    }
    for (rounding, reported) in [
        ("nearest", "nearest"),
        ("coordinate-descent", "coordinate_descent"),
        ("adaround", "ada_round"),
    ] {
        let mut command = fixture.quantize("int8.safetensors");
        let report = json(command.args(["--rounding", rounding, "--seed", "7"]));
        assert_eq!(report["passes"]["rounding"], reported);
        assert_eq!(report["passes"]["seed"], 7);
    }
    let mut command = fixture.quantize("int8.safetensors");
    let output = command.args(["--percentile", "20"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("expected a number from 50 to 100, found 20"), "{error}");
}
