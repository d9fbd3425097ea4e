//! Which instruction sets this CPU has, found once.
//!
//! A kernel that needs an instruction set takes the token of that set by
//! value. A token can only be made by detection, so holding one proves that
//! the instructions exist.
//!
//! The environment variable `POSTERIZE_ISA` (`scalar`, `avx2`, `avx512vnni`, `amx`)
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

/// Proof that this CPU has AMX tiles with int8 products, that the operating system lets this
/// process use them, and [`Avx512Vnni`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amx(Avx512Vnni);

impl Amx {
    /// Detects AMX-TILE and AMX-INT8 and asks the system for permission to use tiles, which holds
    /// for all threads of the process from then on.
    ///
    /// Only on Linux: tiles are too much state for a system to save for every thread unasked.
    pub fn detect() -> Option<Self> {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        {
            static PERMITTED: OnceLock<bool> = OnceLock::new();
            let vnni = Avx512Vnni::detect()?;
            if *PERMITTED.get_or_init(|| amx::exists() && amx::request_permission()) {
                return Some(Self(vnni));
            }
        }
        None
    }

    /// AMX comes with AVX-512 VNNI, which does what tiles cannot.
    pub fn avx512vnni(self) -> Avx512Vnni {
        self.0
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    /// Whether the CPU has AMX-TILE and AMX-INT8, and the system saves tiles. Asked only where
    /// AVX-512 has been found, hence CPUID's leaf 7 and `xgetbv` exist.
    #[allow(unused_unsafe, reason = "newer compilers than our oldest call cpuid safe")]
    pub(super) fn exists() -> bool {
        // SAFETY: every x86-64 CPU has CPUID; leaves it lacks are zero or others' bits, which is
        // why the greatest leaf is asked first.
        let leaf = unsafe { (__cpuid(0).eax >= 7).then(|| __cpuid_count(7, 0)) };
        // Bits 24 and 25: AMX-TILE and AMX-INT8.
        if leaf.is_none_or(|leaf| leaf.edx >> 24 & 3 != 3) {
            return false;
        }
        let states: u32;
        // SAFETY: reads the state components that the system has enabled; AVX-512 could not have
        // been detected without this instruction.
        unsafe {
            asm!("xgetbv", in("ecx") 0, out("eax") states, out("edx") _, options(nomem, nostack));
        }
        // Bits 17 and 18: the configuration of tiles and their data.
        states >> 17 & 3 == 3
    }

    /// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`, see Linux's
    /// `Documentation/arch/x86/xstate.rst`. Fails on kernels before 5.16, under some sandboxes,
    /// and where a thread's alternate signal stack has no room for tiles.
    pub(super) fn request_permission() -> bool {
        const ARCH_PRCTL: isize = 158;
        const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
        const XTILEDATA: usize = 18;
        let result: isize;
        // SAFETY: a system call that touches no memory of ours; `syscall` overwrites rcx and r11.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XTILEDATA,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result == 0
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
    /// Tiles with `tdpbusd` for matrix products, [`Isa::Avx512Vnni`] for everything else.
    Amx(Amx),
}

/// `POSTERIZE_ISA` names something unknown or absent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// The name is none of `scalar`, `avx2`, `avx512vnni`, `amx`.
    #[error("unknown instruction set {0:?}: expected scalar, avx2, avx512vnni or amx")]
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
            Amx::detect()
                .map(Self::Amx)
                .or_else(|| Avx512Vnni::detect().map(Self::Avx512Vnni))
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
        all.extend(Amx::detect().map(Self::Amx));
        all
    }

    /// The instruction set for kernels that have no use for tiles: AVX-512 VNNI instead of AMX.
    #[must_use]
    pub fn without_tiles(self) -> Self {
        match self {
            Self::Amx(amx) => Self::Avx512Vnni(amx.avx512vnni()),
            other => other,
        }
    }

    /// The name `POSTERIZE_ISA` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2(_) => "avx2",
            Self::Avx512Vnni(_) => "avx512vnni",
            Self::Amx(_) => "amx",
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
            "amx" => Amx::detect().map(Self::Amx).ok_or_else(|| absent("amx")),
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
