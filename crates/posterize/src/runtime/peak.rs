//! How many multiply-adds a second an instruction set reaches at most, measured.

use posterize_kernels::peak as kernels;

use super::isa::Isa;

/// The numbers that are multiplied.
///
/// ```
/// use posterize::runtime::{Arithmetic, Isa, peak};
///
/// // The compiler chooses the instructions of portable code.
/// assert_eq!(peak(Isa::SCALAR, Arithmetic::Int8, 1), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32, with fused multiply-adds.
    F32,
    /// u8 times i8 into i32.
    Int8,
}

/// Measures how many multiply-adds a second `threads` threads (at least 1) reach together with the
/// instructions of a set; `None` for [`Isa::SCALAR`], whose instructions the compiler chooses.
///
/// The loops touch no memory and take some milliseconds: what they reach bounds every kernel of that
/// instruction set, at the clock that the CPU has under such load.
///
/// ```
/// use posterize::runtime::{Arithmetic, Isa, peak};
///
/// let isa = Isa::detect();
/// assert_eq!(peak(isa, Arithmetic::F32, 1).is_some(), isa != Isa::SCALAR);
/// assert_eq!(peak(Isa::SCALAR, Arithmetic::Int8, 1), None);
/// ```
pub fn peak(isa: Isa, arithmetic: Arithmetic, threads: usize) -> Option<f64> {
    let arithmetic = match arithmetic {
        Arithmetic::F32 => kernels::Arithmetic::F32,
        Arithmetic::Int8 => kernels::Arithmetic::Int8,
    };
    kernels::peak(isa.kernels(), arithmetic, threads)
}
