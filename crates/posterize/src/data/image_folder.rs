//! A folder of class folders, as torchvision's `ImageFolder` reads it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};

/// The endings of the files that are samples, in any case; torchvision's `IMG_EXTENSIONS`.
pub const EXTENSIONS: [&str; 9] =
    [".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"];

/// A class: its folder, and its readable name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The folder's name: `n01440764`.
    pub folder: String,
    /// What the file of classes calls it: `tench`; the folder's name where there is no such file.
    pub name: String,
}

/// A picture and the number of its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// The class number.
    pub label: usize,
}

/// Labelled pictures in one folder per class; torchvision's `ImageFolder`.
///
/// Class numbers follow the sorted folder names, or a file of classes. Samples are sorted by class
/// folder, then by folder and file name within it, as torchvision sorts them; "the first 300" are
/// the first 300 in this order. Cloning is cheap.
///
/// ```no_run
/// use posterize::data::ImageFolder;
/// let folder = ImageFolder::open("imagenet/train", Some("imagenet/classes.txt".as_ref()))?;
/// println!("{} pictures of {} classes", folder.len(), folder.classes().len());
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    root: PathBuf,
    classes: Arc<[Class]>,
    samples: Arc<[Sample]>,
}

impl ImageFolder {
    /// Lists the pictures below `root`.
    ///
    /// `classes` is a text file with a line for each class, in the order of their numbers: the
    /// name of its folder, then, after white space, its readable name. With it a class may have
    /// no folder; without it the folders are the classes.
    ///
    /// # Errors
    /// `root` or a folder below it cannot be read, or is no folder; there is no class folder, or one
    /// without pictures; the file of classes cannot be read, is empty, names a folder twice, or
    /// lacks a folder that is there.
    pub fn open(root: impl AsRef<Path>, classes: Option<&Path>) -> Result<Self> {
        let root = root.as_ref();
        let folders = class_folders(root)?;
        let classes = match classes {
            Some(file) => read_classes(file)?,
            None => folders
                .iter()
                .map(|folder| Class { folder: folder.clone(), name: folder.clone() })
                .collect(),
        };
        Self::list(root, &folders, classes, "line of the file of classes begins with")
    }

    /// Lists the pictures below `root`, whose folders are among `classes`, in the order of their
    /// numbers; a saved model knows its own.
    ///
    /// # Errors
    /// As [`ImageFolder::open`]; a folder is that of none of the classes.
    pub fn with_classes(root: impl AsRef<Path>, classes: &[Class]) -> Result<Self> {
        let root = root.as_ref();
        let folders = class_folders(root)?;
        Self::list(root, &folders, classes.to_vec(), "class of the model has the folder")
    }

    /// `lacking` completes "no … FOLDER" where a folder has no class.
    fn list(root: &Path, folders: &[String], classes: Vec<Class>, lacking: &str) -> Result<Self> {
        if folders.is_empty() {
            return Err(dataset(
                root,
                "found no class folder; expected one folder of pictures for each class",
            ));
        }
        let numbers: HashMap<&str, usize> =
            classes.iter().enumerate().map(|(n, class)| (class.folder.as_str(), n)).collect();

        let unknown: Vec<&str> =
            folders.iter().map(String::as_str).filter(|f| !numbers.contains_key(f)).collect();
        if !unknown.is_empty() {
            return Err(dataset(
                root,
                format!("no {lacking} {}; add one, or remove the folder", some_of(&unknown)),
            ));
        }

        let mut samples = Vec::new();
        let mut empty = Vec::new();
        for folder in folders {
            let before = samples.len();
            let label = numbers[folder.as_str()];
            let mut paths = pictures_below(&root.join(folder))?;
            samples.extend(paths.drain(..).map(|path| Sample { path, label }));
            if samples.len() == before {
                empty.push(folder.as_str());
            }
        }
        if !empty.is_empty() {
            return Err(dataset(
                root,
                format!(
                    "found no picture for the class {}; expected files that end in {}",
                    some_of(&empty),
                    EXTENSIONS.join(", ")
                ),
            ));
        }
        Ok(Self { root: root.to_path_buf(), classes: classes.into(), samples: samples.into() })
    }

    /// The folder that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The classes in the order of their numbers.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The pictures in order.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is no picture; never so for a folder that was opened.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    pub(super) fn shared_samples(&self) -> Arc<[Sample]> {
        Arc::clone(&self.samples)
    }
}

fn dataset(path: &Path, problem: impl Into<String>) -> Error {
    Error::Dataset { path: path.to_path_buf(), problem: problem.into() }
}

/// The first few of many names.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        others => format!("{shown} and {others} others"),
    }
}

/// The sorted names of the folders in `root`.
fn class_folders(root: &Path) -> Result<Vec<String>> {
    let metadata = fs::metadata(root).map_err(Error::io(root, "read the folder"))?;
    if !metadata.is_dir() {
        return Err(dataset(root, "not a folder; expected one with a folder for each class"));
    }
    let mut folders = Vec::new();
    for entry in entries(root)? {
        if entry.is_dir {
            let name = entry.path.file_name().unwrap_or_default();
            let name = name.to_str().ok_or_else(|| {
                let name = name.display();
                dataset(root, format!("the class folder {name} is not named in UTF-8; rename it"))
            })?;
            folders.push(name.to_owned());
        }
    }
    folders.sort_unstable();
    Ok(folders)
}

struct Entry {
    path: PathBuf,
    is_dir: bool,
    is_link: bool,
}

/// What a folder holds: folders, regular files, and links to either.
fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let failed = || Error::io(folder, "read the folder");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let path = entry.path();
        let kind = entry.file_type().map_err(failed())?;
        let (is_dir, is_file) = if kind.is_symlink() {
            // A dangling link, or one in a circle, leads nowhere.
            fs::metadata(&path).map_or((false, false), |m| (m.is_dir(), m.is_file()))
        } else {
            (kind.is_dir(), kind.is_file())
        };
        if is_dir || is_file {
            found.push(Entry { path, is_dir, is_link: kind.is_symlink() });
        }
    }
    Ok(found)
}

/// All pictures below `folder`, links followed: sorted by folder, then by file name.
fn pictures_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut by_folder = BTreeMap::new();
    let mut above = vec![real(folder)?];
    walk(folder, &mut above, &mut by_folder)?;
    Ok(by_folder.into_values().flatten().collect())
}

fn real(folder: &Path) -> Result<PathBuf> {
    fs::canonicalize(folder).map_err(Error::io(folder, "read the folder"))
}

/// `above` holds the real paths of `folder` and of the folders it was reached through.
fn walk(
    folder: &Path,
    above: &mut Vec<PathBuf>,
    by_folder: &mut BTreeMap<Vec<u8>, Vec<PathBuf>>,
) -> Result<()> {
    let mut pictures = Vec::new();
    for entry in entries(folder)? {
        if entry.is_dir {
            let real = real(&entry.path)?;
            // A link to a folder above would lead round for ever.
            if !(entry.is_link && above.contains(&real)) {
                above.push(real);
                walk(&entry.path, above, by_folder)?;
                above.pop();
            }
        } else if is_picture(&entry.path) {
            pictures.push(entry.path);
        }
    }
    pictures.sort_unstable_by(|a, b| bytes_of(a).cmp(bytes_of(b)));
    // The whole path as text orders folders: torchvision sorts `a-b` before `a/b`.
    by_folder.insert(bytes_of(folder).to_vec(), pictures);
    Ok(())
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

fn is_picture(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    EXTENSIONS.iter().any(|extension| name.ends_with(extension))
}

fn read_classes(file: &Path) -> Result<Vec<Class>> {
    let bytes = fs::read(file).map_err(Error::io(file, "read"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|&b| b == b'\n');
        dataset(file, format!("line {} is not UTF-8 text", line.count()))
    })?;
    let mut classes = Vec::new();
    let mut lines: HashMap<&str, usize> = HashMap::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let (folder, name) = line.split_once(char::is_whitespace).unwrap_or((line, line));
        if let Some(before) = lines.insert(folder, number + 1) {
            return Err(dataset(
                file,
                format!(
                    "lines {before} and {} both begin with {folder}; every class needs a folder of \
                     its own",
                    number + 1
                ),
            ));
        }
        classes.push(Class { folder: folder.to_owned(), name: name.trim().to_owned() });
    }
    if classes.is_empty() {
        return Err(dataset(file, "names no class; expected a line for each: FOLDER NAME"));
    }
    Ok(classes)
}
