//! The token that proves that the CPU supports AMX.

use super::permission::is_offered;
use crate::arch::x86::avx512vnni::Avx512Vnni;

/// Proof that this CPU has AMX tiles with int8 products, that the operating system offers them to
/// processes, and that [`Avx512Vnni`] is supported.
///
/// A process must ask before it uses tiles: kernels that use them are only made with a
/// [`Permission`](super::permission::Permission).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Amx(Avx512Vnni);

impl Amx {
    /// Detects AMX-TILE and AMX-INT8. This changes nothing in the process.
    pub(crate) fn detect() -> Option<Self> {
        let vnni = Avx512Vnni::detect()?;
        is_offered().then_some(Self(vnni))
    }

    /// The AVX-512 VNNI token.
    pub(crate) fn narrower(&self) -> &Avx512Vnni {
        &self.0
    }
}
