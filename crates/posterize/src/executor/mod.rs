//! What runs a graph.
