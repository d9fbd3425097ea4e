//! Heights and widths as options.

use std::fmt;
use std::str::FromStr;

/// The largest height or width, in pixels.
const MAX: usize = 1 << 14;

/// A height and a width in pixels; one number is for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) [usize; 2]);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes: Option<Vec<usize>> = text
            .split(['x', 'X'])
            .map(|size| size.parse().ok().filter(|size| (1..=MAX).contains(size)))
            .collect();
        match sizes.as_deref() {
            Some(&[size]) => Ok(Self([size; 2])),
            Some(&[height, width]) => Ok(Self([height, width])),
            _ => Err(format!(
                "expected 1 to {MAX} pixels such as 224, or a height and a width such as 48x192"
            )),
        }
    }
}

/// Prints `224 x 224`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width] = self.0;
        write!(f, "{height} x {width}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_one_number_or_two() {
        assert_eq!("224".parse(), Ok(Size([224, 224])));
        assert_eq!("48x192".parse(), Ok(Size([48, 192])));
        assert_eq!("48X192".parse::<Size>().unwrap().to_string(), "48 x 192");
        for bad in ["", "0", "x", "4x", "4x0", "1x2x3", "16385", "-4", "4.5"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
