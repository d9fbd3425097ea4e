//! The instruction sets: one folder each, and one list of all of them.
//!
//! Nothing outside this folder depends on the CPU that it is compiled for.

#![allow(
    clippy::inline_always,
    reason = "only what is inlined is compiled for the instruction set"
)]
#![allow(clippy::wildcard_imports, reason = "vector intrinsics are used by the dozen")]

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::backend::Backend;

/// The list of instruction sets, the narrowest first; each is its name and its backend. It makes
/// [`Token`], [`NAMES`] and `with_simd!`.
macro_rules! backends {
    // `$` itself is handed in, for the macro that this one makes.
    ($dollar:tt; $($(#[$cfg:meta])? $name:literal => $variant:ident($backend:ty);)*) => {
        /// A backend that this CPU has.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Token {
            $($(#[$cfg])? $variant($backend),)*
        }

        /// The names of all instruction sets for the CPU that this is compiled for.
        pub(crate) const NAMES: &[&str] = &[$($(#[$cfg])? $name,)*];

        impl Token {
            /// Detects the instruction set of a name; `None` where the CPU has none of that name.
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

            /// What the instruction set provides.
            pub(crate) fn backend(&self) -> &dyn Backend {
                match self {
                    $($(#[$cfg])? Self::$variant(backend) => backend,)*
                }
            }
        }

        /// Evaluates an expression with a name bound to the vectors of an
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
    /// The portable backend, which is everywhere.
    pub(crate) const PORTABLE: Self = Self::Portable(portable::Portable);
}
