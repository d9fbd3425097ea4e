//! Layers, and the tracing that turns a struct with a `forward` into a graph.
