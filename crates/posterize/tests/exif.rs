//! Pictures with an orientation against Pillow's `ImageOps.exif_transpose`, made by
//! testdata/exif/generate.py.

use std::fs;
use std::path::{Path, PathBuf};

use posterize::data::{ExifOrientation, ImageFolder, Loader, Picture, Preprocessing};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/exif")
}

fn described(picture: &Picture) -> String {
    let digest = crc32fast::hash(picture.data());
    format!("{} {} {digest:08x}", picture.width(), picture.height())
}

#[test]
fn every_orientation_is_applied_as_pillow_applies_it() {
    let expected = fs::read_to_string(testdata().join("expected.txt")).unwrap();
    let mut turned = 0;
    for line in expected.lines() {
        let (name, expected) = line.split_once(' ').unwrap();
        let path = testdata().join("pictures").join(name);
        let [ignored, applied] = [ExifOrientation::Ignored, ExifOrientation::Applied].map(|exif| {
            let picture = Picture::open_with(&path, exif).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!(picture, Picture::decode_with(name, &bytes, exif).unwrap());
            described(&picture)
        });
        assert_eq!(format!("{applied} {ignored}"), expected, "{name}");
        assert_eq!(ignored, described(&Picture::open(&path).unwrap()), "{name}");
        turned += usize::from(applied != ignored);
    }
    assert!(turned > 40, "{turned}");
    let pictures = fs::read_dir(testdata().join("pictures")).unwrap().count();
    assert_eq!(expected.lines().count(), pictures);
}

#[test]
fn the_loader_turns_pictures_only_if_it_is_told_to() {
    let paths = [testdata().join("pictures/jpeg_6.jpg")];
    let folder = ImageFolder::unlabelled(&paths).unwrap();
    let preprocessing = Preprocessing::imagenet().with_sizes(13, 13);
    let cropped = |exif| preprocessing.apply(&Picture::open_with(&paths[0], exif).unwrap());
    let loader = Loader::new(&folder, &preprocessing);
    let loaded = |loader: &Loader| loader.pixels().next().unwrap().unwrap().images;
    let ignored = loaded(&loader);
    assert_eq!(ignored.data(), cropped(ExifOrientation::Ignored).data());
    let applied = loaded(&loader.exif_orientation(ExifOrientation::Applied));
    assert_eq!(applied.data(), cropped(ExifOrientation::Applied).data());
    assert_ne!(applied.data(), ignored.data());
}
