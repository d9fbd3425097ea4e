//! Draws bar charts of the summary table as SVG. Their colours are in the page's style sheet.

use std::fmt::Write;

use super::content::{Row, milliseconds};
use crate::page::escaped;
use crate::page::plot::open;

/// Where bars begin. The names are to the left.
const LEFT: f64 = 150.0;
/// Where the longest bar ends. Its number is to the right.
const RIGHT: f64 = 560.0;
/// Height of a row.
const LINE: f64 = 26.0;
/// Height of a bar.
const BAR: f64 = 16.0;

/// A bar chart of one column of the table.
struct Panel {
    title: &'static str,
    value: fn(&Row) -> f64,
    /// The value of a full bar. `None` for the largest value.
    full: Option<f64>,
    text: fn(f64) -> String,
}

fn two_decimals(value: f64) -> String {
    format!("{value:.2}")
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "Top-1 accuracy, %",
        value: |row| row.score.top1,
        full: Some(100.0),
        text: two_decimals,
    },
    Panel {
        title: "Time, ms per picture",
        value: |row| row.ms_per_image,
        full: None,
        text: milliseconds,
    },
    Panel { title: "Size, MB", value: |row| row.score.size_mb, full: None, text: two_decimals },
];

/// Draws one figure for each panel.
pub(super) fn render(rows: &[Row]) -> String {
    PANELS.iter().map(|panel| figure(panel, rows)).collect()
}

fn figure(panel: &Panel, rows: &[Row]) -> String {
    let largest = rows.iter().map(panel.value).fold(0.0, f64::max);
    let full = panel.full.unwrap_or(largest);
    let height = LINE * rows.len() as f64;
    let mut svg = open(panel.title, height, "panel");
    for (index, row) in rows.iter().enumerate() {
        let value = (panel.value)(row);
        // If all values are zero there are no bars.
        let length = if full > 0.0 { (RIGHT - LEFT) * (value / full).clamp(0.0, 1.0) } else { 0.0 };
        let top = LINE * index as f64;
        let middle = top + LINE / 2.0;
        let class = if index == 0 { "float" } else { "int8" };
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"{name}\" y=\"{middle}\">{method}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{bar}\" width=\"{length:.1}\" height=\"{BAR}\" \
             rx=\"2\"/><text class=\"value\" x=\"{number:.1}\" y=\"{middle}\">{value}</text>",
            name = LEFT - 10.0,
            method = escaped(&row.score.method),
            bar = top + (LINE - BAR) / 2.0,
            number = LEFT + length + 8.0,
            value = (panel.text)(value),
        );
    }
    svg + "</svg></figure>\n"
}

#[cfg(test)]
mod tests {
    use super::{super::content::Content, render};

    #[test]
    fn lengths_of_bars_are_proportional_to_values() {
        let mut content = Content::example();
        let svg = render(&content.rows);
        let widths: Vec<f64> = svg
            .split("<rect ")
            .skip(1)
            .map(|rect| {
                let width = rect.split("width=\"").nth(1).unwrap().split('"').next().unwrap();
                width.parse().unwrap()
            })
            .collect();
        // 88 and 44 of 100 %, 20 and 5 of 20 ms, 14 and 3.5 of 14 MB; a full bar is 410 wide.
        assert_eq!(widths, [360.8, 180.4, 410.0, 102.5, 410.0, 102.5]);
        assert_eq!(svg.matches("class=\"float\"").count(), 3);
        assert!(svg.contains(">88.00<") && svg.contains(">3.50<"));

        content.rows.iter_mut().for_each(|row| row.ms_per_image = 0.0);
        assert!(!render(&content.rows).contains("NaN"));
    }
}
