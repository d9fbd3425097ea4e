//! The token that proves that the CPU supports AMX.

use super::permission;
use crate::arch::x86::avx512vnni::Avx512Vnni;

/// Proof that this CPU has AMX tiles with int8 products, that the operating system lets this
/// process use them, and that [`Avx512Vnni`] is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Amx(Avx512Vnni);

impl Amx {
    /// Detects AMX-TILE and AMX-INT8.
    ///
    /// Where the CPU has them, this [requests](permission::request) the operating system's
    /// permission to use tiles, which then holds for all threads of the process.
    pub(crate) fn detect() -> Option<Self> {
        let vnni = Avx512Vnni::detect()?;
        permission::request().then_some(Self(vnni))
    }

    /// The AVX-512 VNNI token.
    pub(crate) fn narrower(&self) -> &Avx512Vnni {
        &self.0
    }
}
