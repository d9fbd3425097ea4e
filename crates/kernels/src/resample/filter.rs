//! The filters of resampling, as in Pillow.

use std::f64::consts::PI;

/// A filter that resizes images, with Pillow's name.
///
/// ```
/// use posterize_kernels::resample::{Filter, Taps};
///
/// // The number of input positions that each output position depends on.
/// let taps = |filter| Taps::new(filter, 8, 8, 3..4).input_range().len();
/// assert_eq!((taps(Filter::Nearest), taps(Filter::Bicubic)), (1, 4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The nearest input position, without antialiasing.
    Nearest,
    /// The mean of the input positions that an output position covers.
    Box,
    /// A triangle of width 2.
    Bilinear,
    /// A Hamming window of width 2.
    Hamming,
    /// Keys' cubic of width 4 with a = -0.5 (Keys 1981, <https://doi.org/10.1109/TASSP.1981.1163711>).
    Bicubic,
    /// A sinc with the main lobe of a wider sinc as its window, of width 6.
    Lanczos,
}

impl Filter {
    /// All filters.
    pub const ALL: [Self; 6] =
        [Self::Nearest, Self::Box, Self::Bilinear, Self::Hamming, Self::Bicubic, Self::Lanczos];

    /// Returns half of the filter's width, in output positions.
    pub(super) fn support(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// Returns the filter's value at a distance from its centre, in output positions.
    pub(super) fn value(self, x: f64) -> f64 {
        match self {
            Self::Nearest | Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming => match x.abs() {
                0.0 => 1.0,
                x if x >= 1.0 => 0.0,
                x => {
                    let x = x * PI;
                    x.sin() / x * (0.54 + 0.46 * x.cos())
                }
            },
            Self::Bicubic => {
                const A: f64 = -0.5;
                match x.abs() {
                    x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
                    x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
                    _ => 0.0,
                }
            }
            Self::Lanczos => {
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}
