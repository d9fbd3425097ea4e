//! Tests that files which ask for far more work or memory than their size are errors, or are read
//! without that work. Without a bound most of these files take from ten seconds to hours, or all
//! memory.

mod hostile;

use posterize::StateDict;
use posterize::training::Checkpoint;

const SIZE: usize = 1_000_000;

/// Returns the number of tensors that the file of this kind has, or the text of its error.
fn expected(kind: &str) -> Result<usize, &'static str> {
    const HALF: usize = SIZE / 2;
    match kind {
        // Calls with a tuple of half a million arguments.
        "reduce_set" | "newobj_ex_set" => Err("a call of set has unexpected arguments (500000"),
        "reduce_device" => Err("a call of torch.device has unexpected arguments (500000"),
        "newobj_encode" => Err("a call of _codecs.encode has unexpected arguments (500000"),
        "reduce_parameter" => Err("_rebuild_parameter has unexpected arguments (500000"),
        // Calls that copy a large container.
        "reduce_size" | "reduce_dict" | "reduce_pairs" => Err("more than 2000000 values"),
        "reduce_shape" => Err("a tensor has 250000 sizes and 250000 strides"),
        // One name again and again, or one of many prefixes.
        "long_key" | "long_key_setitem" | "deflated_long_key" | "prefix" | "deflated_prefix"
        | "prefix_safetensors" | "other_prefix"
        // One tensor whose storage is hard to read.
        | "fixed_blocks" | "stored_blocks" | "dynamic_blocks" | "strided" => Ok(1),
        "long_key_and_many" => Ok(HALF / 24 + 1),
        "long_storage_key" => Ok((SIZE - 195_000) / 24),
        "long_storage_key_legacy" => Ok(HALF / 24),
        "long_storage_key_listed" => Ok(4),
        "wrappers" | "wrapper_tree" | "wrapper_cycle" => Err("a dictionary without weights"),
        "prefix_of_two" => Ok(2),
        "prefix_of_many" => Ok(SIZE / 720),
        "aliases" => Err("zip entry a/data/00001 overlaps others"),
        "deflated_names" => Err("reading the file would take more than"),
        "many_dimensions" | "many_scalars" => Ok(SIZE / 10),
        "many_integers" => Ok(SIZE / 10 + 1),
        "many_values" => Err("found None"),
        "many_dicts" => Err("an empty dictionary"),
        "many_marks" => Err("found a tuple of 0"),
        "frames" => Err("takes more values than are on the stack"),
        "shape_safetensors" => Err("tensor `w`: a tensor has 500000 sizes"),
        "huge_shape_safetensors" => Err("overflow computing buffer size"),
        "many_safetensors" => Ok(SIZE / 60),
        "long_name_safetensors" => Err("invalid shape, data type, or offset"),
        "long_dtype_safetensors" => Err("unknown variant `kkk"),
        _ => panic!("no result is expected of {kind}"),
    }
}

#[test]
fn reading_takes_no_more_than_the_size_of_the_file() {
    for (kind, file) in hostile::all(SIZE) {
        match (StateDict::from_bytes("bad.pth", &file), expected(kind)) {
            (Ok(weights), Ok(count)) => {
                assert_eq!(weights.len(), count, "{kind}");
                let error = weights.check("Net", [("w", [7].as_slice())]).unwrap_err().to_string();
                assert!(error.len() < 200_000, "{kind}: a message of {} bytes", error.len());
            }
            (Err(error), Err(expected)) => {
                let message = error.to_string();
                assert!(message.starts_with("bad.pth: "), "{kind}: {message:.500}");
                assert!(message.contains(expected), "{kind}: {message:.500}");
                assert!(message.len() < 2000, "{kind}: a message of {} bytes", message.len());
            }
            (Ok(weights), Err(_)) => panic!("{kind}: read as {} tensors", weights.len()),
            (Err(error), Ok(_)) => panic!("{kind}: {error:.500}"),
        }
    }
}

/// A file that only claims to be large takes no space on the disk.
#[test]
fn a_large_training_checkpoint_is_read_only_if_its_header_describes_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let open = |header: &str, size: u64| {
        std::fs::write(&path, hostile::safetensors(header, 0)).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
        let message = Checkpoint::open(&path).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: ", path.display())), "{message}");
        message
    };
    let header = r#"{"losses":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let message = open(header, 8 << 30);
    assert!(message.contains("does not describe a file of 8589934592 bytes"), "{message}");
    let message = open("{]", 8 << 30);
    assert!(message.contains("its safetensors header is damaged"), "{message}");
    let message = open(header, (8 << 30) + 1);
    assert!(message.contains("expected at most 8589934592 bytes, found 8589934593"), "{message}");
    std::fs::write(&path, b"\xff\xff\xff\xff\xff\0\0\0{").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(8 << 30).unwrap();
    let message = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(message.contains("its header has 1099511627775 bytes"), "{message}");
}
