//! The colour spaces of JPEGs: which one a file has, and its pixels as red, green and blue.

use super::super::cmyk::cmyk_to_rgb;
use super::segments::Segments;

/// What the components of a JPEG are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColorSpace {
    Grey,
    YCbCr,
    Rgb,
    Cmyk,
    /// Luma and chroma of the inverted cyan, magenta and yellow, then black.
    Ycck,
}

impl ColorSpace {
    /// As libjpeg tells it by markers and by the components' names; `None` for another number of
    /// components than 1, 3 or 4.
    pub(super) fn of(segments: &Segments<'_>) -> Option<Self> {
        let names: Vec<u8> = segments.frame.components.iter().map(|c| c.id).collect();
        Some(match (&names[..], segments.adobe) {
            ([_], _) => Self::Grey,
            ([_, _, _], _) if segments.jfif => Self::YCbCr,
            ([_, _, _], Some(0)) | (b"RGB", None) => Self::Rgb,
            ([_, _, _], _) => Self::YCbCr,
            ([_, _, _, _], None | Some(0)) => Self::Cmyk,
            ([_, _, _, _], Some(_)) => Self::Ycck,
            _ => return None,
        })
    }

    /// One pixel's red, green and blue, of its components.
    pub(super) fn rgb(self, samples: [u8; 4]) -> [u8; 3] {
        let [a, b, c, d] = samples;
        match self {
            Self::Grey => [a; 3],
            Self::YCbCr => ycc_to_rgb([a, b, c]),
            Self::Rgb => [a, b, c],
            Self::Cmyk => cmyk_to_rgb(samples),
            Self::Ycck => {
                let [c, m, y] = ycc_to_rgb([a, b, c]).map(|value| 255 - value);
                cmyk_to_rgb([c, m, y, d])
            }
        }
    }
}

/// The conversion of JFIF 1.02 in 16 fractional bits, as libjpeg rounds it.
fn ycc_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((91_881 * cr + HALF) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}
