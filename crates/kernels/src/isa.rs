//! The instruction set that kernels are chosen for.
//!
//! The environment variable `POSTERIZE_ISA` narrows the choice, for tests and comparisons. Its values
//! are the [names](Isa::name) of instruction sets: `scalar` everywhere, and `avx2`, `avx512vnni` and
//! `amx` on x86-64.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::arch::{NAMES, Token};
use crate::backend::Backend;

/// An instruction set of this CPU. A value proves that the CPU has it.
///
/// They are ordered from the narrowest to the widest.
///
/// ```
/// use posterize_kernels::Isa;
///
/// assert!(Isa::SCALAR <= Isa::detect());
/// assert_eq!("scalar".parse(), Ok(Isa::SCALAR));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isa(Token);

/// `POSTERIZE_ISA` names something unknown or absent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// No instruction set for CPUs of this kind has the name.
    #[error("unknown instruction set {0:?}: expected {names}", names = names())]
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

/// All names, as an enumeration in a sentence.
fn names() -> String {
    match NAMES {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} or {last}", names.join(", ")),
    }
}

impl Isa {
    /// Portable Rust, which every CPU runs.
    pub const SCALAR: Self = Self(Token::PORTABLE);

    /// The best instruction set of this CPU, `POSTERIZE_ISA` aside.
    pub fn detect() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::supported().pop().unwrap_or(Self::SCALAR))
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
        NAMES.iter().filter_map(|name| Token::detect(name)).map(Self).collect()
    }

    /// The widest instruction set, up to this one, that is no unit for matrix products: AVX-512 VNNI
    /// for AMX.
    #[must_use]
    pub fn without_tiles(self) -> Self {
        let narrower = Self::supported().into_iter().filter(|isa| *isa <= self);
        narrower.filter(|isa| !isa.backend().has_tiles()).max().unwrap_or(Self::SCALAR)
    }

    /// The name `POSTERIZE_ISA` knows it by.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// What `with_simd!` matches.
    pub(crate) fn token(self) -> Token {
        self.0
    }

    /// What it provides to the operators.
    pub(crate) fn backend(&self) -> &dyn Backend {
        self.0.backend()
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Isa({self})")
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        let Some(wanted) = NAMES.iter().find(|known| **known == name) else {
            return Err(IsaError::Unknown(name.to_owned()));
        };
        Token::detect(wanted)
            .map(Self)
            .ok_or_else(|| IsaError::Absent { wanted, best: Self::detect() })
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
        assert_eq!(Isa::supported().first(), Some(&Isa::SCALAR));
    }

    #[test]
    fn the_message_for_an_unknown_name_lists_all() {
        let message = IsaError::Unknown("sse2".into()).to_string();
        assert!(
            message.starts_with("unknown instruction set \"sse2\": expected scalar"),
            "{message}"
        );
        assert!(NAMES.iter().all(|name| message.contains(name)), "{message}");
    }

    #[test]
    fn each_isa_is_wider_than_those_before_it() {
        let all = Isa::supported();
        assert!(all.is_sorted());
        for isa in all {
            let mut backend = isa.backend();
            let mut narrower = 0;
            while let Some(fallback) = backend.fallback() {
                backend = fallback;
                narrower += 1;
            }
            // On x86-64 each set falls to the one before it.
            let position = Isa::supported().iter().position(|other| *other == isa);
            assert!(position.is_some_and(|position| narrower <= position), "{isa}");
            assert!(!isa.without_tiles().backend().has_tiles(), "{isa}");
        }
    }
}
