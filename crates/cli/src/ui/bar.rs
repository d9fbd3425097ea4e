//! Horizontal bars of text.

/// A bar of no length to one of almost a character, in eighths of a character.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Returns a bar of `width` characters for the value `full`, and in proportion for smaller values. Its
/// length is rounded to an eighth of a character, but a value above 0 has a bar. Values outside of 0 to
/// `full` have the bar of the nearest.
pub(crate) fn bar(value: f64, full: f64, width: usize) -> String {
    let length = if full > 0.0 { (value / full).clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (length * (8 * width) as f64).round() as usize;
    let eighths = if length > 0.0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars_have_eighths_of_characters() {
        let bars = [0.0, 0.25, 1.0, 1.1, 2.0, 2.9].map(|value| bar(value, 4.0, 2));
        assert_eq!(bars, ["", "▏", "▌", "▌", "█", "█▌"]);
        // Outside of the scale, without one, and too little to see.
        assert_eq!([-1.0, 9.0].map(|value| bar(value, 4.0, 2)), ["", "██"]);
        assert_eq!(bar(1.0, 0.0, 2), "");
        assert_eq!(bar(f64::NAN, 4.0, 2), "");
        assert_eq!(bar(1e-9, 4.0, 2), "▏");
    }

    #[test]
    fn equal_values_have_equal_bars_and_bars_grow_with_values() {
        let bars: Vec<String> = (0..=200).map(|value| bar(f64::from(value), 200.0, 25)).collect();
        let eighths = |bar: &String| {
            bar.chars().map(|c| "▏▎▍▌▋▊▉█".chars().position(|b| b == c).unwrap() + 1).sum()
        };
        let lengths: Vec<usize> = bars.iter().map(eighths).collect();
        assert_eq!(lengths, (0..=200).collect::<Vec<_>>());
    }
}
