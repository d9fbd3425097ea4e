//! Any bytes as a checkpoint: an error or a state_dict, and what is a state_dict is the same after
//! it was saved as safetensors and read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posterize::StateDict;

fuzz_target!(|bytes: &[u8]| {
    let Ok(weights) = StateDict::from_bytes("fuzz", bytes) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    weights.save_safetensors(&path).unwrap();
    let back = StateDict::open(&path).unwrap();
    // Debug text, because NaN is not equal to NaN.
    assert_eq!(format!("{back:?}"), format!("{weights:?}"));
});
