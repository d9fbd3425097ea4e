//! Draws bar charts of the summary table.

use super::content::{Row, milliseconds};
use crate::page::bars::{self, Bar};

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
    let bars: Vec<Bar> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| Bar {
            name: &row.score.method,
            class: if index == 0 { "float" } else { "int8" },
            value: (panel.value)(row),
        })
        .collect();
    bars::render((panel.title, "panel"), &bars, panel.full, panel.text)
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
