//! Names of files of other programs, by their first bytes, and what to do with them.

/// The number of bytes at the start of a file from which it is recognized.
pub(crate) const SIGNATURE: usize = 512;

/// What to do with a network that another program saved.
const FROM_PYTORCH: &str = "posterize cannot read its weights. If the network came from PyTorch, save its \
                            weights there: torch.save(model.state_dict(), \"weights.pth\")";

/// What to do with weights of Keras.
pub(crate) const KERAS: &str = "whose layers have other names and orders of weights. Convert the weights to \
                                those of the same network in PyTorch, and save them there: \
                                torch.save(model.state_dict(), \"weights.pth\")";

/// Returns what a file is that begins with `start`, and what to do. Returns `None` for a file that is not
/// recognized, and for PyTorch's.
pub(crate) fn named(start: &[u8]) -> Option<String> {
    let begins = |signature: &[u8]| start.starts_with(signature);
    Some(match start {
        [] => "an empty file".into(),
        _ if begins(b"version https://git-lfs") => "a Git LFS pointer; run `git lfs pull`".into(),
        _ if begins(b"<") => "a web page or XML; the download may have failed".into(),
        _ if begins(b"\x89HDF\r\n\x1a\n") => format!("HDF5, the format of Keras (.h5), {KERAS}"),
        _ if start.get(4..8) == Some(b"TFL3") => {
            format!("a TensorFlow Lite model (.tflite). {FROM_PYTORCH}")
        }
        // The version of the format, then the name of the program that wrote it, or the graph.
        [0x08, 1..=20, 0x12 | 0x3a, ..] => format!("an ONNX model (.onnx). {FROM_PYTORCH}"),
        _ if begins(b"\x93NUMPY") => "an array of NumPy (.npy)".into(),
        _ if begins(b"GGUF") => {
            "GGUF, the format of llama.cpp for language models, which posterize does not run".into()
        }
        _ if begins(b"\x1f\x8b") => "gzip; unpack it first".into(),
        _ if start.get(257..262) == Some(b"ustar") => {
            "a tar archive, the format of PyTorch before 0.1.10; load it in PyTorch and save it again".into()
        }
        _ => return None,
    })
}
