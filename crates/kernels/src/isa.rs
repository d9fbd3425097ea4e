//! Which instruction sets this CPU has, found once.
//!
//! A kernel that needs an instruction set takes the token of that set by
//! value. A token can only be made by detection, so holding one proves that
//! the instructions exist.
//!
//! The environment variable `POSTERIZE_ISA` (`scalar`, `avx2`, `avx512vnni`)
//! narrows the choice, for tests and comparisons.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// Proof that this CPU has AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Avx2(());

impl Avx2 {
    /// Detects AVX2 and FMA.
    pub fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Some(Self(()));
        }
        None
    }
}

/// Proof that this CPU has AVX-512 (F, BW, DQ, VL) with VNNI, and [`Avx2`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Avx512Vnni(Avx2);

impl Avx512Vnni {
    /// Detects AVX-512 F, BW, DQ, VL and VNNI.
    pub fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
        {
            return Avx2::detect().map(Self);
        }
        None
    }

    /// Every CPU with AVX-512 VNNI has AVX2.
    pub fn avx2(self) -> Avx2 {
        self.0
    }
}

/// The instruction set that kernels are chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Portable Rust; the definition that the others must equal.
    Scalar,
    /// 256-bit integer and FMA instructions.
    Avx2(Avx2),
    /// 512-bit instructions with `vpdpbusd`.
    Avx512Vnni(Avx512Vnni),
}

/// `POSTERIZE_ISA` names something unknown or absent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// The name is none of `scalar`, `avx2`, `avx512vnni`.
    #[error("unknown instruction set {0:?}: expected scalar, avx2 or avx512vnni")]
    Unknown(String),
    /// The CPU does not have it.
    #[error("this CPU has no {wanted}; the best it has is {best}")]
    Absent {
        /// The set that was asked for.
        wanted: &'static str,
        /// The best one there is.
        best: Isa,
    },
}

impl Isa {
    /// The best instruction set of this CPU, `POSTERIZE_ISA` aside.
    pub fn detect() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            Avx512Vnni::detect()
                .map(Self::Avx512Vnni)
                .or_else(|| Avx2::detect().map(Self::Avx2))
                .unwrap_or(Self::Scalar)
        })
    }

    /// The instruction set to use: `POSTERIZE_ISA` where it is set, else [`Isa::detect`].
    ///
    /// # Errors
    /// The variable holds an unknown name, or one this CPU does not have.
    pub fn from_env() -> Result<Self, IsaError> {
        match std::env::var("POSTERIZE_ISA") {
            Ok(name) if !name.is_empty() => name.parse(),
            _ => Ok(Self::detect()),
        }
    }

    /// Every instruction set of this CPU, the scalar one first. Tests walk over it.
    pub fn supported() -> Vec<Self> {
        let mut all = vec![Self::Scalar];
        all.extend(Avx2::detect().map(Self::Avx2));
        all.extend(Avx512Vnni::detect().map(Self::Avx512Vnni));
        all
    }

    /// The name `POSTERIZE_ISA` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2(_) => "avx2",
            Self::Avx512Vnni(_) => "avx512vnni",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        let absent = |wanted| IsaError::Absent { wanted, best: Self::detect() };
        match name {
            "scalar" => Ok(Self::Scalar),
            "avx2" => Avx2::detect().map(Self::Avx2).ok_or_else(|| absent("avx2")),
            "avx512vnni" => {
                Avx512Vnni::detect().map(Self::Avx512Vnni).ok_or_else(|| absent("avx512vnni"))
            }
            other => Err(IsaError::Unknown(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_isa_parses_back_from_its_name() {
        for isa in Isa::supported() {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        assert_eq!("sse2".parse::<Isa>(), Err(IsaError::Unknown("sse2".into())));
        assert_eq!(Isa::supported().last(), Some(&Isa::detect()));
    }
}
