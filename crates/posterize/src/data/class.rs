//! Classes of a data set.

/// A class of a data set.
///
/// ```
/// # #[cfg(feature = "data")] {
/// use posterize::data::{Class, ImageFolder};
///
/// let root = tempfile::tempdir().unwrap();
/// let folder = root.path().join("n01440764");
/// std::fs::create_dir(&folder).unwrap();
/// std::fs::write(folder.join("0.ppm"), b"P6 1 1 255 rgb").unwrap();
/// let list = root.path().join("classes.txt");
/// std::fs::write(&list, "n01440764 tench\n").unwrap();
///
/// let folder = ImageFolder::open(root.path(), Some(&list))?;
/// assert_eq!(folder.classes(), [Class { folder: "n01440764".into(), name: "tench".into() }]);
/// # }
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The folder's name: `n01440764`.
    pub folder: String,
    /// The class name in the file of classes: `tench`. It is the folder's name if there is no such
    /// file.
    pub name: String,
}
