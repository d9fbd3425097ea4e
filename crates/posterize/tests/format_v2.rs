//! Tests that saved models of format version 2 are read as they were written (see
//! `testdata/format_v2/README.md`).

use std::fs;

use posterize::format::SavedModel;

fn open(version: u32, name: &str) -> SavedModel {
    let testdata = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata");
    let path = format!("{testdata}/format_v{version}/{name}.safetensors");
    let metadata = format!("\"format_version\":\"{version}\"");
    let file = fs::read(&path).unwrap();
    assert!(file.windows(metadata.len()).any(|found| found == metadata.as_bytes()), "{path}");
    SavedModel::from_bytes(path, &file).unwrap()
}

#[test]
fn models_of_version_2_are_those_that_were_written() {
    for name in ["operators", "per_tensor", "float_regions"] {
        assert_eq!(open(2, name), open(1, name), "{name}");
    }
}
