//! Tests of `posterize classify` with `--topk` and `--names`.

use std::fs;

use serde_json::{Value, json};

use crate::{
    fixture::Fixture,
    support::{fails, succeeds},
};

fn classify(fixture: &Fixture, options: &[&str]) -> std::process::Command {
    let mut command = fixture.command("classify");
    command.arg("--weights").arg(fixture.path("small.safetensors")).args(options);
    command.arg(fixture.data().join("bee/0.ppm"));
    command
}

fn classes(fixture: &Fixture, options: &[&str]) -> Vec<Value> {
    let report = succeeds(classify(fixture, options).arg("--json"));
    let report: Value = serde_json::from_str(&report).unwrap();
    report["pictures"][0]["classes"].as_array().unwrap().clone()
}

#[test]
fn the_most_probable_classes_are_as_many_as_asked_for() {
    let fixture = Fixture::new();
    let all = classes(&fixture, &[]);
    // The network has three classes.
    assert_eq!(all.len(), 3);
    assert_eq!(classes(&fixture, &["--topk", "10"]), all);
    assert_eq!(classes(&fixture, &["--topk", "1"]), all[..1]);
    let text = succeeds(&mut classify(&fixture, &["--topk", "2"]));
    assert_eq!(text.lines().count(), 3, "{text}");
    let output = classify(&fixture, &["--topk", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn names_come_from_a_file() {
    let fixture = Fixture::new();
    let file = fixture.path("names");
    let names = file.to_str().unwrap();
    let mut expected = Vec::new();
    for text in [
        "red ant\nhoney bee\ntabby\n",
        "0,red ant\n1,honey bee\n2,tabby\n",
        r#"["red ant", "honey bee", "tabby"]"#,
        r#"{"0": ["n0", "red ant"], "1": ["n1", "honey bee"], "2": ["n2", "tabby"]}"#,
    ] {
        fs::write(&file, text).unwrap();
        let found = classes(&fixture, &["--names", names]);
        for class in &found {
            let name = ["red ant", "honey bee", "tabby"][class["class"].as_u64().unwrap() as usize];
            assert_eq!(class["name"], json!(name));
        }
        expected.push(found);
    }
    assert!(expected.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(succeeds(&mut classify(&fixture, &["--names", names])).contains("%  honey bee\n"));

    fs::write(&file, "red ant\nhoney bee\n").unwrap();
    let error = fails(&mut classify(&fixture, &["--names", names]));
    assert!(error.contains("names: it has 2 names, but the network has 3 classes"), "{error}");
    let error = fails(&mut classify(&fixture, &["--names", "/no/such/names"]));
    assert!(error.contains("/no/such/names: cannot read"), "{error}");
}

#[test]
fn names_of_a_file_replace_those_of_a_saved_model() {
    let fixture = Fixture::new();
    let (int8, file) = (fixture.path("int8.safetensors"), fixture.path("names.txt"));
    let mut quantize = fixture.command("quantize");
    quantize.arg("--weights").arg(fixture.path("small.safetensors"));
    succeeds(quantize.arg("--calibrate").arg(fixture.data()).arg("-o").arg(&int8));
    fs::write(&file, "a\nb\nc\n").unwrap();
    let classify = |options: &[&str]| {
        let mut command = crate::support::posterize(&fixture.path("cache"));
        command.arg("classify").arg(&int8).arg(fixture.data().join("bee/0.ppm")).args(options);
        let report: Value = serde_json::from_str(&succeeds(command.arg("--json"))).unwrap();
        let best = &report["pictures"][0]["classes"][0];
        (best["class"].as_u64().unwrap() as usize, best["folder"].clone(), best["name"].clone())
    };
    let (class, folder, name) = classify(&[]);
    assert_eq!((&folder, &name), (&json!(["ant", "bee", "cat"][class]), &folder));
    let named = classify(&["--names", file.to_str().unwrap()]);
    assert_eq!(named, (class, folder, json!(["a", "b", "c"][class])));
}
