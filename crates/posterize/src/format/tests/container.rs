//! Files that are cut short, altered or of another kind.

use std::path::Path;

use proptest::prelude::*;

use super::*;

#[test]
fn a_file_cut_short_or_continued_is_refused() {
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
fn a_changed_bit_anywhere_is_refused() {
    let bytes = small().to_bytes().unwrap();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (place % 8);
        refused(&changed);
    }
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(
        refused(&changed).starts_with("its content was altered or damaged: its digest is sha256:")
    );
}

#[test]
fn other_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| SavedModel::open(path).unwrap_err().to_string();
    assert!(open(folder.path()).contains("a folder, where a model saved by posterize is expected"));
    assert!(open(&folder.path().join("none")).contains("none: cannot open: "));
    let path = folder.path().join("weights");
    let float = Architecture::trace(&Conv2d::new(3, 2, 1)).unwrap().init(0);
    float.state_dict().save_safetensors(&path).unwrap();
    assert!(open(&path).contains("not a model saved by posterize"), "{}", open(&path));
    std::fs::write(&path, b"PK\x03\x04 and so on").unwrap();
    assert!(open(&path).contains("found a PyTorch checkpoint"));
    std::fs::write(&path, "hello").unwrap();
    assert!(open(&path).contains("found a file of 5 bytes"));
    std::fs::write(&path, "hello, this is text").unwrap();
    assert!(open(&path).contains("which is a safetensors file; this is none"));
}

#[test]
fn hostile_headers_are_refused() {
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
    assert!(long(u64::MAX).contains("this is none"));
    assert!(long(1 << 39).contains("at most 16777216 are allowed"));
    assert!(long(1 << 20).contains("truncated or damaged"));
    let deep = format!("{{\"a\":{}", "[".repeat(1 << 20));
    for (header, data, problem) in [
        ("{}", 0, "not a model saved by posterize"),
        (r#"{"__metadata__":{"format":"posterize","format_version":"1"}}"#, 0, "it has no digest"),
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
    fn bytes_are_a_model_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        refused(&bytes);
        let mut file = (bytes.len() as u64).to_le_bytes().to_vec();
        file.push(b'{');
        file.extend(bytes);
        refused(&file);
    }
}
