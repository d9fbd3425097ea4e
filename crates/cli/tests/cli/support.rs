//! What the tests of the binary share.

use std::{
    ffi::OsString,
    io::Write,
    path::Path,
    process::{Command, Output},
};

/// The program, with a cache folder of its own and nothing of the environment that changes what it
/// does.
pub(crate) fn posterize(cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posterize"));
    command.env("POSTERIZE_CACHE", cache);
    for name in [
        "POSTERIZE_DOWNLOAD_URL",
        "POSTERIZE_PYTHON",
        "POSTERIZE_ISA",
        "SSL_CERT_FILE",
        "XDG_CACHE_HOME",
    ] {
        command.env_remove(name);
    }
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}

/// Real inputs beside the project, for the tests that compare with measured figures.
pub(crate) const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/assets");

/// What this machine needs to reach package registries.
pub(crate) fn network() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy().to_uppercase();
        name.ends_with("_PROXY") || name == "SSL_CERT_FILE"
    })
}

/// Runs the program to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

/// What the program prints on stdout when it does its work.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = run(command);
    let (stdout, stderr) = text(&output);
    assert!(output.status.success(), "{:?}: {stdout}{stderr}", output.status);
    stdout
}

/// What the program prints on stderr when it ends with exit code 1. It must be an error of one
/// line, and nothing may be on stdout.
#[track_caller]
pub(crate) fn fails(command: &mut Command) -> String {
    ends_with(command, 1)
}

/// The same for exit code 2: arguments that make no sense.
#[track_caller]
pub(crate) fn misused(command: &mut Command) -> String {
    ends_with(command, 2)
}

#[track_caller]
fn ends_with(command: &mut Command, code: i32) -> String {
    let output = run(command);
    let (stdout, stderr) = text(&output);
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    assert_eq!(stdout, "");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{stderr}");
    stderr
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&output.stdout), text(&output.stderr))
}

/// The files below `folder`, by their relative paths, in order.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let path = path.strip_prefix(root).expect("below the root");
                found.push(path.to_str().expect("UTF-8").to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.retain(|path| path != ".lock");
    found.sort();
    found
}

/// Bytes that compress badly and never repeat.
pub(crate) fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(count)
    .collect()
}

/// Says that a test could not run here. Straight to stderr, where the test harness shows it.
pub(crate) fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped {test}: {why}");
}
