//! Scalar definitions of every integer kernel: the meaning of correct.
