//! Data sets of one folder per class, as in torchvision's `ImageFolder`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::class::Class;
use super::class_list::{dataset, read_classes_of, space_hint};
use crate::error::{Error, Result};

/// The file name extensions of samples, in upper or lower case; torchvision's `IMG_EXTENSIONS`.
pub const EXTENSIONS: [&str; 9] =
    [".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"];

/// A picture file and its label.
///
/// ```
/// use posterize::data::ImageFolder;
///
/// let root = tempfile::tempdir().unwrap();
/// for class in ["ant", "bee"] {
///     std::fs::create_dir(root.path().join(class)).unwrap();
///     std::fs::write(root.path().join(class).join("0.ppm"), b"P6 1 1 255 rgb").unwrap();
/// }
/// let folder = ImageFolder::open(root.path(), None)?;
/// let sample = &folder.samples()[1];
/// assert_eq!((sample.path.as_path(), sample.label), (root.path().join("bee/0.ppm").as_path(), 1));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// The index of its class in [`ImageFolder::classes`].
    pub label: usize,
}

/// A data set of labelled pictures in one folder per class; torchvision's `ImageFolder`.
///
/// Labels are the positions of the sorted folder names, or those of the lines in a file of classes.
/// Samples are in torchvision's order: sorted by class folder, then by folder and file name within
/// it. Unlike in torchvision, folders whose names begin with a dot are left out (`.ipynb_checkpoints`
/// has copies of pictures). Cloning is cheap.
///
/// ```
/// use posterize::data::ImageFolder;
///
/// let root = tempfile::tempdir().unwrap();
/// for class in ["ant", "bee"] {
///     std::fs::create_dir(root.path().join(class)).unwrap();
///     std::fs::write(root.path().join(class).join("0.ppm"), b"P6 1 1 255 rgb").unwrap();
/// }
/// let folder = ImageFolder::open(root.path(), None)?;
/// assert_eq!(folder.len(), 2);
/// assert_eq!(folder.classes()[1].name, "bee");
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
    /// `classes` is a text file of classes, as
    /// [`read_classes`](super::read_classes) reads it. With this file, a class may
    /// have no folder. Without it, the folders are the classes.
    ///
    /// # Errors
    /// Returns an error if `root` or a folder below it cannot be read or is not a folder, if there
    /// is no class folder, or if a class folder has no pictures. Returns an error if the file of
    /// classes cannot be read, is empty, names a folder twice, or does not name one of the folders.
    pub fn open(root: impl AsRef<Path>, classes: Option<&Path>) -> Result<Self> {
        let root = root.as_ref();
        let folders = class_folders(root)?;
        let classes = match classes {
            Some(file) => read_classes_of(file, &folders)?,
            None => folders
                .iter()
                .map(|folder| Class { folder: folder.clone(), name: folder.clone() })
                .collect(),
        };
        Self::list(root, &folders, classes, "line of the file of classes begins with")
    }

    /// Lists the pictures below `root` with given classes, such as those of a saved model.
    ///
    /// Labels are the positions in `classes`. A class may have no folder.
    ///
    /// # Errors
    /// Returns the same errors as [`ImageFolder::open`], and an error if a folder belongs to none
    /// of the classes.
    pub fn with_classes(root: impl AsRef<Path>, classes: &[Class]) -> Result<Self> {
        let root = root.as_ref();
        let folders = class_folders(root)?;
        Self::list(root, &folders, classes.to_vec(), "class of the model has the folder")
    }

    /// Reads a file of classes as [`ImageFolder::open`] does, for the class folders in `root`, of which
    /// there may be none.
    ///
    /// # Errors
    /// Returns the errors of [`read_classes`](super::read_classes), and an error if `root` cannot be read.
    pub fn read_classes(root: impl AsRef<Path>, file: impl AsRef<Path>) -> Result<Vec<Class>> {
        read_classes_of(file.as_ref(), &class_folders(root.as_ref())?)
    }

    /// Lists pictures that need no labels, such as those for calibration: all have the label 0, and
    /// there are no classes.
    ///
    /// Each of `paths` is a picture, or a folder with pictures at any depth: those in the folder
    /// itself first, then those of the folders in it in the order of [`ImageFolder::open`].
    /// [`ImageFolder::root`] is the first of `paths`.
    ///
    /// ```
    /// use posterize::data::ImageFolder;
    ///
    /// let root = tempfile::tempdir().unwrap();
    /// for name in ["a.ppm", "b.ppm"] {
    ///     std::fs::write(root.path().join(name), b"P6 1 1 255 rgb").unwrap();
    /// }
    /// let pictures = ImageFolder::unlabelled(&[root.path()])?;
    /// assert_eq!((pictures.len(), pictures.classes().len()), (2, 0));
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if a folder or file cannot be read, or if there is no picture in any of
    /// `paths`.
    pub fn unlabelled(paths: &[impl AsRef<Path>]) -> Result<Self> {
        let mut found = Vec::new();
        for path in paths.iter().map(AsRef::as_ref) {
            let metadata = fs::metadata(path).map_err(Error::io(path, "read"))?;
            if !metadata.is_dir() {
                found.push(path.to_path_buf());
                continue;
            }
            let pictures = entries(path)?.into_iter().filter(|entry| !entry.is_dir);
            let mut pictures: Vec<PathBuf> =
                pictures.map(|entry| entry.path).filter(|path| is_picture(path)).collect();
            pictures.sort_unstable_by(|a, b| bytes_of(a).cmp(bytes_of(b)));
            found.append(&mut pictures);
            let mut folders: Vec<PathBuf> =
                entries(path)?.into_iter().filter(|e| e.is_dir).map(|entry| entry.path).collect();
            folders.sort_unstable_by(|a, b| bytes_of(a).cmp(bytes_of(b)));
            for folder in folders {
                found.append(&mut pictures_below(&folder)?);
            }
        }
        let root = paths.first().map(|path| path.as_ref().to_path_buf()).unwrap_or_default();
        if found.is_empty() {
            return Err(dataset(
                &root,
                format!(
                    "found no picture; expected files with the extensions {}",
                    EXTENSIONS.join(", ")
                ),
            ));
        }
        let samples = found.into_iter().map(|path| Sample { path, label: 0 }).collect();
        Ok(Self { root, classes: Arc::new([]), samples })
    }

    /// Lists the pictures of the folders. `missing` completes the error "no … FOLDER" for a folder
    /// without a class.
    fn list(root: &Path, folders: &[String], classes: Vec<Class>, missing: &str) -> Result<Self> {
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
                format!(
                    "no {missing} {}; add one, or remove the folder{}",
                    some_of(&unknown),
                    space_hint(&unknown)
                ),
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
                    "found no picture for the class {}; expected files with the extensions {}",
                    some_of(&empty),
                    EXTENSIONS.join(", ")
                ),
            ));
        }
        Ok(Self { root: root.to_path_buf(), classes: classes.into(), samples: samples.into() })
    }

    /// Returns the folder that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the classes in the order of the labels.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Returns the samples in order.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Returns the number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Returns whether there are no samples. This is always `false`, because a folder without
    /// pictures is an error.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    pub(super) fn shared_samples(&self) -> Arc<[Sample]> {
        Arc::clone(&self.samples)
    }
}

/// Joins the first few names, and counts the others.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        others => format!("{shown} and {others} others"),
    }
}

/// Returns the sorted names of the folders in `root`.
fn class_folders(root: &Path) -> Result<Vec<String>> {
    let metadata = fs::metadata(root).map_err(Error::io(root, "read the folder"))?;
    if !metadata.is_dir() {
        return Err(dataset(
            root,
            "expected a folder with one folder for each class, found a file",
        ));
    }
    let mut folders = Vec::new();
    for entry in entries(root)? {
        if entry.is_dir {
            let name = entry.path.file_name().unwrap_or_default();
            let name = name.to_str().ok_or_else(|| {
                let name = name.display();
                dataset(
                    root,
                    format!("the name of the class folder {name} is not UTF-8; rename it"),
                )
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

/// Returns the folders and regular files in a folder, and the links to such. Folders whose names begin
/// with a dot are left out.
fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let failed = || Error::io(folder, "read the folder");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let path = entry.path();
        let kind = entry.file_type().map_err(failed())?;
        let (is_dir, is_file) = if kind.is_symlink() {
            // A link that is broken or part of a loop is left out.
            fs::metadata(&path).map_or((false, false), |m| (m.is_dir(), m.is_file()))
        } else {
            (kind.is_dir(), kind.is_file())
        };
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if is_file || (is_dir && !is_hidden) {
            found.push(Entry { path, is_dir, is_link: kind.is_symlink() });
        }
    }
    Ok(found)
}

/// Returns all pictures below `folder`, sorted by folder, then by file name. Links are followed.
fn pictures_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut by_folder = BTreeMap::new();
    let mut parents = vec![canonical(folder)?];
    walk(folder, &mut parents, &mut by_folder)?;
    Ok(by_folder.into_values().flatten().collect())
}

fn canonical(folder: &Path) -> Result<PathBuf> {
    fs::canonicalize(folder).map_err(Error::io(folder, "read the folder"))
}

/// Adds the pictures of `folder` and the folders below it to `by_folder`. `parents` has the
/// canonical paths of `folder` and of the folders above it.
fn walk(
    folder: &Path,
    parents: &mut Vec<PathBuf>,
    by_folder: &mut BTreeMap<Vec<u8>, Vec<PathBuf>>,
) -> Result<()> {
    let mut pictures = Vec::new();
    for entry in entries(folder)? {
        if entry.is_dir {
            let path = canonical(&entry.path)?;
            // A link to a parent folder would be followed without end.
            if !(entry.is_link && parents.contains(&path)) {
                parents.push(path);
                walk(&entry.path, parents, by_folder)?;
                parents.pop();
            }
        } else if is_picture(&entry.path) {
            pictures.push(entry.path);
        }
    }
    pictures.sort_unstable_by(|a, b| bytes_of(a).cmp(bytes_of(b)));
    // torchvision sorts folders by the whole path as text, so `a-b` comes before `a/b`.
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
