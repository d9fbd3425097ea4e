//! `posterize evaluate`.

use std::{fs, path::Path};

use posterize::{
    data::{Preprocessing, load_picture},
    metrics,
};
use serde_json::Value;

use crate::{
    scene::{CLASSES, Scene},
    support::{ASSETS, fails, misused, posterize, run, skipped, succeeds},
};

/// The fields of each line of a CSV file without quotes, without the line of heads.
fn lines(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_predictions_are_the_models_and_the_accuracy_theirs() {
    let scene = Scene::new();
    let csv = scene.path("out.csv");
    let printed = succeeds(scene.evaluate().arg("--json").arg("--predictions").arg(&csv));
    let report = json(&printed);
    assert_eq!(report["model"], "mobilenet_v2");
    assert_eq!(report["images"], 12);
    assert_eq!(report["skipped"], 0);
    assert_eq!(report["batch_size"], 30);
    assert_eq!(report["fused"], true);
    // Three classes have no five likeliest.
    assert_eq!(report["top5"], 100.0);
    for time in ["ms_per_image", "seconds"] {
        assert!(report[time].as_f64().unwrap() > 0.0, "{time}");
    }

    let lines = lines(&csv);
    assert_eq!(lines.len(), 12);
    let mut hits = 0;
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line.len(), 12);
        let path = scene.data().join(CLASSES[number / 4]).join(format!("{}.ppm", number % 4));
        assert_eq!(line[0], path.to_str().unwrap());
        assert_eq!(line[1], (number / 4).to_string());
        hits += usize::from(line[1] == line[2]);

        let preprocessing = Preprocessing::imagenet();
        let crop = load_picture(&path, &preprocessing).unwrap();
        let logits = scene.model.forward(&preprocessing.tensor(&[crop]).unwrap()).unwrap();
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
fn nothing_depends_on_threads_or_batches() {
    let scene = Scene::new();
    let mut results = Vec::new();
    for (threads, batch) in [("1", "1"), ("2", "5"), ("3", "30")] {
        let csv = scene.path("out.csv");
        let mut command = scene.evaluate();
        command.args(["--threads", threads, "--batch-size", batch]).arg("--predictions").arg(&csv);
        succeeds(&mut command);
        results.push(fs::read_to_string(&csv).unwrap());
    }
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
}

#[test]
fn the_table_shows_what_counts() {
    let scene = Scene::new();
    let printed = succeeds(scene.evaluate().args(["--limit", "5", "--no-fuse"]));
    let lines: Vec<&str> = printed.lines().collect();
    for head in ["model", "pictures", "top-1", "top-5", "ms/picture", "pictures/s"] {
        assert!(lines[0].contains(head), "{printed}");
    }
    assert!(lines[2].starts_with("mobilenet_v2"), "{printed}");
    assert!(lines[2].contains(" 5 "), "{printed}");
    assert!(lines[2].contains("100.00 %"), "{printed}");
    assert!(!printed.contains('\x1b'), "colours where there is no terminal: {printed:?}");
}

#[test]
fn class_numbers_come_from_the_file_of_classes() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.data().join("ant")).unwrap();

    // Two folders would be classes 0 and 1 of a network that has three.
    let error = fails(&mut scene.evaluate());
    assert!(error.contains("it has 2 class folders, but the network has 3 classes"), "{error}");
    assert!(error.contains("pass --classes FILE"), "{error}");

    let labels = |command: &mut std::process::Command| {
        let csv = scene.path("out.csv");
        succeeds(command.arg("--predictions").arg(&csv));
        lines(&csv).into_iter().map(|line| line[1].clone()).collect::<Vec<_>>().concat()
    };
    let classes = scene.path("elsewhere.txt");
    fs::write(&classes, "ant an insect\nbee another\ncat\n").unwrap();
    assert_eq!(labels(scene.evaluate().arg("--classes").arg(&classes)), "11112222");

    // Beside the folders it needs no option, as in the fetched samples.
    fs::write(scene.data().join("classes.txt"), "cat\nant\nbee\n").unwrap();
    assert_eq!(labels(&mut scene.evaluate()), "22220000");

    fs::write(&classes, "ant\nbee\ncat\ndog\n").unwrap();
    let error = fails(scene.evaluate().arg("--classes").arg(&classes));
    assert!(error.contains("elsewhere.txt: it names 4 classes, but the network has 3"), "{error}");
}

#[test]
fn a_corrupt_picture_is_named_and_counted_or_fatal() {
    let scene = Scene::new();
    let corrupt = scene.data().join("bee/1.jpg");
    fs::rename(scene.data().join("bee/1.ppm"), &corrupt).unwrap();
    fs::write(&corrupt, b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01 and then nothing of a picture")
        .unwrap();

    let output = run(scene.evaluate().args(["--json", "--batch-size", "5"]));
    assert!(output.status.success());
    let report = json(std::str::from_utf8(&output.stdout).unwrap());
    assert_eq!((&report["images"], &report["skipped"]), (&Value::from(11), &Value::from(1)));
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.starts_with(&format!("warning: {}: ", corrupt.display())), "{warning}");
    assert!(warning.ends_with("(left out)\n"), "{warning}");
    assert!(succeeds(&mut scene.evaluate()).contains("1 picture left out"));

    let error = fails(scene.evaluate().arg("--strict"));
    assert!(error.starts_with(&format!("error: {}: ", corrupt.display())), "{error}");

    // Not one picture is left: no accuracy.
    for class in CLASSES {
        for entry in fs::read_dir(scene.data().join(class)).unwrap() {
            fs::write(entry.unwrap().path(), "no picture").unwrap();
        }
    }
    let error = fails(&mut scene.evaluate());
    assert!(error.contains("none of its pictures could be decoded (12 tried)"), "{error}");
}

/// A file of a few bytes that claims 30,000 x 30,000 pixels, 2.5 GiB when decoded.
#[test]
fn a_picture_too_large_to_be_true_is_refused() {
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
    let scene = Scene::new();
    let bomb = scene.data().join("bee/bomb.png");
    fs::write(&bomb, png.concat()).unwrap();
    let error = fails(scene.evaluate().arg("--strict"));
    assert!(error.contains(&format!("{}: ", bomb.display())), "{error}");
    assert!(error.contains("30000"), "{error}");
    let output = run(scene.evaluate().arg("--json"));
    assert_eq!(json(std::str::from_utf8(&output.stdout).unwrap())["skipped"], 1);
}

#[test]
fn folders_that_are_no_data_set_are_named() {
    let scene = Scene::new();
    let evaluate = |data: &str| {
        let mut command = scene.command("evaluate");
        command.arg("--weights").arg(scene.path("small.safetensors"));
        fails(command.arg("--data").arg(scene.path(data)))
    };
    fs::create_dir_all(scene.path("data/dog")).unwrap();
    let error = evaluate("data");
    assert!(error.contains("data: ") && error.contains("dog"), "{error}");
    fs::create_dir_all(scene.path("empty")).unwrap();
    let error = evaluate("empty");
    assert!(error.contains("empty: found no class folder"), "{error}");
    let error = evaluate("missing");
    assert!(error.contains("missing: ") && error.contains("No such file"), "{error}");
    let error = evaluate("small.safetensors");
    assert!(error.contains("small.safetensors: ") && error.contains("folder"), "{error}");
}

#[test]
fn predictions_go_nowhere_or_somewhere_whole() {
    let scene = Scene::new();
    let missing = scene.path("missing/out.csv");
    let error = fails(scene.evaluate().arg("--predictions").arg(&missing));
    assert!(
        error.contains(&format!("{}: cannot create: No such file", missing.display())),
        "{error}"
    );
    // A file that was there stays as it was when the evaluation fails.
    let old = scene.path("old.csv");
    fs::write(&old, "old").unwrap();
    fs::write(scene.data().join("bee/1.ppm"), "no picture").unwrap();
    fails(scene.evaluate().arg("--strict").arg("--predictions").arg(&old));
    assert_eq!(fs::read_to_string(&old).unwrap(), "old");
    assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 3);
    #[cfg(target_os = "linux")]
    {
        let error = fails(scene.evaluate().args(["--predictions", "/dev/full"]));
        assert!(error.contains("/dev/full: cannot write: No space left on device"), "{error}");
    }
}

#[test]
fn without_weights_it_says_where_there_are_some() {
    let scene = Scene::new();
    let evaluate = |model: &str| {
        let mut command = posterize(&scene.path("cache"));
        command.args(["evaluate", model, "--offline"]);
        command
    };
    let error = misused(&mut evaluate("tf_mobilenet_v2"));
    assert!(
        error.contains("no weights of tf_mobilenet_v2 can be fetched: pass --weights"),
        "{error}"
    );
    let error = misused(&mut evaluate("mobilenet_v3"));
    assert!(
        error.contains("found no model `mobilenet_v3`; the models are mobilenet_v2, "),
        "{error}"
    );
    let error = fails(&mut evaluate("efficientnet_lite0"));
    assert!(error.contains("efficientnet_lite0 has not been fetched, and --offline"), "{error}");
}

/// The README's command: fetches weights and pictures, and classifies them as PyTorch does.
#[test]
fn one_command_fetches_and_evaluates() {
    const TEST: &str = "one_command_fetches_and_evaluates";
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

/// PyTorch's figure on the first 300 pictures of the shared validation set is 88.67 %.
#[test]
fn tf_mobilenet_v2_is_as_accurate_as_in_pytorch() {
    const TEST: &str = "tf_mobilenet_v2_is_as_accurate_as_in_pytorch";
    let assets = Path::new(ASSETS);
    if !assets.exists() {
        skipped(TEST, &format!("{ASSETS} is not there"));
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
