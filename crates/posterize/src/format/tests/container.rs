//! Tests of files that are truncated, altered or of another kind.

use std::path::Path;

use proptest::prelude::*;

use super::*;

#[test]
fn a_truncated_or_extended_file_is_an_error() {
    let bytes = small().to_bytes().unwrap();
    for length in 0..bytes.len() {
        refused(&bytes[..length]);
    }
    assert!(refused(&[]).contains("found an empty file"));
    let problem = refused(&bytes[..bytes.len() - 1]);
    assert!(problem.contains("truncated or damaged"), "{problem}");
    refused(&[&bytes[..], b" "].concat());
}

#[test]
fn a_flipped_bit_anywhere_is_an_error() {
    let bytes = small().to_bytes().unwrap();
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1 << (index % 8);
        refused(&changed);
    }
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(
        refused(&changed)
            .starts_with("its content was altered or damaged: expected the digest sha256:")
    );
}

#[test]
fn the_error_says_what_another_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| SavedModel::open(path).unwrap_err().to_string();
    assert!(open(folder.path()).contains("expected a model saved by posterize, found a folder"));
    assert!(open(&folder.path().join("none")).contains("none: cannot open: "));
    let path = folder.path().join("weights");
    let header = r#"{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(&path, [&length, header.as_bytes(), &[0; 4]].concat()).unwrap();
    assert!(open(&path).contains("not a model saved by posterize"), "{}", open(&path));
    std::fs::write(&path, b"PK\x03\x04 and so on").unwrap();
    assert!(open(&path).contains("found a PyTorch checkpoint"));
    std::fs::write(&path, "hello").unwrap();
    assert!(open(&path).contains("found a file of 5 bytes"));
    std::fs::write(&path, "hello, this is text").unwrap();
    assert!(open(&path).contains("found a file that is not a safetensors file"));
}

#[test]
fn malformed_headers_are_errors() {
    let file = |header: &str, data: usize| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(vec![0; data]);
        file
    };
    let long = |length: u64| {
        let mut file = file("{}", 16);
        file[..8].copy_from_slice(&length.to_le_bytes());
        refused(&file)
    };
    assert!(long(u64::MAX).contains("not a safetensors file"));
    assert!(long(1 << 39).contains("expected at most 16777216"));
    assert!(long(1 << 20).contains("truncated or damaged"));
    let deep = format!("{{\"a\":{}", "[".repeat(1 << 20));
    for (header, data, problem) in [
        ("{}", 0, "not a model saved by posterize"),
        (r#"{"__metadata__":{"format":"posterize","format_version":"1"}}"#, 0, "has no digest"),
        (r#"{"__metadata__":{"format":"posterize","format_version":1}}"#, 0, "header is damaged"),
        (r#"{"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}}"#, 3, "truncated or damaged"),
        (r#"{"a":{"dtype":"I8","shape":[4],"data_offsets":[4,8]}}"#, 8, "invalid offset"),
        (r#"{"a":{"dtype":"I8","shape":[4],"data_offsets":[4,0]}}"#, 8, "invalid offset"),
        (r#"{"a":{"dtype":"I8","shape":[9],"data_offsets":[0,4]}}"#, 4, "invalid shape"),
        (
            r#"{"a":{"dtype":"I8","shape":[18446744073709551615,2],"data_offsets":[0,4]}}"#,
            4,
            "overflow",
        ),
        (
            r#"{"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},
                "b":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}}"#,
            4,
            "invalid offset",
        ),
        (deep.as_str(), 0, "header is damaged"),
    ] {
        let found = refused(&file(header, data));
        assert!(found.contains(problem), "expected {problem:?}, found {found:?}");
    }
}

proptest! {
    #[test]
    fn random_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        refused(&bytes);
        let mut file = (bytes.len() as u64).to_le_bytes().to_vec();
        file.push(b'{');
        file.extend(bytes);
        refused(&file);
    }
}
