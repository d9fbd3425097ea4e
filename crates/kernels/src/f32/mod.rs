//! f32 kernels over NHWC activations.
