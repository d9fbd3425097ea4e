//! Globs over dotted module names.

use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A glob over dotted module names, such as `features.1?`, `*.conv.0` or `{features.0,classifier}`.
///
/// A question mark matches any character and an asterisk any number of them, also dots.
///
/// ```
/// use posterize::graph::ModuleGlob;
///
/// let glob: ModuleGlob = "features.1?".parse()?;
/// assert!(glob.matches("features.17"));
/// assert!(!glob.matches("features.17.conv") && glob.contains("features.17.conv"));
/// assert!("features.[".parse::<ModuleGlob>().is_err());
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ModuleGlob(GlobMatcher);

impl ModuleGlob {
    /// Returns a glob that matches only the module with that dotted name.
    ///
    /// # Errors
    /// Returns an error if the name is too long, see [`str::parse`].
    ///
    /// ```
    /// use posterize::graph::ModuleGlob;
    ///
    /// let glob = ModuleGlob::of_name("classifier.1")?;
    /// assert!(glob.matches("classifier.1") && !glob.matches("classifier.11"));
    /// # Ok::<(), posterize::Error>(())
    /// ```
    pub fn of_name(name: &str) -> Result<Self> {
        globset::escape(name).parse()
    }

    /// Returns whether the glob matches the dotted name of a module.
    pub fn matches(&self, module: &str) -> bool {
        self.0.is_match(module)
    }

    /// Returns whether the glob matches the module or one that contains it: `a`, `a.b` or `a.b.c` for
    /// `a.b.c`.
    pub fn contains(&self, module: &str) -> bool {
        enclosing(module).any(|module| self.matches(module))
    }
}

/// Returns a module and all modules that contain it, innermost first: `a.b.c`, `a.b`, `a`.
pub(crate) fn enclosing(module_name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(module_name), |name| name.rsplit_once('.').map(|(outer, _)| outer))
}

impl PartialEq for ModuleGlob {
    fn eq(&self, other: &Self) -> bool {
        self.0.glob() == other.0.glob()
    }
}

impl fmt::Display for ModuleGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.glob().glob())
    }
}

impl FromStr for ModuleGlob {
    type Err = Error;

    fn from_str(glob: &str) -> Result<Self> {
        // Bounds the memory of the compiled glob, which may come from a file.
        const MAX_LEN: usize = 256;
        if glob.len() > MAX_LEN {
            return Err(Error::Argument(format!(
                "a module glob must have at most {MAX_LEN} bytes, found {}",
                glob.len()
            )));
        }
        GlobBuilder::new(glob)
            .literal_separator(false)
            .build()
            .map(|glob| Self(glob.compile_matcher()))
            .map_err(|error| Error::Argument(format!("module glob {glob:?}: {}", error.kind())))
    }
}

impl From<ModuleGlob> for String {
    fn from(glob: ModuleGlob) -> Self {
        glob.to_string()
    }
}

impl TryFrom<String> for ModuleGlob {
    type Error = Error;

    fn try_from(glob: String) -> Result<Self> {
        glob.parse()
    }
}
