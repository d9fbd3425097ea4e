//! The filters with which pictures are resized.

use std::fmt;
use std::str::FromStr;

use posterize_kernels::resample::Filter;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The filter with which a picture is resized; torchvision's `InterpolationMode` for Pillow images,
/// and the interpolation of timm's models.
///
/// All filters but [`Interpolation::Nearest`] are widened when a picture shrinks, so that it has no
/// aliasing.
///
/// ```
/// use posterize::data::{Interpolation, Preprocessing};
///
/// let interpolation: Interpolation = "bicubic".parse()?;
/// let preprocessing = Preprocessing { interpolation, ..Preprocessing::imagenet() };
/// assert_eq!(preprocessing.interpolation.to_string(), "bicubic");
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// The mean of the covered pixels.
    Box,
    /// A linear filter, the default of torchvision.
    #[default]
    Bilinear,
    /// A Hamming window.
    Hamming,
    /// A cubic filter with a = -0.5, the default of timm.
    Bicubic,
    /// A windowed sinc of six pixels.
    Lanczos,
}

impl Interpolation {
    /// All filters.
    pub const ALL: [Self; 6] =
        [Self::Nearest, Self::Box, Self::Bilinear, Self::Hamming, Self::Bicubic, Self::Lanczos];

    /// Returns the name: `bicubic`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }

    pub(super) const fn filter(self) -> Filter {
        match self {
            Self::Nearest => Filter::Nearest,
            Self::Box => Filter::Box,
            Self::Bilinear => Filter::Bilinear,
            Self::Hamming => Filter::Hamming,
            Self::Bicubic => Filter::Bicubic,
            Self::Lanczos => Filter::Lanczos,
        }
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Interpolation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Argument(format!("found no interpolation `{name}`; expected one of {names}"))
        })
    }
}
