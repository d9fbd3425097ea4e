//! Tests each training kernel against its definition in f64, on every instruction set and for
//! several numbers of threads.

mod conv;
mod passes;
