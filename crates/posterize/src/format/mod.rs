//! The saved int8 model: one safetensors file that describes itself.
