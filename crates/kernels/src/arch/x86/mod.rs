//! Instruction sets of x86-64.

mod amx;
mod avx2;
mod avx512vnni;
mod panels;
mod peak;
#[cfg(all(test, target_os = "linux"))]
mod planted_stray;

pub(super) use self::amx::Amx;
pub(super) use self::avx2::Avx2;
pub(super) use self::avx512vnni::Avx512Vnni;
