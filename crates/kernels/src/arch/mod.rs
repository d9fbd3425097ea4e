//! Instruction sets: a folder for each, and the list of all of them.
//!
//! Only code in this folder depends on the target architecture.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the caller's target features"
)]
#![allow(clippy::wildcard_imports, reason = "vector intrinsics are used by the dozen")]

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::backend::Backend;

/// Defines the list of instruction sets, each with its name and backend, from the narrowest to the
/// widest. Generates [`Token`], [`NAMES`] and `with_simd!`.
macro_rules! backends {
    // `$` is passed as an argument, because the generated macro needs it.
    ($dollar:tt; $($(#[$cfg:meta])? $name:literal => $variant:ident($backend:ty);)*) => {
        /// A backend that this CPU supports.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Token {
            $($(#[$cfg])? $variant($backend),)*
        }

        /// The names of all instruction sets of the target architecture.
        pub(crate) const NAMES: &[&str] = &[$($(#[$cfg])? $name,)*];

        impl Token {
            /// Detects the instruction set with a given name; `None` if it is unknown or this CPU
            /// does not support it.
            pub(crate) fn detect(name: &str) -> Option<Self> {
                match name {
                    $($(#[$cfg])? $name => Some(Self::$variant(<$backend>::detect()?)),)*
                    _ => None,
                }
            }

            /// The name of the instruction set.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $($(#[$cfg])? Self::$variant(_) => $name,)*
                }
            }

            /// The kernels of the instruction set.
            pub(crate) fn backend(&self) -> &dyn Backend {
                match self {
                    $($(#[$cfg])? Self::$variant(backend) => backend,)*
                }
            }
        }

        /// Evaluates an expression in which a name is bound to the vectors of an
        /// [`Isa`](crate::Isa): `with_simd!(isa, simd => kernel(simd, …))`.
        macro_rules! with_simd {
            ($dollar isa:expr, $dollar simd:ident => $dollar body:expr) => {
                match $dollar isa.token() {
                    $($(#[$cfg])? $crate::arch::Token::$variant(backend) => {
                        let $dollar simd = $crate::backend::Backend::simd(backend);
                        $dollar body
                    })*
                }
            };
        }
        pub(crate) use with_simd;
    };
}

backends! {
    $;
    "scalar" => Portable(portable::Portable);
    #[cfg(target_arch = "x86_64")] "avx2" => Avx2(x86::Avx2);
    #[cfg(target_arch = "x86_64")] "avx512vnni" => Avx512Vnni(x86::Avx512Vnni);
    #[cfg(target_arch = "x86_64")] "amx" => Amx(x86::Amx);
}

impl Token {
    /// The portable backend, which every CPU supports.
    pub(crate) const PORTABLE: Self = Self::Portable(portable::Portable);
}
