//! Limits of what a file may hold, each far above what a classifier needs.

/// The largest saved model, in bytes.
pub(super) const MAX_MODEL_BYTES: u64 = 1 << 30;

/// The largest checkpoint of a training run, in bytes: weights, momentum and the best weights of
/// what a CPU can train.
pub(super) const MAX_TRAINING_BYTES: u64 = 8 << 30;

/// The largest header, in bytes. It describes some ten thousand tensors.
pub(super) const MAX_HEADER_BYTES: u64 = 16 << 20;

/// The largest JSON of a saved model after decompression, in bytes.
pub(super) const MAX_MODEL_JSON: u64 = 8 << 20;

/// The largest JSON of a training run after decompression, in bytes: the scales of every channel of
/// a large network.
pub(super) const MAX_TRAINING_JSON: u64 = 64 << 20;

/// The largest number of values that a node may put out for a single picture. A batch of more would
/// not fit into memory.
pub(super) const MAX_OUTPUT_VALUES: usize = 1 << 26;

/// The largest number of bytes in the name of a network.
pub(super) const MAX_NAME_BYTES: usize = 256;

/// The largest number of characters in an error about a file, which may quote the file.
pub(super) const MAX_MESSAGE_CHARS: usize = 1000;
