//! The instruction set that an engine runs on.

use std::fmt;
use std::str::FromStr;

use posterize_kernels as kernels;

use crate::error::{Error, Result};

/// The environment variable that names the instruction set to use.
const VARIABLE: &str = "POSTERIZE_ISA";

/// An instruction set of this CPU. A value proves that the CPU has it.
///
/// They are ordered from the narrowest to the widest, and known by [name](Isa::name): `scalar`
/// everywhere, and `avx2`, `avx512vnni` and `amx` on x86-64. Int8 results are the same to the bit on
/// each of them.
///
/// ```
/// use posterize::runtime::Isa;
///
/// assert!(Isa::SCALAR <= Isa::detect());
/// assert_eq!("scalar".parse::<Isa>()?, Isa::SCALAR);
/// assert!("sse2".parse::<Isa>().is_err());
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isa(kernels::Isa);

impl Isa {
    /// Portable Rust, which every CPU runs.
    pub const SCALAR: Self = Self(kernels::Isa::SCALAR);

    /// Returns the widest instruction set of this CPU.
    ///
    /// Detection changes nothing in the process. A Linux process must ask for permission before it
    /// uses AMX tiles, which holds for all of its threads and makes the system save larger states in
    /// signal handlers; compiling the first engine for `amx` asks for it. A program that does not want
    /// that sets [`Options::isa`](super::Options::isa) to [`without_tiles`](Self::without_tiles), or
    /// `POSTERIZE_ISA=avx512vnni`. Where the permission is refused, the kernels of `avx512vnni` are
    /// used, with the same results.
    pub fn detect() -> Self {
        Self(kernels::Isa::detect())
    }

    /// Returns the instruction set that the environment variable `POSTERIZE_ISA` names, or
    /// [`Isa::detect`] where it is not set or empty.
    ///
    /// # Errors
    /// [`Error::Argument`]: the variable holds an unknown name, or that of a set which this CPU lacks.
    pub fn from_env() -> Result<Self> {
        kernels::Isa::from_env()
            .map(Self)
            .map_err(|error| Error::Argument(format!("{VARIABLE}: {error}")))
    }

    /// Returns every instruction set of this CPU, from the narrowest to the widest.
    pub fn supported() -> Vec<Self> {
        kernels::Isa::supported().into_iter().map(Self).collect()
    }

    /// Returns the widest instruction set, up to this one, that is no unit for matrix products:
    /// `avx512vnni` for `amx`.
    #[must_use]
    pub fn without_tiles(self) -> Self {
        Self(self.0.without_tiles())
    }

    /// Returns the name by which `POSTERIZE_ISA` and [`str::parse`] know it.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Returns what the kernels take.
    pub(crate) const fn kernels(self) -> kernels::Isa {
        self.0
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
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        name.parse()
            .map(Self)
            .map_err(|error: kernels::IsaError| Error::Argument(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_by_the_names_of_the_kernels() {
        for (isa, expected) in Isa::supported().into_iter().zip(kernels::Isa::supported()) {
            assert_eq!(isa.kernels(), expected);
            assert_eq!(isa.to_string(), expected.name());
            assert_eq!(isa.name().parse::<Isa>().unwrap(), isa);
            assert_eq!(isa.without_tiles().kernels(), expected.without_tiles());
        }
        assert_eq!(Isa::supported().first(), Some(&Isa::SCALAR));
        assert_eq!(Isa::supported().last(), Some(&Isa::detect()));
        assert!(Isa::supported().is_sorted());
        assert_eq!(format!("{:?} {:>8}", Isa::SCALAR, Isa::SCALAR), "Isa(scalar)   scalar");
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_those_there_are() {
        let error = "sse2".parse::<Isa>().unwrap_err().to_string();
        assert!(error.starts_with("unknown instruction set \"sse2\": expected scalar"), "{error}");
    }
}
