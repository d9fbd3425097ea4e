//! Tests that damaged and malicious checkpoints are errors that name the file, without a panic and
//! with bounded memory.

use std::io::Write;
use std::path::Path;

use posterize::{Error, StateDict};
use proptest::prelude::*;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/checkpoints").join(name),
    )
    .unwrap()
}

/// Returns the error of reading `bytes`, which must name the file.
fn refusal(bytes: &[u8]) -> String {
    let error = StateDict::from_bytes("bad.pth", bytes).expect_err("it should be refused");
    assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.starts_with("bad.pth: "), "{message}");
    assert!(message.len() < 2000 && !message.contains('\0'), "{message}");
    message
}

/// Reads `bytes`, which must not panic.
fn read(bytes: &[u8]) -> Option<StateDict> {
    StateDict::from_bytes("bad.pth", bytes).ok()
}

/// Returns all values as text, so that NaN equals NaN.
fn bits(weights: &StateDict) -> Vec<String> {
    weights.iter().map(|(name, tensor)| format!("{name} {tensor:?}")).collect()
}

const SMALL: [&str; 7] = [
    "zip.pth",
    "zip_protocol4.pth",
    "deflated.pth",
    "legacy.pth",
    "legacy_protocol4.pth",
    "views_legacy.pth",
    "weights.safetensors",
];

#[test]
fn a_file_truncated_anywhere_is_an_error() {
    for name in SMALL {
        let bytes = fixture(name);
        for length in 0..bytes.len() {
            let message = refusal(&bytes[..length]);
            // A very short file may be taken for another format.
            if length > 64 {
                assert!(
                    message.contains("truncated") || message.contains("damaged"),
                    "{name} cut to {length}: {message}"
                );
            }
        }
    }
}

#[test]
fn the_error_for_a_truncated_storage_names_it_and_the_position() {
    let bytes = fixture("legacy.pth");
    let message = refusal(&bytes[..bytes.len() - 3]);
    assert!(message.contains("storage "), "{message}");
    assert!(message.contains(&format!("ends at byte {}", bytes.len() - 3)), "{message}");
    let message = refusal(&fixture("weights.safetensors")[..500]);
    assert!(message.contains("500"), "{message}");
    let message = refusal(&fixture("zip.pth")[..2000]);
    assert!(message.contains("zip archive is missing: the file is truncated"), "{message}");
}

#[test]
fn a_flipped_bit_anywhere_does_not_panic() {
    for name in SMALL {
        let bytes = fixture(name);
        let whole = bits(&read(&bytes).unwrap());
        for at in 0..bytes.len() {
            for flip in [0x01, 0x08, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let Some(found) = read(&damaged) else { continue };
                // The zip format has checksums, so all damage is found. The others have none.
                if damaged.starts_with(b"PK") {
                    assert_eq!(bits(&found), whole, "{name}, byte {at} ^ {flip:#x}");
                }
            }
        }
    }
}

/// Returns a legacy file with a pickled object and storages.
fn legacy(object: &[u8], storages: &[(&str, &[u8], i64)]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(b"\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    file.extend(object);
    file.push(b']');
    for (key, _, _) in storages {
        file.push(b'U');
        file.push(key.len() as u8);
        file.extend(key.as_bytes());
        file.push(b'a');
    }
    file.push(b'.');
    for (_, bytes, count) in storages {
        file.extend(count.to_le_bytes());
        file.extend(*bytes);
    }
    file
}

/// Returns a pickle of `{"w": tensor}` with numbers given as text.
fn tensor(storage: &str, offset: &str, shape: &[&str], strides: &[&str]) -> Vec<u8> {
    let numbers = |values: &[&str]| -> String {
        values.iter().flat_map(|value| ["I", value, "\n"]).collect()
    };
    format!(
        "}}Vw\nctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\n\
         I{storage}\nNtQI{offset}\n({}t({}tI00\nNtRs.",
        numbers(shape),
        numbers(strides)
    )
    .into_bytes()
}

#[test]
fn files_that_these_tests_build_can_be_read() {
    let values: Vec<u8> = [1f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let file = legacy(&tensor("3", "1", &["2"], &["1"]), &[("0", &values, 3)]);
    assert_eq!(read(&file).unwrap().float("w").unwrap().data(), [2.0, 3.0]);
}

#[test]
fn shapes_that_do_not_fit_the_storage_are_errors() {
    let huge = i64::MAX.to_string();
    let four = [0u8; 16];
    for (storage, offset, shape, strides, expected) in [
        ("4", "0", vec!["5"], vec!["1"], "need 5 elements, but its storage has 4"),
        ("4", "4", vec!["1"], vec!["1"], "need 5 elements, but its storage has 4"),
        ("4", "0", vec!["2", "2"], vec!["3", "1"], "need 5 elements, but its storage has 4"),
        ("4", "0", vec![&huge], vec!["1"], "more than 64 MiB"),
        ("4", "0", vec![&huge], vec!["0"], "more than 64 MiB"),
        ("4", "0", vec!["1099511627776"], vec!["0"], "more than 64 MiB"),
        ("4", "0", vec![&huge, &huge], vec!["0", "0"], "is too large"),
        ("4", "0", vec!["2"], vec![&huge], "need 9223372036854775808 elements"),
        ("4", "0", vec!["3", "2"], vec![&huge, &huge], "is too large"),
        ("4", &huge, vec!["1"], vec!["1"], "need 9223372036854775808 elements"),
        ("4", "0", vec!["-1"], vec!["1"], "to be integers from 0 on"),
        ("4", "0", vec!["1"], vec!["-1"], "to be integers from 0 on"),
        ("4", "-1", vec!["1"], vec!["1"], "to be integers from 0 on"),
        ("4", "0", vec!["1", "1"], vec!["1"], "2 sizes and 1 strides"),
        ("4", "0", vec!["1"; 65], vec!["1"; 65], "65 sizes"),
        ("-4", "0", vec!["1"], vec!["1"], "has -4 values"),
        (&huge, "0", vec!["1"], vec!["1"], "values"),
        ("5", "0", vec!["1"], vec!["1"], "has 4 values and the pickle says 5"),
    ] {
        let object = tensor(storage, offset, &shape, &strides);
        let message = refusal(&legacy(&object, &[("0", &four, 4)]));
        assert!(message.contains(expected), "{shape:?} {strides:?} {offset}: {message}");
    }
    let message = refusal(&legacy(&tensor("4", "0", &["4"], &["1"]), &[]));
    assert!(message.contains("tensor `w`: the file has no storage 0"), "{message}");
    let message = refusal(&legacy(&tensor("4", "0", &["4"], &["1"]), &[("1", &four, 4)]));
    assert!(message.contains("storage 1 belongs to no tensor"), "{message}");
    let forty = tensor("1099511627776", "0", &["4"], &["1"]);
    let message = refusal(&legacy(&forty, &[("0", &four, 1 << 40)]));
    assert!(message.contains("needs 4398046511104 bytes"), "{message}");
}

#[test]
fn pickles_that_would_exhaust_memory_or_the_stack_are_errors() {
    // A deeply nested list, which must be dropped without recursion.
    let mut deep = b"]".repeat(600_000);
    deep.extend(b"a".repeat(599_999));
    deep.push(b'.');
    assert!(refusal(&legacy(&deep, &[])).contains("found a list of 1"));
    // More values than the limit.
    assert!(refusal(&b"(".repeat(3_000_000)).contains("more than 2000000 values"));
    assert!(refusal(&b"]".repeat(3_000_000)).contains("more than 2000000 values"));
    // A list that contains itself, and a dictionary that contains itself under a wrapper's key.
    assert!(refusal(&legacy(b"]q\0h\0a.", &[])).contains("found a list of 1"));
    let cycle = b"}q\0Vmodel\nh\0Vstate_dict\nh\0Vema\nh\0(Vnet\nh\0us.";
    refusal(&legacy(cycle, &[]));
    let cycle = b"}q\0(Vmodel\nh\0Vstate_dict\nh\0Vema\nh\0Vnet\nh\0u.";
    assert!(refusal(&legacy(cycle, &[])).contains("a dictionary without weights"));
    // Each list contains the one before twice, so a full traversal would visit 2^40 items.
    let mut doubled = b"]q\0".to_vec();
    doubled.extend(b"0](h\0h\0eq\0".repeat(40));
    doubled.push(b'.');
    assert!(refusal(&legacy(&doubled, &[])).contains("found a list of 2"));
    // A large container that each call copies.
    let mut copies = b"(".to_vec();
    copies.extend(b"K\x01".repeat(60_000));
    copies.extend(b"tq\0");
    copies.extend(b"ctorch\nSize\nh\0\x85R".repeat(1000));
    assert!(refusal(&copies).contains("more than 2000000 values"));
}

#[test]
fn the_error_for_a_malformed_pickle_has_the_problem_and_the_position() {
    for (pickle, expected) in [
        (b"\x80\x09.".as_slice(), "protocol 9"),
        (b"\x80\x02.", "takes more values than are on the stack"),
        (b"\x80\x02t.", "a mark that was not set"),
        (b"\x80\x02(0t.", "a mark that was not set"),
        (b"\x80\x02h\x05.", "memo 5, which was not set"),
        (b"\x80\x02\xff", "0xff is not a pickle instruction: the file is damaged (byte 2 of"),
        (b"\x80\x02X\xff\xff\xff\xffabc", "4294967295 more bytes are needed"),
        (b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", "more bytes are needed"),
        (b"\x80\x02K\x01K\x02R.", "expected a tuple"),
        (b"\x80\x02K\x01)R.", "an object that is not callable"),
        (b"\x80\x02}(K\x01u.", "a key without a value"),
        (b"\x80\x02K\x01K\x02a.", "not a list"),
        (b"\x80\x02K\x01K\x02K\x03s.", "not a dictionary"),
        (b"\x80\x02K\x01}b.", "attributes are set"),
        (b"\x80\x02K\x01Q.", "expected a tuple"),
        (b"\x80\x02)Q.", "not that of a storage"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "has unexpected arguments"),
        (b"\x80\x02ctorch\nTensor\n)R.", "has unexpected arguments"),
        (b"\x80\x04K\x01K\x02\x93.", "whose name is not a string"),
        (b"(Iabc\n.", "expected an integer, found `abc`"),
    ] {
        let message = refusal(pickle);
        assert!(message.contains(expected), "{pickle:?}: {message}");
    }
}

/// Returns the bytes of `zip.pth` after a change.
fn changed_zip(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = fixture("zip.pth");
    change(&mut bytes);
    bytes
}

/// Returns the position of the first zip record with that signature.
fn find(bytes: &[u8], signature: &[u8]) -> usize {
    bytes.windows(signature.len()).position(|window| window == signature).unwrap()
}

#[test]
fn wrong_zip_directories_are_errors() {
    // PyTorch always writes zip64 records, which take precedence. They are removed here so that the
    // end record is used.
    let plain = |change: fn(&mut [u8])| {
        changed_zip(|bytes| {
            let wide = find(bytes, b"PK\x06\x06");
            bytes.drain(wide..find(bytes, b"PK\x05\x06"));
            change(&mut bytes[wide..]);
        })
    };
    assert!(read(&plain(|_| {})).is_some());
    let message = refusal(&plain(|end| end[8..12].fill(0xff)));
    assert!(message.contains("has a directory of 65535 entries"), "{message}");
    let message = refusal(&plain(|end| end[12..20].fill(0xff)));
    assert!(message.contains("4294967295 bytes at 4294967295"), "{message}");
    // The compressed size, the size, both, and the position of the first entry, data.pkl.
    for (range, expected) in [
        (20..24, "outside of the file"),
        (24..28, "has a size of 4294967295 bytes"),
        (20..28, "has a size of 4294967295 bytes"),
        (42..46, "outside of the file"),
    ] {
        let message = refusal(&changed_zip(|bytes| {
            let at = find(bytes, b"PK\x01\x02");
            bytes[at + range.start..at + range.end].fill(0xff);
        }));
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("data.pkl"), "{message}");
    }
    // Two entries with the same name.
    let message = refusal(&changed_zip(|bytes| {
        let name = find(bytes, b"PK\x01\x02") + 46;
        let slash = find(&bytes[name..], b"/") + 1;
        let second = name + find(&bytes[name..], b"PK\x01\x02") + 46;
        let length = usize::from(bytes[second - 46 + 28]);
        assert_eq!(&bytes[second + slash..second + length], b".format_version");
        let third = second + find(&bytes[second..], b"PK\x01\x02") + 46;
        // The name of the second entry, ".format_version", replaces the longer name of the third,
        // ".storage_alignment". The rest of the third name becomes a comment.
        bytes.copy_within(second..second + length, third);
        let surplus = bytes[third - 46 + 28] - length as u8;
        bytes[third - 46 + 28] = length as u8;
        bytes[third - 46 + 30] += surplus;
    }));
    assert!(message.contains("two zip entries are called zip/.format_version"), "{message}");
}

#[test]
fn zip64_is_read_and_wrong_zip64_records_are_errors() {
    // Moves the numbers of the end record to a zip64 record, as in archives larger than 4 GiB.
    let widened = |count: u64, size: u64, start: u64| {
        changed_zip(|bytes| {
            let end = find(bytes, b"PK\x05\x06");
            let mut tail = bytes.split_off(end);
            let record = bytes.len() as u64;
            bytes.extend(b"PK\x06\x06");
            bytes.extend(44u64.to_le_bytes());
            bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for number in [count, count, size, start] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(b"PK\x06\x07\0\0\0\0");
            bytes.extend(record.to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
            tail[8..20].fill(0xff);
            bytes.extend(tail);
        })
    };
    let bytes = fixture("zip.pth");
    let end = find(&bytes, b"PK\x05\x06");
    let number = |at: usize, length: usize| {
        bytes[end + at..end + at + length].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b))
    };
    let (count, size, start) = (number(10, 2), number(12, 4), number(16, 4));
    let whole = bits(&read(&bytes).unwrap());
    assert_eq!(bits(&read(&widened(count, size, start)).unwrap()), whole);
    for (count, size, start) in [
        (u64::MAX, size, start),
        (count, u64::MAX, start),
        (count, size, u64::MAX),
        (count, size, start + 1),
        (count + 1, size, start),
        (u64::MAX, u64::MAX, u64::MAX),
    ] {
        let message = refusal(&widened(count, size, start));
        assert!(message.contains("truncated or damaged"), "{message}");
    }
}

/// Returns a zip checkpoint with one compressed storage of `size` zeros.
fn bomb(size: usize) -> Vec<u8> {
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file("a/data.pkl", options).unwrap();
    writer.write_all(&tensor("1", "0", &["1"], &["1"])).unwrap();
    writer.start_file("a/data/0", options).unwrap();
    for _ in 0..size >> 16 {
        writer.write_all(&[0; 1 << 14].repeat(4)).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_decompression_bomb_is_an_error() {
    let small = bomb(1 << 20);
    assert_eq!(read(&small).unwrap().float("w").unwrap().data(), [0.0]);
    let message = refusal(&bomb(100 << 20));
    assert!(message.contains("would take more than"), "{message}");
    // The directory has a smaller size than the data.
    let mut lying = small.clone();
    let second = find(&small, b"a/data/0");
    let directory = second + find(&small[second + 1..], b"a/data/0") + 1 - 46;
    lying[directory + 24..directory + 28].copy_from_slice(&4u32.to_le_bytes());
    let message = refusal(&lying);
    assert!(message.contains("a/data/0 does not decompress to 4 bytes"), "{message}");
    lying[directory + 24..directory + 28].copy_from_slice(&(2u32 << 20).to_le_bytes());
    assert!(refusal(&lying).contains("does not decompress to 2097152 bytes"));
}

#[test]
fn the_error_says_what_another_zip_archive_is() {
    let archive = |names: &[&str]| {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for name in names {
            writer.start_file(*name, options).unwrap();
            writer.write_all(b"big").unwrap();
        }
        writer.finish().unwrap().into_inner()
    };
    for (names, expected) in [
        (["x.txt", "y.txt"].as_slice(), "not a checkpoint of PyTorch"),
        (&["a/b/data.pkl"], "not a checkpoint of PyTorch"),
        (&["a/data.pkl", "b/data.pkl"], "several checkpoints"),
        (&["a/data.pkl", "a/constants.pkl"], "TorchScript"),
        (&["a/data.pkl", "a/byteorder"], "big-endian"),
        (&["version", "serialized_exported_program.json"], "torch.export.save (.pt2)"),
        (&["a/archive_format", "a/models/model.json"], "torch.export.save (.pt2)"),
        (&["config.json", "model.weights.h5"], "a model of Keras (.keras)"),
        (&["w.npy", "b.npy"], "arrays of NumPy (.npz)"),
    ] {
        let message = refusal(&archive(names));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn wrong_safetensors_headers_are_errors() {
    let file = |header: &str, data: usize| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + data, 0);
        file
    };
    let one = |fields: &str| format!("{{\"w\":{{{fields}}}}}");
    let good = one(r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#);
    assert_eq!(read(&file(&good, 8)).unwrap().float("w").unwrap().data(), [0.0, 0.0]);
    for (header, data) in [
        (good.clone(), 7),
        (good.clone(), 9),
        (one(r#""dtype":"F32","shape":[3],"data_offsets":[0,8]"#), 8),
        (one(r#""dtype":"F32","shape":[2],"data_offsets":[8,0]"#), 8),
        (one(r#""dtype":"F32","shape":[2],"data_offsets":[0,-8]"#), 8),
        (one(r#""dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]"#), 8),
        (one(r#""dtype":"F32","shape":[2305843009213693952],"data_offsets":[0,0]"#), 0),
        (one(r#""dtype":"F99","shape":[2],"data_offsets":[0,8]"#), 8),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#.into(), 8),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.into(), 8),
        ("{".repeat(100_000), 8),
        ("{\"a\":".repeat(100_000), 8),
        ("{\u{0}}".into(), 8),
    ] {
        let message = refusal(&file(&header, data));
        assert!(message.contains("header"), "{message}");
    }
    let mut long = file(&good, 8);
    long[..8].copy_from_slice(&1_000_000u64.to_le_bytes());
    assert!(refusal(&long).contains("header has 1000000 bytes, but the file ends at byte"));
    let message = refusal(&file(&one(r#""dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]"#), 2));
    assert!(message.contains("tensor `w`: values of type F8_E4M3 are not supported"), "{message}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let weights = read(&fixture("zip.pth")).unwrap();
    let error = weights.save_safetensors("/dev/full").unwrap_err().to_string();
    assert!(error.contains("/dev/full: cannot write: No space left on device"), "{error}");
}

/// Parts of pickles. Random sequences of them often contain many valid instructions.
const PIECES: [&[u8]; 44] = [
    b"(",
    b"t",
    b")",
    b"]",
    b"}",
    b"e",
    b"a",
    b"s",
    b"u",
    b"R",
    b"b",
    b"Q",
    b"N",
    b"0",
    b"1",
    b"2",
    b"l",
    b"d",
    b"o",
    b"\x81",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x88",
    b"\x8f",
    b"\x90",
    b"\x91",
    b"\x93",
    b"\x94",
    b"h\0",
    b"h\x01",
    b"q\0",
    b"q\x01",
    b"K\0",
    b"K\x02",
    b"J\xff\xff\xff\xff",
    b"U\x07storage",
    b"U\x010",
    b"ccollections\nOrderedDict\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"ctorch\nSize\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_pickle_panics(pieces in prop::collection::vec(0..PIECES.len(), 0..60)) {
        let mut object: Vec<u8> = pieces.into_iter().flat_map(|i| PIECES[i].to_vec()).collect();
        object.push(b'.');
        read(&legacy(&object, &[("0", &[0; 8], 2)]));
    }

    #[test]
    fn no_bytes_panic(
        start in prop::sample::select(vec![b"PK\x03\x04".as_slice(), b"\x80\x02", b"\x10\0\0\0\0\0\0\0{", b""]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        read(&[start, &rest].concat());
    }

    #[test]
    fn no_damaged_file_panics(
        name in prop::sample::select(SMALL.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        repeated in any::<prop::sample::Index>(),
    ) {
        let mut bytes = fixture(name);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let tail = bytes.split_off(cut.index(bytes.len()));
        bytes.extend(&tail[repeated.index(tail.len())..]);
        read(&bytes);
    }
}
