//! Values as printed by Python.

/// Returns a float as printed by Python: `1e-05`, `0.1`.
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

/// Returns a tuple of two as printed by Python: `(3, 3)`.
pub(super) fn pair([a, b]: [usize; 2]) -> String {
    format!("({a}, {b})")
}

/// Returns a number if both are equal, a tuple of two elsewhere: `3`, `(3, 1)`.
pub(super) fn one_or_pair(sizes: [usize; 2]) -> String {
    if sizes[0] == sizes[1] { sizes[0].to_string() } else { pair(sizes) }
}

/// Returns a tuple as printed by Python: `(3,)`, `(3, 4, 5)`.
pub(super) fn tuple<T: std::fmt::Display>(values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    let end = if texts.len() == 1 { "," } else { "" };
    format!("({}{end})", texts.join(", "))
}

/// Returns a boolean as printed by Python: `True` or `False`.
pub(super) fn boolean(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_python() {
        assert_eq!([1e-5, 1e-3, 0.1, 0.0].map(float), ["1e-05", "0.001", "0.1", "0.0"]);
    }
}
