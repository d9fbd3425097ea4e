//! Values as Python prints them.

/// A float: `1e-05`, `0.1`, `0.2`.
pub(super) fn float(value: f32) -> String {
    if value != 0.0 && value.abs() < 1e-4 {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    } else {
        format!("{value:?}")
    }
}

/// A tuple of two: `(3, 3)`.
pub(super) fn pair([a, b]: [usize; 2]) -> String {
    format!("({a}, {b})")
}

/// `True` or `False`.
pub(super) fn boolean(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_have_an_exponent_of_two_digits() {
        assert_eq!([1e-5, 1e-3, 0.1, 0.0].map(float), ["1e-05", "0.001", "0.1", "0.0"]);
    }
}
