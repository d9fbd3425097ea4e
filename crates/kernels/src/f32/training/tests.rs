//! Every kernel against its plain definition in f64, on every instruction set and number of
//! threads.

mod conv;
mod passes;
