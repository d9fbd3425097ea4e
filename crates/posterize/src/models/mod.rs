//! Architectures with the names and shapes of their published checkpoints.
