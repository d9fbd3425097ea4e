//! Tests of `posterize fetch --list` and `--clean`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{files, posterize, run, succeeds};

/// A cache folder with weights that are whole, weights that are damaged, a part of a download and a file
/// of somebody else.
struct Cache {
    folder: TempDir,
    whole: String,
}

impl Cache {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let digest = Sha256::digest("weights");
        let digits = format!("{:08x}", u32::from_be_bytes(*digest.first_chunk().unwrap()));
        let whole = format!("mobilenet_v2/net-{digits}.pth");
        let cache = Self { folder, whole };
        cache.write(&cache.whole, "weights");
        cache.write("mobilenet_v2/net-01234567.pth", "others");
        cache.write("mobilenet_v2/net-abcdef01.pth.part", "par");
        cache.write("mobilenet_v2/net-abcdef01.pth.part.etag", "\"v1\"");
        cache.write("mobilenet_v2/notes.txt", "mine");
        cache.write("samples/classes.txt", "0000\n");
        cache.write("samples/0243/imagenet_00_243.jpg", "no picture");
        cache.write("samples/0243/mine.jpg", "mine");
        cache.write(".fetch-killed", "what a killed process left");
        cache
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn fetch(&self, arguments: &[&str]) -> Command {
        let mut command = posterize(&self.path());
        command.arg("fetch").args(arguments);
        command
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&succeeds(self.fetch(arguments).arg("--json"))).unwrap()
    }

    /// Returns the name, the path in the cache folder, the size and the state of each item.
    fn items(&self, report: &Value) -> Vec<(String, String, u64, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let items = report["items"].as_array().unwrap().iter().map(|item| {
            let path = text(&item["path"]);
            let path = Path::new(&path).strip_prefix(self.path()).unwrap().to_owned();
            let path = path.to_str().unwrap().to_owned();
            (text(&item["name"]), path, item["bytes"].as_u64().unwrap(), text(&item["state"]))
        });
        items.collect()
    }
}

fn item(name: &str, path: &str, bytes: u64, state: &str) -> (String, String, u64, String) {
    (name.into(), path.into(), bytes, state.into())
}

#[test]
fn the_list_says_what_is_whole() {
    let cache = Cache::new();
    let report = cache.json(&["--list"]);
    let mut expected = vec![
        item("mobilenet_v2", "mobilenet_v2/net-01234567.pth", 6, "damaged"),
        item("mobilenet_v2", &cache.whole, 7, "verified"),
        item("mobilenet_v2", "mobilenet_v2/net-abcdef01.pth.part", 3, "partial"),
        item("samples", "samples", 19, "damaged"),
    ];
    expected[..3].sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(cache.items(&report), expected);
    assert_eq!((&report["bytes"], &report["cache"]), (&json!(35), &json!(cache.path())));
    // Listing changes nothing, not even what a killed process left.
    assert!(cache.path().join(".fetch-killed").exists());
    let text = succeeds(&mut cache.fetch(&["--list"]));
    assert!(text.contains("net-abcdef01.pth.part") && text.contains("partial"), "{text}");
    assert!(text.trim_end().ends_with(&format!("35 B in {}", cache.path().display())), "{text}");
}

#[test]
fn cleaning_removes_downloads_and_nothing_else() {
    let cache = Cache::new();
    let listed = cache.json(&["--list"]);
    let removed = cache.json(&["--clean", "samples"]);
    assert_eq!(cache.items(&removed), [item("samples", "samples", 19, "damaged")]);
    assert_eq!(files(&cache.path().join("samples")), ["0243/mine.jpg"]);
    let removed = cache.json(&["--clean"]);
    assert_eq!(cache.items(&removed), cache.items(&listed)[..3]);
    assert_eq!(files(&cache.path()), ["mobilenet_v2/notes.txt", "samples/0243/mine.jpg"]);
    assert_eq!(cache.json(&["--clean"])["items"], json!([]));
    let text = succeeds(&mut cache.fetch(&["--clean"]));
    assert_eq!(text, format!("{}: nothing to remove\n", cache.path().display()));
    // A folder in which nothing else was goes too.
    fs::remove_file(cache.path().join("mobilenet_v2/notes.txt")).unwrap();
    cache.write(&cache.whole, "weights");
    cache.json(&["--clean", "mobilenet_v2"]);
    assert!(!cache.path().join("mobilenet_v2").exists());
}

#[test]
fn a_cache_folder_that_does_not_exist_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    for option in ["--list", "--clean"] {
        let text = succeeds(posterize(&cache).args(["fetch", option]));
        assert!(text.starts_with(&format!("{}: nothing ", cache.display())), "{text}");
    }
    assert!(!cache.exists());
}

#[test]
fn cleaning_waits_for_a_download() {
    let cache = Cache::new();
    let lock = fs::File::create(cache.path().join(".lock")).unwrap();
    lock.lock().unwrap();
    let mut clean = cache.fetch(&["--clean"]);
    let child = clean.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(cache.path().join(&cache.whole).exists());
    drop(lock);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("waiting for another"));
    assert!(!cache.path().join(&cache.whole).exists());
}

#[test]
fn listing_and_cleaning_take_no_item_to_download() {
    let cache = Cache::new();
    for arguments in [
        &["samples", "--list"][..],
        &["samples", "--clean"],
        &["--list", "--clean"],
        &["--clean", "vgg"],
        &[],
    ] {
        let output = run(&mut cache.fetch(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
