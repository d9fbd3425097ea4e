//! The graph that everything works on.
