//! Tests that decoded, resized and cropped pictures equal those of Pillow and torchvision, which
//! were written by testdata/preprocess/generate.py.

use std::path::{Path, PathBuf};

use posterize::data::{Interpolation, Picture, Preprocessing, load_picture};
use safetensors::{Dtype, SafeTensors};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/preprocess")
}

fn preprocessing(resize: usize, crop: usize) -> Preprocessing {
    Preprocessing::imagenet().with_sizes(resize, crop)
}

/// Returns the crop for a tensor in expected.safetensors, if it is a crop.
fn crop_of(name: &str) -> Option<Picture> {
    let (file, settings) = match name.split_once('@') {
        None => (name, preprocessing(56, 48)),
        Some((file, "224")) => (file, Preprocessing::imagenet()),
        Some((file, "padded")) => (file, preprocessing(24, 33)),
        Some(_) => return None,
    };
    let path = testdata().join("pictures").join(file);
    Some(load_picture(path, &settings).unwrap_or_else(|error| panic!("{error}")))
}

/// Returns whether 99.9 % of the values differ by at most 1 and all by at most 3.
fn is_close(found: &[u8], expected: &[u8]) -> bool {
    let differences = || found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
    let beyond_one = differences().filter(|d| *d > 1).count();
    differences().all(|d| d <= 3) && beyond_one * 1000 <= found.len()
}

#[test]
fn crops_equal_torchvisions() {
    let bytes = std::fs::read(testdata().join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let mut failures = Vec::new();
    let mut compared = 0;
    for (name, tensor) in expected.iter() {
        let Some(found) = crop_of(name) else { continue };
        assert_eq!(tensor.shape(), [found.height(), found.width(), 3], "{name}");
        // The decoder for lossy WebP has another arithmetic than Pillow's. All others must be
        // equal.
        let same = if name == "lossy.webp" {
            is_close(found.data(), tensor.data())
        } else {
            found.data() == tensor.data()
        };
        if !same {
            let differences = found.data().iter().zip(tensor.data()).map(|(a, b)| a.abs_diff(*b));
            let (count, worst) =
                differences.filter(|d| *d > 0).fold((0, 0), |(n, worst), d| (n + 1, d.max(worst)));
            failures.push(format!("{name}: {count} values differ, by up to {worst}"));
        }
        compared += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let pictures = std::fs::read_dir(testdata().join("pictures")).unwrap().count();
    assert_eq!(compared, pictures + 2, "every picture, and two of them with other sizes");
}

#[test]
fn every_filter_equals_pillows() {
    let bytes = std::fs::read(testdata().join("interpolation.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let mut failures = Vec::new();
    let mut compared = std::collections::HashSet::new();
    for (name, tensor) in expected.iter() {
        let [file, filter, resize] = name.split('@').collect::<Vec<_>>().try_into().unwrap();
        let interpolation: Interpolation = filter.parse().unwrap();
        compared.insert(interpolation.name());
        let settings = preprocessing(resize.parse().unwrap(), tensor.shape()[0]);
        let settings = Preprocessing { interpolation, ..settings };
        let found = load_picture(testdata().join("pictures").join(file), &settings).unwrap();
        if found.data() != tensor.data() {
            let pairs = found.data().iter().zip(tensor.data());
            let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
            failures.push(format!("{name}: values differ by up to {worst:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(compared.len(), Interpolation::ALL.len());
}

#[test]
fn normalized_values_equal_torchvisions() {
    let bytes = std::fs::read(testdata().join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = expected.tensor("rgba.png@f32").unwrap();
    assert_eq!(tensor.dtype(), Dtype::F32);
    let values = tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    let found = preprocessing(56, 48).tensor(&[crop_of("rgba.png").unwrap()]).unwrap();
    assert_eq!(found.shape(), [1, 3, 48, 48]);
    assert!(values.eq(found.data().iter().copied()), "all values must be equal");
}

#[test]
fn decoding_from_memory_equals_decoding_from_a_file() {
    let path = testdata().join("pictures/cmyk_adobe.jpg");
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(Picture::decode("stdin", &bytes).unwrap(), Picture::open(&path).unwrap());
}
