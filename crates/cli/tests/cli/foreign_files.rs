//! Files of other programs as MODEL and as --weights: the error says what they are and what to do.

use std::fs;

use crate::{
    fixture::Fixture,
    support::{fails, posterize},
};

/// A zip archive of empty files.
fn zip(names: &[&str]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut archive = zip::ZipWriter::new(&mut bytes);
    for name in names {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
    }
    archive.finish().unwrap();
    bytes.into_inner()
}

#[test]
fn files_of_other_programs_are_named_as_model_and_as_weights() {
    let fixture = Fixture::new();
    let mut tar = vec![0; 512];
    tar[..3].copy_from_slice(b"sys");
    tar[257..262].copy_from_slice(b"ustar");
    let cases: [(&str, Vec<u8>, &str, &str); 10] = [
        ("net.bin", b"\x08\x07\x12\x07pytorch1.0".to_vec(), "an ONNX model (.onnx)", "torch.save("),
        (
            "net.tflite",
            b"\x1c\0\0\0TFL3\x14\0 \0".to_vec(),
            "a TensorFlow Lite model",
            "torch.save(",
        ),
        ("net.h5", b"\x89HDF\r\n\x1a\n\0\0".to_vec(), "the format of Keras (.h5)", "torch.save("),
        ("net.keras", zip(&["metadata.json", "model.weights.h5"]), "Keras", ""),
        ("net.pt2", zip(&["net/archive_format"]), "a program of torch.export.save (.pt2)", "code"),
        (
            "net.gguf",
            b"GGUF\x03\0\0\0\0\0".to_vec(),
            "GGUF, the format of llama.cpp",
            "does not run",
        ),
        ("net.npy", b"\x93NUMPY\x01\0v\0".to_vec(), "an array of NumPy (.npy)", ""),
        ("net.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\0".to_vec(), "gzip", "unpack it"),
        ("net.tar", tar, "a tar archive", "save it again"),
        ("page.pth", b"<!DOCTYPE html><html>".to_vec(), "a web page", "download may have failed"),
    ];
    for (name, bytes, kind, advice) in cases {
        let path = fixture.path(name);
        fs::write(&path, bytes).unwrap();
        let mut model = posterize(&fixture.path("cache"));
        model.arg("inspect").arg(&path);
        let mut weights = fixture.command("inspect");
        weights.arg("--weights").arg(&path);
        for command in [&mut model, &mut weights] {
            let error = fails(command);
            assert!(error.contains(kind) && error.contains(advice), "{command:?}: {error}");
            assert!(error.contains(name), "{error}");
        }
    }
}
