//! JPEGs of every kind against Pillow's pixels, made by testdata/jpeg/generate.py.

use std::fs;
use std::path::{Path, PathBuf};

use posterize::data::Picture;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/jpeg")
}

#[test]
fn pixels_equal_pillows() {
    let expected = fs::read_to_string(testdata().join("expected.txt")).unwrap();
    let mut failures = Vec::new();
    for line in expected.lines() {
        let (name, expected) = line.split_once(' ').unwrap();
        let found = match Picture::open(testdata().join("pictures").join(name)) {
            Ok(picture) => {
                let digest = crc32fast::hash(picture.data());
                format!("{} {} {digest:08x}", picture.width(), picture.height())
            }
            Err(error) => {
                assert!(error.to_string().contains(name), "{error}");
                "refused".to_owned()
            }
        };
        // Some files that Pillow refuses are whole but for what follows the picture.
        if found != expected && expected != "refused" {
            failures.push(format!("{name}: {found}, but Pillow: {expected}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let pictures = fs::read_dir(testdata().join("pictures")).unwrap().count();
    assert_eq!(expected.lines().count(), pictures);
    assert!(pictures >= 100);
}

fn problem(bytes: &[u8]) -> String {
    Picture::decode("some.jpg", bytes).unwrap_err().to_string()
}

/// A whole baseline JPEG.
fn grey() -> Vec<u8> {
    fs::read(testdata().join("../preprocess/pictures/grey.jpg")).unwrap()
}

/// Where a marker stands first.
fn marker(jpeg: &[u8], marker: u8) -> usize {
    jpeg.windows(2).position(|pair| pair == [0xFF, marker]).unwrap()
}

#[test]
fn kinds_that_are_not_supported_are_named() {
    let mut jpeg = grey();
    let frame = marker(&jpeg, 0xC0);
    jpeg[frame + 1] = 0xC3;
    assert!(problem(&jpeg).contains("a lossless JPEG is not supported"));
    jpeg[frame + 1] = 0xC5;
    assert!(problem(&jpeg).contains("a hierarchical JPEG is not supported"));
    jpeg[frame + 1] = 0xC0;
    jpeg[frame + 4] = 12;
    assert!(
        problem(&jpeg).contains("a JPEG of 12 bits per sample is not supported; expected 8 bits")
    );
}

#[test]
fn what_a_corrupt_header_lacks_is_said() {
    let jpeg = grey();
    let without = |kind: u8| {
        let at = marker(&jpeg, kind);
        let length = usize::from(jpeg[at + 2]) << 8 | usize::from(jpeg[at + 3]);
        [&jpeg[..at], &jpeg[at + 2 + length..]].concat()
    };
    assert!(problem(&without(0xC0)).contains("a scan comes before the frame"));
    let mut end = jpeg[..marker(&jpeg, 0xDA)].to_vec();
    end.extend([0xFF, 0xD9]);
    assert!(problem(&end).contains("it has no scan"));
    let mut name = jpeg.clone();
    let scan = marker(&jpeg, 0xDA);
    name[scan + 5] = 77;
    assert!(problem(&name).contains("a scan names component 77, which is not in its frame"));
    let mut factors = jpeg.clone();
    factors[marker(&jpeg, 0xC0) + 11] = 0x51;
    assert!(problem(&factors).contains("its sampling factors are 5x1, expected 1 to 4"));
}
