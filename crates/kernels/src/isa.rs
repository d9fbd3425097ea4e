//! Detection and choice of the instruction set for which kernels are selected.
//!
//! The environment variable `POSTERIZE_ISA` selects a narrower one than the CPU's best, for tests
//! and comparisons. Its values are the [names](Isa::name) of instruction sets: `scalar` everywhere,
//! and `avx2`, `avx512vnni` and `amx` on x86-64.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::arch::{NAMES, Token};
use crate::backend::Backend;

/// An instruction set that this CPU supports; a value can only be obtained where it does.
///
/// Instruction sets are ordered from the narrowest to the widest.
///
/// ```
/// use posterize_kernels::Isa;
///
/// assert!(Isa::SCALAR <= Isa::detect());
/// assert_eq!("scalar".parse(), Ok(Isa::SCALAR));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isa(Token);

/// An error for the name of an instruction set that is unknown or that this CPU does not support.
///
/// ```
/// use posterize_kernels::{Isa, IsaError};
///
/// let error = "sse9".parse::<Isa>().unwrap_err();
/// assert_eq!(error, IsaError::Unknown("sse9".into()));
/// assert!(error.to_string().starts_with("unknown instruction set \"sse9\": expected scalar"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// No instruction set of this architecture has the name.
    #[error("unknown instruction set {0:?}: expected {names}", names = names())]
    Unknown(String),
    /// The CPU does not support it.
    #[error("this CPU does not support {wanted}; the best it supports is {best}")]
    Absent {
        /// The instruction set that was asked for.
        wanted: &'static str,
        /// The best instruction set that the CPU supports.
        best: Isa,
    },
}

/// Returns all names as an enumeration for a sentence.
fn names() -> String {
    match NAMES {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} or {last}", names.join(", ")),
    }
}

impl Isa {
    /// Portable Rust, which runs on every CPU.
    pub const SCALAR: Self = Self(Token::PORTABLE);

    /// Returns the best instruction set of this CPU; ignores `POSTERIZE_ISA`.
    ///
    /// Detection changes nothing in the process. A Linux process must ask for permission before it
    /// uses AMX tiles, which holds for all of its threads and makes the system save larger states in
    /// signal handlers; the first kernel that is built for `amx` asks for it. A program that does not
    /// want that uses [`without_tiles`](Self::without_tiles), or `POSTERIZE_ISA=avx512vnni`. Where
    /// the permission is refused, the kernels of `avx512vnni` are used, with the same results.
    pub fn detect() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::supported().pop().unwrap_or(Self::SCALAR))
    }

    /// Returns the instruction set that `POSTERIZE_ISA` names, or [`Isa::detect`] if it is unset or
    /// empty.
    ///
    /// # Errors
    /// If the variable holds an unknown name, or one of an instruction set that this CPU does not
    /// support.
    pub fn from_env() -> Result<Self, IsaError> {
        match std::env::var("POSTERIZE_ISA") {
            Ok(name) if !name.is_empty() => name.parse(),
            _ => Ok(Self::detect()),
        }
    }

    /// Returns every instruction set that this CPU supports, [`Isa::SCALAR`] first and in ascending
    /// order.
    ///
    /// ```
    /// use posterize_kernels::Isa;
    ///
    /// let all = Isa::supported();
    /// assert_eq!((all[0], all.last()), (Isa::SCALAR, Some(&Isa::detect())));
    /// ```
    pub fn supported() -> Vec<Self> {
        NAMES.iter().filter_map(|name| Token::detect(name)).map(Self).collect()
    }

    /// Returns the widest instruction set, up to this one, that is not a matrix-product unit:
    /// AVX-512 VNNI for AMX.
    #[must_use]
    pub fn without_tiles(self) -> Self {
        let narrower = Self::supported().into_iter().filter(|isa| *isa <= self);
        narrower.filter(|isa| !isa.backend().has_tiles()).max().unwrap_or(Self::SCALAR)
    }

    /// The name of the instruction set, as `POSTERIZE_ISA` accepts it.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The token that `with_simd!` matches on.
    pub(crate) fn token(self) -> Token {
        self.0
    }

    /// The kernels of the instruction set.
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
    fn the_error_for_an_unknown_name_lists_all_names() {
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
            // On x86-64 the fallback of each instruction set is the one before it.
            let position = Isa::supported().iter().position(|other| *other == isa);
            assert!(position.is_some_and(|position| narrower <= position), "{isa}");
            assert!(!isa.without_tiles().backend().has_tiles(), "{isa}");
        }
    }
}
