//! The distributions of the values of a network, from its batch norms instead of pictures.

mod distribution;
mod propagate;

pub(super) use distribution::{Distribution, Quantiles};
pub(super) use propagate::distributions;
