//! A flame chart for the terminal: modules above their parts, as wide as the time they take.

use std::fmt::Write;

use anstyle::{AnsiColor, Color, Style};

/// Neighbours have different ones.
const STYLES: [Style; 2] = [
    Style::new()
        .fg_color(Some(Color::Ansi(AnsiColor::Black)))
        .bg_color(Some(Color::Ansi(AnsiColor::Yellow))),
    Style::new()
        .fg_color(Some(Color::Ansi(AnsiColor::White)))
        .bg_color(Some(Color::Ansi(AnsiColor::Red))),
];
/// More levels would show single operators.
const LEVELS: usize = 4;

/// A chart of layers in execution order, with the time that each takes, `width` characters wide.
/// Where there are no colours, a line parts neighbours.
pub(super) fn chart(layers: &[(&str, f64)], width: usize) -> String {
    let total: f64 = layers.iter().map(|(_, seconds)| seconds).sum();
    let mut ends = Vec::with_capacity(layers.len());
    let mut sum = 0.0;
    for (_, seconds) in layers {
        sum += seconds;
        ends.push(if total > 0.0 { (sum / total * width as f64).round() as usize } else { 0 });
    }
    let paths: Vec<Vec<&str>> = layers.iter().map(|(name, _)| name.split('.').collect()).collect();
    let mut text = String::new();
    for level in 0..LEVELS {
        if paths.iter().all(|path| path.len() <= level) {
            break;
        }
        if level > 0 {
            text.push('\n');
        }
        let (mut start, mut shade) = (0, 0);
        let part = |index: usize| paths[index].get(..=level);
        let mut first = 0;
        while first < paths.len() {
            // A layer without a part at this level has nothing below it.
            let alike = (first..paths.len()).take_while(|&index| part(index) == part(first));
            let last = alike.last().unwrap_or(first);
            let columns = ends[last] - start;
            match part(first) {
                Some(path) if columns > 0 => {
                    let style = STYLES[shade % STYLES.len()];
                    let label: String = path[level].chars().take(columns - 1).collect();
                    let rest = columns - 1;
                    let _ = write!(text, "{style}▏{label:<rest$}{style:#}");
                    shade += 1;
                }
                _ => text.extend(std::iter::repeat_n(' ', columns)),
            }
            (start, first) = (ends[last], last + 1);
        }
        text.truncate(text.trim_end_matches(' ').len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::chart;

    #[test]
    fn modules_stand_above_their_parts() {
        let layers =
            [("quant", 1.0), ("features.0", 2.0), ("features.1", 4.0), ("a.long_name", 1.0)];
        let text = chart(&layers, 32);
        let plain = anstream::adapter::strip_str(&text).to_string();
        let expected = "▏qua▏features               ▏a  \n    ▏0      ▏1              ▏lon";
        assert_eq!(plain, expected);
        assert!(text.len() > plain.len());
        // No time at all is no chart, and no division by it.
        assert_eq!(chart(&[("a.b", 0.0)], 32).trim(), "");
    }
}
