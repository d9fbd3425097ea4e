//! Formats numbers for people.

/// Formats a number of bytes with one decimal and a binary unit: `17.9 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be printed as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Formats an integer with commas between thousands: `3,504,872`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a number with three significant digits and an SI prefix: `3.50 M`.
pub(crate) fn si(value: u64) -> String {
    const UNITS: [&str; 4] = ["k", "M", "G", "T"];
    if value < 1000 {
        return value.to_string();
    }
    let mut value = value as f64 / 1e3;
    let mut unit = 0;
    // 999.5 would be printed as 1000.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// Formats a size in millions of bytes, the unit of PyTorch's tutorial: `3.59 MB`.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// Returns a signal-to-noise ratio unless it is infinite, as JSON has no such number.
pub(crate) fn finite(ratio: f64) -> Option<f64> {
    Some(ratio).filter(|ratio| ratio.is_finite())
}

/// Formats a signal-to-noise ratio in dB; `None` is that of equal values.
pub(crate) fn decibels(ratio: Option<f64>) -> String {
    ratio.map_or("exact".into(), |ratio| format!("{ratio:.1}"))
}

/// Formats a difference with its sign and one decimal: `+1.5`.
pub(crate) fn signed(value: f64) -> String {
    let text = format!("{value:+.1}");
    if text == "+0.0" || text == "-0.0" { "0.0".into() } else { text }
}

/// Formats a percentage with two decimals: `88.67 %`.
pub(crate) fn percent(value: f64) -> String {
    format!("{value:.2} %")
}

/// Formats a time in seconds, with tenths below ten seconds: `1:02:03`, `2:03`, `42 s`, `4.2 s`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn si_has_three_significant_digits() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.00 k"),
            (9_994, "9.99 k"),
            (9_996, "10.0 k"),
            (99_960, "100 k"),
            (999_600, "1.00 M"),
            (3_504_872, "3.50 M"),
            (300_774_272, "301 M"),
        ] {
            assert_eq!(super::si(value), text);
        }
    }

    #[test]
    fn count_separates_thousands_by_commas() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (3_504_872, "3,504,872"),
            (100_000, "100,000"),
        ] {
            assert_eq!(super::count(value), text);
        }
    }

    #[test]
    fn duration_has_hours_minutes_and_seconds() {
        for (seconds, text) in [
            (0.04, "0.0 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.6, "1:00"),
            (123.0, "2:03"),
            (3723.0, "1:02:03"),
        ] {
            assert_eq!(super::duration(seconds), text);
        }
    }

    #[test]
    fn bytes_has_one_decimal_and_at_most_three_digits_before_it() {
        assert_eq!(super::bytes(0), "0 B");
        assert_eq!(super::bytes(1023), "1023 B");
        assert_eq!(super::bytes(1024), "1.0 KiB");
        assert_eq!(super::bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(super::bytes(18_826_032), "18.0 MiB");
        assert_eq!(super::bytes(u64::MAX), "16777216.0 TiB");
    }
}
