//! int8 kernels over NHWC activations: `u8` activations, `i8` weights, `i32` accumulators.
