//! Tests of the samples and labels of an image folder.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use posterize::Error;
use posterize::data::{Class, ImageFolder};
use tempfile::TempDir;

/// Creates a folder with these files. They are empty, because listing does not open them.
fn folder(files: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    root
}

fn listed(root: &Path, folder: &ImageFolder) -> Vec<(String, usize)> {
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    folder.samples().iter().map(|s| (name(&s.path), s.label)).collect()
}

fn problem(root: &Path, classes: Option<&Path>) -> String {
    ImageFolder::open(root, classes).unwrap_err().to_string()
}

#[test]
fn samples_are_in_torchvisions_order() {
    // The order of torchvision.datasets.ImageFolder for these files.
    let expected = [
        ("B/z.png", 0),
        ("a/1.JPG", 1),
        ("a/10.jpeg", 1),
        ("a/2.webp", 1),
        ("a/Z.bmp", 1),
        ("a/x/1.tif", 1),
        ("a/x-y/1.ppm", 1),
        ("a/x/y/1.pgm", 1),
        ("b/1.tiff", 2),
    ];
    let mut files: Vec<&str> = expected.iter().map(|(file, _)| *file).collect();
    files.reverse();
    files.extend(["a/readme.txt", "a/x/noextension", "a/2.webp.bak", "stray.jpg"]);
    let root = folder(&files);
    let opened = ImageFolder::open(root.path(), None).unwrap();
    let expected: Vec<_> =
        expected.iter().map(|(file, label)| ((*file).to_owned(), *label)).collect();
    assert_eq!(listed(root.path(), &opened), expected);
    let names: Vec<&str> = opened.classes().iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, ["B", "a", "b"]);
    assert_eq!((opened.len(), opened.is_empty(), opened.root()), (9, false, root.path()));
}

#[test]
fn labels_are_the_positions_in_the_file_of_classes() {
    let root = folder(&["n2/a.jpg", "n4/a.jpg", "n1/a.jpg"]);
    let classes = root.path().join("classes.txt");
    fs::write(&classes, "\u{feff}n3 nobody\r\nn4\ttree  frog \r\n\r\nn1\r\nn2 great white shark")
        .unwrap();
    let opened = ImageFolder::open(root.path(), Some(&classes)).unwrap();
    let labels: Vec<usize> = opened.samples().iter().map(|sample| sample.label).collect();
    assert_eq!(labels, [2, 3, 1], "n1, n2, n4");
    let names: Vec<&str> = opened.classes().iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, ["nobody", "tree  frog", "n1", "great white shark"]);
}

#[test]
fn names_with_spaces_are_in_quotes_or_before_a_tab() {
    let root = folder(&["golden retriever/a.jpg", "great dane/a.jpg", "a \"b\"/a.jpg"]);
    let classes = root.path().join("classes.txt");
    fs::write(
        &classes,
        "\"golden retriever\" A dog\ngreat dane\tB dog\n\"a \"\"b\"\"\"\npug \ncocker spaniel\t\n",
    )
    .unwrap();
    let opened = ImageFolder::open(root.path(), Some(&classes)).unwrap();
    let found: Vec<(&str, &str)> =
        opened.classes().iter().map(|c| (c.folder.as_str(), c.name.as_str())).collect();
    let expected = [
        ("golden retriever", "A dog"),
        ("great dane", "B dog"),
        ("a \"b\"", "a \"b\""),
        ("pug", "pug"),
        ("cocker spaniel", "cocker spaniel"),
    ];
    assert_eq!(found, expected);
    fs::write(&classes, "golden retriever\n").unwrap();
    let message = problem(root.path(), Some(&classes));
    assert!(message.contains("begins with a \"b\", great dane;"), "{message}");
    assert!(message.contains("in double quotes, or a tab follows it"), "{message}");
    fs::write(&classes, "\"golden retriever\n").unwrap();
    let message = problem(root.path(), Some(&classes));
    assert!(message.contains("line 1: the quote at its beginning has no end"), "{message}");
}

#[test]
fn folders_that_begin_with_a_dot_are_left_out() {
    let files = ["a/1.jpg", "a/.ipynb_checkpoints/1-checkpoint.jpg", "b/1.jpg"];
    let root = folder(&[&files[..], &[".ipynb_checkpoints/1-checkpoint.jpg", ".git/x"]].concat());
    let opened = ImageFolder::open(root.path(), None).unwrap();
    assert_eq!(listed(root.path(), &opened), [("a/1.jpg".into(), 0), ("b/1.jpg".into(), 1)]);
}

#[test]
fn unlabelled_pictures_are_files_and_flat_and_nested_folders() {
    let root =
        folder(&["2.jpg", "1.png", "b/1.jpg", "a/x/3.jpg", "a/2.jpg", "notes.txt", ".x/1.jpg"]);
    let names = |paths: &[&str]| -> Vec<String> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| root.path().join(path)).collect();
        let found = ImageFolder::unlabelled(&paths).unwrap();
        assert!(found.classes().is_empty() && found.root() == paths[0]);
        listed(root.path(), &found).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&[""]), ["1.png", "2.jpg", "a/2.jpg", "a/x/3.jpg", "b/1.jpg"]);
    assert_eq!(names(&["b/1.jpg", "a", "2.jpg"]), ["b/1.jpg", "a/2.jpg", "a/x/3.jpg", "2.jpg"]);
    fs::create_dir(root.path().join("empty")).unwrap();
    let error = ImageFolder::unlabelled(&[root.path().join("empty")]).unwrap_err().to_string();
    assert!(error.contains("empty: found no picture"), "{error}");
    let error = ImageFolder::unlabelled(&[root.path().join("absent.jpg")]).unwrap_err().to_string();
    assert!(error.contains("absent.jpg: cannot read"), "{error}");
}

#[test]
fn folders_that_are_not_a_data_set_are_errors() {
    let root = folder(&["picture.jpg"]);
    assert!(problem(root.path(), None).contains("found no class folder"));
    let file = root.path().join("picture.jpg");
    assert!(problem(&file, None).contains("found a file"));
    let missing = problem(&root.path().join("absent"), None);
    assert!(missing.contains("absent: cannot read the folder"), "{missing}");

    let root = folder(&["a/1.jpg", "empty/notes.txt", "hollow/deep/readme.md"]);
    let message = problem(root.path(), None);
    assert!(message.contains("no picture for the class empty, hollow"), "{message}");
    assert!(message.contains(".jpg, .jpeg, .png"), "{message}");
}

#[test]
fn files_of_classes_that_do_not_fit_are_errors() {
    let root = folder(&["a/1.jpg", "b/1.jpg", "c/1.jpg"]);
    let classes = root.path().join("classes.txt");
    let with = |text: &[u8]| {
        fs::write(&classes, text).unwrap();
        problem(root.path(), Some(&classes))
    };
    let message = with(b"a\nc\n");
    assert!(message.contains("no line of the file of classes begins with b;"), "{message}");
    let message = with(b"a one\nb\nc\na two\n");
    assert!(message.contains("lines 1 and 4 both begin with a;"), "{message}");
    assert!(message.contains("classes.txt"), "{message}");
    assert!(with(b"\n \n").contains("found no class"));
    let message = with(b"a\nb\xff\nc\n");
    assert!(message.contains("line 2 is not UTF-8"), "{message}");
    let absent = problem(root.path(), Some(&root.path().join("absent.txt")));
    assert!(absent.contains("absent.txt: cannot read"), "{absent}");
}

#[test]
fn a_folder_name_with_spaces_needs_no_quotes_if_the_folder_exists() {
    let root = folder(&[
        "golden retriever/1.jpg",
        "great dane/1.jpg",
        "great dane big/1.jpg",
        "pug/1.jpg",
        "pug dog/1.jpg",
        "a b/1.jpg",
    ]);
    let file = root.path().join("classes.txt");
    let lines = "great dane  Great Dane\ngolden retriever\ngreat dane big\npug\npug dog  \na c\n\
                 absent cat\n\"a b\" quoted\n";
    fs::write(&file, lines).unwrap();
    let expected = [
        ("great dane", "Great Dane"),
        ("golden retriever", "golden retriever"),
        ("great dane big", "great dane big"),
        ("pug", "pug"),
        ("pug dog", "pug dog"),
        ("a", "c"),
        ("absent", "cat"),
        ("a b", "quoted"),
    ]
    .map(|(folder, name)| Class { folder: folder.into(), name: name.into() });
    let opened = ImageFolder::open(root.path(), Some(&file)).unwrap();
    assert_eq!(opened.classes(), expected);
    assert_eq!(opened.len(), 6);
    assert_eq!(ImageFolder::read_classes(root.path(), &file).unwrap(), expected);
    // A folder that a line names in quotes is not meant by another line.
    fs::write(&file, "a b\n\"a b\" quoted\n").unwrap();
    let classes = ImageFolder::read_classes(root.path(), &file).unwrap();
    assert_eq!((classes[0].folder.as_str(), classes[0].name.as_str()), ("a", "b"));
    // Without the folders, the name ends at the first space.
    assert_eq!(posterize::data::read_classes(&file).unwrap(), classes);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_a_loop() {
    use std::os::unix::fs::symlink;

    let root = folder(&["a/1.jpg", "b/2.jpg", "elsewhere/deep/3.jpg"]);
    let at = |path: &str| root.path().join(path);
    symlink(at("a"), at("a/self")).unwrap();
    symlink(root.path(), at("a/root")).unwrap();
    symlink(at("b"), at("a/b")).unwrap();
    symlink(at("a"), at("b/a")).unwrap();
    symlink(at("elsewhere/deep"), at("c")).unwrap();
    symlink(at("elsewhere/deep/3.jpg"), at("b/link.jpg")).unwrap();
    symlink(at("nowhere"), at("b/dangling.jpg")).unwrap();
    symlink(at("b/circle.jpg"), at("b/circle.jpg")).unwrap();
    let opened = ImageFolder::open(root.path(), None).unwrap();
    let of = |label: usize| opened.samples().iter().filter(move |s| s.label == label).count();
    // a/1.jpg, a/b/2.jpg, a/b/link.jpg, and those that are reached through a/root.
    assert!(of(0) >= 3, "{:?}", opened.samples());
    assert_eq!(opened.classes().len(), 4);
    assert_eq!(of(2), 1, "c is a link to a folder");
}

/// Prints a message that the test harness does not capture.
fn print_uncaptured(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

#[cfg(unix)]
#[test]
fn a_folder_without_permission_is_an_error_that_names_it() {
    use std::os::unix::fs::PermissionsExt;

    let root = folder(&["a/1.jpg", "b/2.jpg"]);
    let closed = root.path().join("b");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&closed).is_ok() {
        print_uncaptured("SKIPPED: this user (root) may read folders without permission");
    } else {
        let error = ImageFolder::open(root.path(), None).unwrap_err();
        assert!(matches!(error, Error::Io { ref path, .. } if path == &closed), "{error}");
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The folder of pictures that are not part of the repository. If it is missing, prints a message
/// and returns `None`.
fn shared_assets() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("POSTERIZE_SHARED").map_or(beside, PathBuf::from);
    let assets = shared.join("assets");
    if !assets.is_dir() {
        eprintln!("SKIPPED: {} is missing (set POSTERIZE_SHARED)", shared.display());
        return None;
    }
    Some(assets)
}

#[test]
fn imagenets_labels_are_those_of_the_file_of_classes() {
    let Some(assets) = shared_assets() else { return };
    let classes = assets.join("imagenet_1k/classes.txt");
    let train = ImageFolder::open(assets.join("imagenet_1k/train"), Some(&classes)).unwrap();
    assert_eq!((train.len(), train.classes().len()), (600, 1000));
    let mut labels: Vec<usize> = train.samples().iter().map(|sample| sample.label).collect();
    assert!(labels.is_sorted());
    labels.dedup();
    assert_eq!(labels.len(), 345);
    for sample in train.samples() {
        let folder = sample.path.parent().unwrap().file_name().unwrap();
        assert_eq!(train.classes()[sample.label].folder.as_str(), folder);
    }
    // Without the file, the labels of these folders would be 0 to 344.
    assert_eq!(train.classes()[1].name, "goldfish");
    assert_eq!(train.samples()[0].label, 1);

    let val = ImageFolder::open(assets.join("imagenet_1k/val"), None).unwrap();
    let labels: Vec<usize> = val.samples().iter().map(|sample| sample.label).collect();
    assert_eq!(labels, (0..1000).collect::<Vec<_>>());
    let named = ImageFolder::open(assets.join("imagenet_1k/val"), Some(&classes)).unwrap();
    assert_eq!(named.samples(), val.samples());
}
