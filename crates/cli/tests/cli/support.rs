//! Functions that the tests share.

use std::{
    ffi::OsString,
    io::Write,
    path::Path,
    process::{Command, Output},
};

/// Returns a command that runs the program with its own cache folder, and without environment variables
/// that change its behaviour.
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

/// A folder of real checkpoints and pictures beside the project, for tests that compare with measured
/// accuracies. Tests that need it are skipped if it does not exist.
pub(crate) const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/assets");

/// Returns the environment variables that this machine needs to reach package registries.
pub(crate) fn network() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy().to_uppercase();
        name.ends_with("_PROXY") || name == "SSL_CERT_FILE"
    })
}

/// Runs the program.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

/// Runs the program, which must succeed, and returns what it prints on stdout.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = run(command);
    let (stdout, stderr) = text(&output);
    assert!(output.status.success(), "{:?}: {stdout}{stderr}", output.status);
    stdout
}

/// Runs the program, which must end with an exit code of a failure, an error as the last line of stderr
/// and nothing on stdout. Returns what it prints on stderr.
#[track_caller]
pub(crate) fn fails(command: &mut Command) -> String {
    ends_with(command, &[1, 3, 4])
}

/// Does the same for exit code 2, that of wrong arguments.
#[track_caller]
pub(crate) fn fails_with_usage_error(command: &mut Command) -> String {
    ends_with(command, &[2])
}

#[track_caller]
fn ends_with(command: &mut Command, codes: &[i32]) -> String {
    let output = run(command);
    let (stdout, stderr) = text(&output);
    assert!(
        codes.contains(&output.status.code().unwrap()),
        "{:?}: {stdout}{stderr}",
        output.status
    );
    assert_eq!(stdout, "");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{stderr}");
    stderr
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&output.stdout), text(&output.stderr))
}

/// Returns the relative paths of all files below `folder` in sorted order, without `.lock`.
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

/// Returns pseudo-random bytes.
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

/// Prints that a test was skipped. It writes to stderr directly, because the test harness captures what
/// is printed with `eprintln!`.
pub(crate) fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped {test}: {why}");
}

/// Writes a .npy file of f32.
pub(crate) fn write_npy(path: &Path, shape: &str, values: &[f32]) {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}
