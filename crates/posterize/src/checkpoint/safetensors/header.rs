//! The header of a safetensors file.

use std::fmt::Write as _;
use std::ops::Range;

use safetensors::{Dtype, SafeTensorError};

use crate::error::printable_up_to;

/// The size in bytes of the header's length at the start of the file.
pub(crate) const LENGTH: usize = 8;

/// The key in the header that is not a tensor.
pub(crate) const METADATA: &str = "__metadata__";

/// The key in the metadata for the kind of file.
pub(crate) const FORMAT: &str = "format";

/// The kind of a model that posterize saved.
pub(crate) const MODEL_FORMAT: &str = "posterize";

/// The tensor that holds the graph of a saved int8 model. A float one has no such tensor, and its
/// tensors are a state dict.
pub(crate) const INT8_GRAPH: &str = "graph.json.zlib";

/// The kind of a checkpoint of a training run that posterize saved.
#[cfg(any(feature = "checkpoint", feature = "training"))]
pub(crate) const TRAINING_FORMAT: &str = "posterize training";

/// Returns the message for an error in a safetensors header.
pub(crate) fn explain(error: &SafeTensorError, header_length: u64, file_length: usize) -> String {
    match error {
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooSmall => format!(
            "its safetensors header has {header_length} bytes, but the file ends at byte \
             {file_length}: it is truncated or damaged; copy or download it again"
        ),
        SafeTensorError::MetadataIncompleteBuffer => format!(
            "its safetensors header does not describe a file of {file_length} bytes: it is \
             truncated or damaged; copy or download it again"
        ),
        // The message may quote the header, which may have a name of any length.
        other => format!(
            "its safetensors header is damaged: {}; copy or download the file again",
            printable_up_to(other.to_string().as_bytes(), 500)
        ),
    }
}

/// The entry of a tensor in a header.
pub(crate) struct Place<'a> {
    pub(crate) name: &'a str,
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a [usize],
    /// The position of its values, counted from the end of the header.
    pub(crate) bytes: Range<usize>,
}

/// Returns the start of a file: the length of the header and the header, padded with spaces so that
/// the data begins at a multiple of eight bytes.
pub(crate) fn header<'a>(
    metadata: impl IntoIterator<Item = (&'a str, &'a str)>,
    places: &[Place<'_>],
) -> Vec<u8> {
    let text = serde_json::Value::from;
    let metadata: serde_json::Map<String, serde_json::Value> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect();
    let mut header = format!(r#"{{"{METADATA}":{}"#, serde_json::Value::from(metadata));
    for Place { name, dtype, shape, bytes } in places {
        let name = text(name);
        let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let (shape, start, end) = (sizes.join(","), bytes.start, bytes.end);
        let _ = write!(
            header,
            r#",{name}:{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{start},{end}]}}"#
        );
    }
    header.push('}');
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes
}
