//! The token that proves that the CPU supports AVX-512 VNNI.

use crate::arch::x86::avx2::Avx2;

/// Proof that this CPU has AVX-512 F, BW, DQ, VL and VNNI, and [`Avx2`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Avx512Vnni(Avx2);

impl Avx512Vnni {
    /// Detects the instruction set.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        found.then(Avx2::detect)?.map(Self)
    }

    /// The AVX2 token.
    pub(crate) fn narrower(&self) -> &Avx2 {
        &self.0
    }
}
