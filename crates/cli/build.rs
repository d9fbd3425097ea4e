//! Packs the pictures of `embedded/` into one file, which the program carries.
//!
//! For each picture: the length of its path below `embedded/` (`u32`, little endian), the path with
//! slashes, the length of the file, the file.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../embedded");
    let mut packed = Vec::new();
    for split in ["train", "val"] {
        let folder = embedded.join(split);
        println!("cargo::rerun-if-changed={}", folder.display());
        for class in sorted(&folder)? {
            for file in sorted(&class)? {
                let path = file.strip_prefix(&embedded).expect("a file below the folder");
                let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
                for part in [parts.join("/").as_bytes(), &fs::read(&file)?] {
                    packed.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
                    packed.extend(part);
                }
            }
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("pictures.bin"), packed)
}

/// The files and folders in a folder, by name.
fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    Ok(paths)
}
