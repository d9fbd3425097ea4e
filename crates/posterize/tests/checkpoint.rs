//! Tests of reading checkpoints that were written by PyTorch (testdata/checkpoints/generate.py).

use std::io::Write;
use std::path::{Path, PathBuf};

use posterize::checkpoint::{ReadOptions, StateTensor};
use posterize::{Error, StateDict, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/checkpoints").join(name)
}

fn open(name: &str) -> StateDict {
    StateDict::open(fixture(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the error of opening a file, which must name it.
fn refusal(name: &str) -> String {
    let error = StateDict::open(fixture(name)).expect_err(name);
    assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains(name), "{message}");
    message
}

fn float(shape: &[usize], data: impl IntoIterator<Item = f32>) -> StateTensor {
    StateTensor::Float(Tensor::new(shape, data.into_iter().collect()).unwrap())
}

/// The state dict of `net()` in generate.py.
fn net() -> StateDict {
    [
        ("conv.weight", float(&[2, 3, 2, 2], (0..24u8).map(|i| f32::from(i) / 8.0 - 1.0))),
        ("bn.weight", float(&[2], [1.5, -0.0])),
        ("bn.bias", float(&[2], [1e-45, f32::MIN])),
        ("bn.running_mean", float(&[2], [0.1, 0.2])),
        ("bn.running_var", float(&[2], [0.3, 0.4])),
        ("bn.num_batches_tracked", StateTensor::Int(vec![], vec![7])),
    ]
    .into_iter()
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .collect()
}

/// Compares names, their order, and all values by their bits, so that NaN and -0 are compared too.
fn assert_same(found: &StateDict, expected: &StateDict) {
    let names = |state_dict: &StateDict| -> Vec<String> {
        state_dict.iter().map(|(name, _)| name.to_owned()).collect()
    };
    assert_eq!(names(found), names(expected));
    for (name, tensor) in expected.iter() {
        let other = found.get(name).unwrap();
        assert_eq!(other.shape(), tensor.shape(), "{name}");
        match (other, tensor) {
            (StateTensor::Float(a), StateTensor::Float(b)) => {
                let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(a), bits(b), "{name}");
            }
            (a, b) => assert_eq!(a, b, "{name}"),
        }
    }
}

#[test]
fn every_format_gives_the_same_state_dict_in_order() {
    for name in [
        "zip.pth",
        "zip_protocol4.pth",
        "legacy.pth",
        "legacy_protocol4.pth",
        "deflated.pth",
        "no_checksums.pth",
    ] {
        eprintln!("{name}");
        assert_same(&open(name), &net());
    }
    // Python's safetensors writes tensors in another order.
    let found = open("weights.safetensors");
    assert_eq!(found, net());
    assert_eq!(found.float("bn.weight").unwrap().data()[1].to_bits(), (-0.0f32).to_bits());
}

#[test]
fn wrappers_of_state_dicts_and_modules_are_removed() {
    for name in [
        "data_parallel.pth",
        "training.pth",
        "training_legacy.pth",
        "model_and_ema.pth",
        "ema.pth",
        "nested.pth",
    ] {
        eprintln!("{name}");
        assert_same(&open(name), &net());
    }
}

#[test]
fn a_file_with_several_state_dicts_says_which_is_used() {
    let weights = open("model_and_ema.pth");
    assert!(weights.selection().has_others());
    assert_eq!(weights.selection().keys, ["model"]);
    assert_eq!(weights.selection().averaged, ["model_ema"]);
    for (name, keys) in [
        ("zip.pth", &[][..]),
        ("training.pth", &["state_dict"]),
        ("ema.pth", &["model_ema"]),
        ("nested.pth", &["ema", "module", "model_state_dict"]),
        ("weights.safetensors", &[]),
    ] {
        let weights = open(name);
        assert_eq!(weights.selection().keys, keys, "{name}");
        assert!(!weights.selection().has_others(), "{name}");
    }
}

/// The averaged weights of `model_and_ema.pth` are zeros.
#[test]
fn averaged_weights_are_read_if_they_are_asked_for() {
    let read = |name: &str| StateDict::open_with(fixture(name), &ReadOptions::new().averaged(true));
    let weights = read("model_and_ema.pth").unwrap();
    assert_eq!(weights.selection().keys, ["model_ema"]);
    assert_eq!(weights.selection().others, ["model"]);
    assert_eq!(weights.len(), net().len());
    assert!(weights.float("conv.weight").unwrap().data().iter().all(|&value| value == 0.0));
    for name in ["ema.pth", "nested.pth"] {
        assert_same(&read(name).unwrap(), &net());
    }
    for name in ["zip.pth", "training.pth", "training_legacy.pth", "weights.safetensors"] {
        let error = read(name).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("expected averaged weights"), "{error}");
    }
}

#[test]
fn a_tensor_beside_a_dictionary_under_an_unknown_key_is_an_error_with_the_known_keys() {
    let error = refusal("tensor_beside_unknown_key.pth");
    assert!(error.contains("one of the keys state_dict, model_state_dict,"), "{error}");
    assert!(error.contains("`model_weights` (a dictionary of 1), `mean` (a tensor)"), "{error}");
}

#[test]
fn element_types_become_f32_and_i64() {
    let inf = f32::INFINITY;
    let integers = |values: &[i64]| StateTensor::Int(vec![values.len()], values.to_vec());
    for name in ["types.pth", "types_legacy.pth", "types.safetensors"] {
        let found = open(name);
        let floats = |name| found.float(name).unwrap().data();
        // 2^-24 is the smallest positive f16.
        assert_eq!(floats("f16")[..6], [0.0, -1.5, 65504.0, 2f32.powi(-24), inf, -inf]);
        assert_eq!(floats("f16")[7], 0.099_975_586);
        // 65504 and 6e-8 are rounded to the 8 significant bits of bf16.
        assert_eq!(
            floats("bf16")[..6],
            [0.0, -1.5, 65536.0, f32::from_bits(0x3381_0000), inf, -inf]
        );
        assert_eq!(floats("bf16")[7], 0.100_097_656);
        assert_eq!(floats("f32")[..6], [0.0, -1.5, 65504.0, 6e-8, inf, -inf]);
        let thirds = [0.0, -0.5, 65504.0 / 3.0, f64::from(6e-8f32) / 3.0].map(|v| v as f32);
        assert_eq!(floats("f64")[..4], thirds);
        assert_eq!(floats("f64")[4..6], [inf, -inf]);
        for name in ["f16", "bf16", "f32", "f64"] {
            assert!(floats(name)[6].is_nan());
        }
        assert_eq!(found.get("i8"), Some(&integers(&[0, 1, -2, 127])));
        assert_eq!(found.get("i16"), Some(&integers(&[0, 256, -512, 32512])));
        assert_eq!(found.get("i32"), Some(&integers(&[0, 1 << 24, -2 << 24, 127 << 24])));
        assert_eq!(found.get("i64"), Some(&integers(&[0, 1 << 56, -2 << 56, 127 << 56])));
        assert_eq!(found.get("u8"), Some(&integers(&[0, 1, 128, 255])));
        assert_eq!(found.get("bool"), Some(&integers(&[1, 0, 1])));
        if name != "types_legacy.pth" {
            assert_eq!(found.get("u16"), Some(&integers(&[0, 1, 65535])));
            assert_eq!(found.get("u32"), Some(&integers(&[0, 1, 4_294_967_295])));
            assert_eq!(found.get("u64"), Some(&integers(&[0, 1, i64::MAX])));
        }
        let not_finite: Vec<_> =
            found.non_finite().into_iter().map(|n| (n.name, n.nan, n.infinite)).collect();
        assert_eq!(not_finite.len(), 4);
        assert!(not_finite.contains(&("f16".to_owned(), 1, 2)), "{not_finite:?}");
    }
}

#[test]
fn strided_and_shared_views_are_read_as_dense_tensors() {
    for name in ["views.pth", "views_legacy.pth"] {
        let found = open(name);
        let check = |name: &str, shape: &[usize], expected: &[u8]| {
            let expected = float(shape, expected.iter().map(|&value| value.into()));
            assert_eq!(found.get(name), Some(&expected), "{name}");
        };
        check("all", &[120], &(0..120).collect::<Vec<u8>>());
        check("transposed", &[4, 3], &[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        check("slice", &[3, 4], &[14, 16, 18, 20, 50, 52, 54, 56, 86, 88, 90, 92]);
        let mut nchw = Vec::new();
        for image in 0..2 {
            for channel in 0..3 {
                for pixel in 0..20 {
                    nchw.push(image * 60 + pixel * 3 + channel);
                }
            }
        }
        check("channels_last", &[2, 3, 5, 4], &nchw);
        let mut oihw = Vec::new();
        for o in 0..2 {
            for i in 0..3 {
                for h in 0..2 {
                    for w in 0..2 {
                        oihw.push(h * 12 + w * 6 + i * 2 + o);
                    }
                }
            }
        }
        check("legacy_conv", &[2, 3, 2, 2], &oihw);
        check("pointwise", &[3, 4, 1, 1], &[0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
        check("offset", &[2], &[7, 8]);
        check("expanded", &[2, 3], &[5, 5, 5, 6, 6, 6]);
        check("scalar", &[], &[11]);
        check("empty", &[0, 3], &[]);
        check("tied.a", &[6], &[0, 1, 2, 3, 4, 5]);
        check("tied.b", &[6], &[0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn parameters_and_tensors_with_attributes_are_read_as_tensors() {
    for name in ["parameters.pth", "parameters_legacy.pth"] {
        let found = open(name);
        assert_eq!(found.get("plain"), Some(&float(&[2], [1.0, 2.0])));
        assert_eq!(found.get("marked"), Some(&float(&[1], [3.0])));
        assert_eq!(found.get("attributed"), Some(&float(&[1], [4.0])));
    }
}

#[test]
fn the_error_for_a_pickle_that_would_run_code_names_the_callable() {
    for name in
        ["hostile.pth", "hostile_legacy.pth", "hostile_protocol0.pth", "hostile_protocol5.pth"]
    {
        let message = refusal(name);
        // `os.system` is `posix.system` on the system where generate.py was run.
        assert!(message.contains("`posix.system`"), "{message}");
        assert!(message.contains("torch.save(model.state_dict()"), "{message}");
        assert!(message.contains("safetensors"), "{message}");
    }
}

#[test]
fn all_instructions_that_name_a_callable_are_checked() {
    let cases: [(&[u8], &str); 10] = [
        (b"cbuiltins\neval\n(S'1'\ntR.", "`builtins.eval`"),
        (b"\x80\x02c__builtin__\nexec\n.", "`__builtin__.exec`"),
        (b"(S'ls'\nios\nsystem\n.", "`os.system`"),
        (b"(cposix\nsystem\nS'ls'\no.", "`posix.system`"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.", "`posix.system`"),
        (b"\x80\x04\x8c\nsubprocess\x8c\x05Popen\x93)}\x92.", "`subprocess.Popen`"),
        (b"\x80\x02cshutil\nrmtree\n)\x81.", "`shutil.rmtree`"),
        // Names that are similar to allowed ones.
        (b"\x80\x02ctorch\nload\n)R.", "`torch.load`"),
        (b"\x80\x02ctorch.serialization\n_load\n)R.", "`torch.serialization._load`"),
        (
            b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.",
            "`collections.OrderedDict.__init__`",
        ),
    ];
    for (pickle, callable) in cases {
        let error = StateDict::from_bytes("evil.pth", pickle).unwrap_err().to_string();
        assert!(error.starts_with("evil.pth: refused"), "{error}");
        assert!(error.contains(callable), "{error}");
    }
    // The pickle has only a number in the extension registry, not a name.
    let error = StateDict::from_bytes("evil.pth", b"\x80\x02\x82\x01)R.").unwrap_err().to_string();
    assert!(error.contains("extension registry"), "{error}");
}

#[test]
fn the_error_says_what_a_pickle_without_a_state_dict_is() {
    for (name, expected) in [
        ("whole_model.pth", "whole pickled model (its class is `__main__.Net`)"),
        ("whole_model_legacy.pth", "whole pickled model"),
        ("quantized.pth", "`torch._utils._rebuild_qtensor`: only dense tensors are supported"),
        ("pickle_dump.pth", "pickle.dump"),
        ("tensor.pth", "found a tensor"),
        ("list.pth", "found a list of 3"),
        ("empty.pth", "an empty dictionary"),
        ("unknown_wrapper.pth", "`generator` (a dictionary of 1), `steps` (an int)"),
        ("complex.pth", "tensor `x`: values of type complex64 are not supported"),
    ] {
        let message = refusal(name);
        assert!(message.contains(expected), "{name}: {message}");
    }
}

#[test]
fn the_error_says_what_another_file_is() {
    let cases: [(&[u8], &str); 14] = [
        (b"", "an empty file"),
        (b"abc", "may be truncated"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00", "gzip"),
        (b"\x89HDF\r\n\x1a\n\x00", "Keras"),
        (b"\x08\x07\x12\x07pytorch1.0", "an ONNX model (.onnx)"),
        (b"\x08\x0a:\x80\x01\x0a\x10\x0a\x01x", "an ONNX model (.onnx)"),
        (b"\x1c\0\0\0TFL3\x14\0\x20\0", "a TensorFlow Lite model (.tflite)"),
        (b"\x93NUMPY\x01\0v\0", "an array of NumPy"),
        (b"GGUF\x03\0\0\0\0", "GGUF"),
        (b"\x0a\x07unknown", "found another format"),
        (b"\x80\x04K\x01.", "a Python pickle of an int"),
        (b"PK\x03\x04not much of a zip archive at all", "the directory at the end"),
    ];
    for (bytes, expected) in cases {
        let error = StateDict::from_bytes("x.pth", bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_error_says_what_another_file_of_posterize_is() {
    for (format, tensor, expected) in [
        ("posterize", "graph.json.zlib", "an int8 model saved by posterize"),
        ("posterize training", "w", "the checkpoint of a training run of posterize"),
    ] {
        let header = format!(
            r#"{{"__metadata__":{{"format":"{format}"}},"{tensor}":{{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}}}"#
        );
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.push(7);
        let error = StateDict::from_bytes("x.safetensors", &file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_error_for_a_file_that_cannot_be_opened_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| StateDict::open(path).unwrap_err().to_string();
    let missing = message(&folder.path().join("none.pth"));
    assert!(missing.contains("none.pth: cannot open: No such file"), "{missing}");
    assert!(message(folder.path()).contains("found a folder"), "{}", message(folder.path()));
    let file = folder.path().join("a.pth");
    std::fs::copy(fixture("zip.pth"), &file).unwrap();
    let below = message(&file.join("b.pth"));
    assert!(below.contains("cannot open: Not a directory"), "{below}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert!(message(Path::new("/dev/zero")).contains("not a regular file"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
        // root may read files without permission.
        if std::fs::File::open(&file).is_err() {
            let denied = message(&file);
            assert!(denied.contains("a.pth: cannot open: Permission denied"), "{denied}");
        }
    }
}

#[test]
fn safetensors_are_read_as_they_were_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    for name in ["zip.pth", "types.pth", "views.pth"] {
        let mut saved = open(name);
        saved.insert("a \"quoted\" näme\n", StateTensor::Int(vec![2, 0], vec![]));
        saved.save_safetensors(&path).unwrap();
        assert_same(&StateDict::open(&path).unwrap(), &saved);
        // The `safetensors` crate can read the file, and every value is aligned.
        let bytes = std::fs::read(&path).unwrap();
        let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header % 8, 0);
        assert_eq!(metadata.tensors().len(), saved.len());
        for info in metadata.tensors().values() {
            assert_eq!(info.data_offsets.0 * 8 % info.dtype.bitsize(), 0);
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_channels_last_tensor_is_saved_contiguous() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    let x = Tensor::new([1, 2, 1, 3], (0..6u8).map(f32::from).collect()).unwrap();
    let mut saved = StateDict::new();
    saved.insert("x", StateTensor::Float(x.to_format(posterize::MemoryFormat::ChannelsLast)));
    saved.save_safetensors(&path).unwrap();
    assert_eq!(StateDict::open(&path).unwrap().float("x"), Some(&x));
}

#[test]
fn a_tensor_with_the_name_of_the_metadata_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut weights = net();
    weights.insert("__metadata__", StateTensor::Int(vec![], vec![1]));
    let error = weights.save_safetensors(folder.path().join("a")).unwrap_err().to_string();
    assert!(error.contains("__metadata__"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn saving_to_a_missing_folder_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none/saved.safetensors");
    let error = net().save_safetensors(&path).unwrap_err().to_string();
    assert!(error.contains("none: cannot create a file in"), "{error}");
}

/// The folder of checkpoints and pictures that are not part of the repository: `POSTERIZE_SHARED`,
/// or `shared` next to the repository.
fn shared() -> PathBuf {
    std::env::var_os("POSTERIZE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    )
}

#[test]
fn a_real_mobilenet_is_read() {
    let path = shared().join("assets/tf_mobilenet_v2.pth");
    if !path.exists() {
        // The test harness captures the output of eprintln!.
        let mut stderr = std::io::stderr();
        writeln!(stderr, "SKIPPED: no {} (set POSTERIZE_SHARED)", path.display()).unwrap();
        return;
    }
    let weights = StateDict::open(&path).unwrap();
    assert_eq!(weights.len(), 314);
    assert_eq!(weights.iter().next().unwrap().0, "features.0.0.weight");
    assert_eq!(weights.iter().last().unwrap().0, "classifier.1.bias");
    assert_eq!(weights.float("classifier.1.weight").unwrap().shape(), [1000, 1280]);
    assert!(weights.non_finite().is_empty());
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.safetensors");
    weights.save_safetensors(&saved).unwrap();
    assert_same(&StateDict::open(&saved).unwrap(), &weights);
}
