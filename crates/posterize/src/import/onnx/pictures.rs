//! What a file says about the pictures that its network takes.

use super::graph_inputs::OnnxInput;
use crate::data::Preprocessing;
use crate::model::FloatModel;

/// The key of the preprocessing in a file's metadata.
const KEY: &str = "preprocessing";

/// The smallest mean or standard deviation of pixels that reach from 0 to 255. Those of pixels from 0 to 1 or
/// from -1 to 1 are below.
const SMALLEST_OF_BYTES: f32 = 2.0;

/// Returns the preprocessing in a file's metadata. One that cannot be read is a warning.
pub(super) fn preprocessing(
    metadata: &[(String, String)],
    warnings: &mut Vec<String>,
) -> Option<Preprocessing> {
    let (_, text) = metadata.iter().find(|(key, _)| key == KEY)?;
    let read = serde_json::from_str(text).map_err(|error| error.to_string()).and_then(
        |found: Preprocessing| found.validate().map_err(|error| error.to_string()).map(|()| found),
    );
    match read {
        Ok(found) => Some(found),
        Err(problem) => {
            warnings.push(format!(
                "the metadata `{KEY}` is ignored, because it is no preprocessing of posterize: {problem}"
            ));
            None
        }
    }
}

/// Returns whether a network takes pixels of 0 to 255, as far as its file shows.
pub(super) fn takes_pixels(model: &FloatModel, inputs: &[OnnxInput]) -> bool {
    let [input] = inputs else { return false };
    let of_bytes = || {
        let found = model.input_normalization()?;
        Some(found.mean.iter().chain(&found.std).any(|&value| value > SMALLEST_OF_BYTES))
    };
    input.is_uint8() || of_bytes().unwrap_or(false)
}
