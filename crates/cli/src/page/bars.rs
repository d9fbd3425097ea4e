//! Bar charts as SVG. Their colours are in the page's style sheet.

use std::fmt::Write;

use super::{escaped, plot::open};

/// Where bars begin. The names are to the left.
const LEFT: f64 = 150.0;
/// Where the longest bar ends. Its number is to the right.
const RIGHT: f64 = 560.0;
/// Height of a row.
const LINE: f64 = 26.0;
/// Height of a bar.
const BAR: f64 = 16.0;

/// A bar with its name.
pub(crate) struct Bar<'a> {
    pub(crate) name: &'a str,
    /// The CSS class that gives its colour.
    pub(crate) class: &'a str,
    pub(crate) value: f64,
}

/// Draws a figure of bars with a CSS class. `full` is the value of a full bar; `None` for the largest
/// value.
pub(crate) fn render(
    (title, class): (&str, &str),
    bars: &[Bar<'_>],
    full: Option<f64>,
    text: fn(f64) -> String,
) -> String {
    let largest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let full = full.unwrap_or(largest);
    let height = LINE * bars.len() as f64;
    let mut svg = open(title, height, class);
    for (index, Bar { name, class, value }) in bars.iter().enumerate() {
        // If all values are zero there are no bars.
        let length = if full > 0.0 { (RIGHT - LEFT) * (value / full).clamp(0.0, 1.0) } else { 0.0 };
        let top = LINE * index as f64;
        let middle = top + LINE / 2.0;
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"{left}\" y=\"{middle}\">{name}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{bar}\" width=\"{length:.1}\" height=\"{BAR}\" \
             rx=\"2\"/><text class=\"value\" x=\"{number:.1}\" y=\"{middle}\">{value}</text>",
            left = LEFT - 10.0,
            name = escaped(name),
            bar = top + (LINE - BAR) / 2.0,
            number = LEFT + length + 8.0,
            value = text(*value),
        );
    }
    svg + "</svg></figure>\n"
}
