//! Reads arbitrary bytes as a checkpoint. The result must be an error, or a state dict that is the same
//! after saving it as safetensors and reading it back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posterize::StateDict;

fuzz_target!(|bytes: &[u8]| {
    let Ok(weights) = StateDict::from_bytes("fuzz", bytes) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    weights.save_safetensors(&path).unwrap();
    let back = StateDict::open(&path).unwrap();
    // Compared as debug text, because NaN is not equal to NaN.
    let text = |weights: &StateDict| format!("{:?}", weights.iter().collect::<Vec<_>>());
    assert_eq!(text(&back), text(&weights));
});
