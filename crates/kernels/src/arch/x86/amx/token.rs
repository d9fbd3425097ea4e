//! The proof that the instructions exist.

use super::permission;
use crate::arch::x86::avx512vnni::Avx512Vnni;

/// Proof that this CPU has AMX tiles with int8 products, that the operating system lets this
/// process use them, and [`Avx512Vnni`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Amx(Avx512Vnni);

impl Amx {
    /// Detects AMX-TILE and AMX-INT8.
    ///
    /// Where the CPU has them, this [asks the system](permission::request) for permission to use tiles,
    /// which holds for all threads of the process from then on.
    pub(crate) fn detect() -> Option<Self> {
        let vnni = Avx512Vnni::detect()?;
        permission::request().then_some(Self(vnni))
    }

    /// The narrower set that comes with it.
    pub(crate) fn narrower(&self) -> &Avx512Vnni {
        &self.0
    }
}
