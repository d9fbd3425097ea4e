//! Conversions from and to the types of other crates, each behind a Cargo feature of that crate's name.

#[cfg(feature = "image")]
mod image;
#[cfg(feature = "ndarray")]
mod ndarray;
