//! Limits for files. Each is far above what a classifier needs.

/// The largest saved model, in bytes.
pub(super) const MAX_MODEL_BYTES: u64 = 1 << 30;

/// The largest checkpoint of a training run, in bytes. It has the weights, the momentum and the
/// best weights.
#[cfg(feature = "training")]
pub(super) const MAX_TRAINING_BYTES: u64 = 8 << 30;

/// The size in bytes above which a file is read only after its header, if that describes a file of
/// this size.
pub(super) const CHECKED_BYTES: u64 = 64 << 20;

/// The largest header, in bytes. The entry of a tensor has about 100 bytes.
pub(super) const MAX_HEADER_BYTES: u64 = 16 << 20;

/// The largest JSON of a saved model after decompression, in bytes.
pub(super) const MAX_MODEL_JSON: u64 = 8 << 20;

/// The largest JSON of a training run after decompression, in bytes. It has the scales of every
/// channel.
#[cfg(feature = "training")]
pub(super) const MAX_TRAINING_JSON: u64 = 64 << 20;

/// The JSON that a training run of any size may have after decompression, in bytes.
#[cfg(feature = "training")]
pub(super) const MIN_TRAINING_JSON: u64 = 8 << 20;

/// The largest number of values in the output of a node for one picture, so that a batch fits in
/// memory.
pub(super) const MAX_OUTPUT_VALUES: usize = 1 << 26;

/// The longest name of a network, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 256;

/// The longest error message about a file, in characters. A message may quote the file.
pub(super) const MAX_MESSAGE_CHARS: usize = 1000;
