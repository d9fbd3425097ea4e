//! A flame chart for the terminal: each module stands above its children, and its width is its share
//! of the time.

use std::fmt::Write;

use crate::ui::Style;

/// Neighbours alternate between these.
const STYLES: [Style; 2] = [Style::OnYellow, Style::OnRed];
/// Deeper levels would show single operators.
const MAX_LEVELS: usize = 4;

/// Draws a chart of layers, given in execution order with their times, `width` characters wide.
/// Without colours, a line separates neighbours.
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
    for level in 0..MAX_LEVELS {
        if paths.iter().all(|path| path.len() <= level) {
            break;
        }
        if level > 0 {
            text.push('\n');
        }
        let (mut start, mut shade) = (0, 0);
        let prefix = |index: usize| paths[index].get(..=level);
        let mut first = 0;
        while first < paths.len() {
            // A layer whose path ends above this level leaves a gap.
            let same = (first..paths.len()).take_while(|&index| prefix(index) == prefix(first));
            let last = same.last().unwrap_or(first);
            let columns = ends[last] - start;
            match prefix(first) {
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
    fn modules_stand_above_their_children() {
        let layers =
            [("quant", 1.0), ("features.0", 2.0), ("features.1", 4.0), ("a.long_name", 1.0)];
        let text = chart(&layers, 32);
        let plain = anstream::adapter::strip_str(&crate::ui::printable(&text)).to_string();
        let expected = "▏qua▏features               ▏a  \n    ▏0      ▏1              ▏lon";
        assert_eq!(plain, expected);
        assert!(text.len() > plain.len());
        // If all times are zero the chart is empty.
        assert_eq!(chart(&[("a.b", 0.0)], 32).trim(), "");
    }
}
