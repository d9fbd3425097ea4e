//! Parts that all SVG figures on a page share.

use std::fmt::Write;

use super::escaped;

/// The width of every figure.
pub(crate) const WIDTH: f64 = 620.0;

/// Returns the opening tags of a figure with that CSS class. The caller closes them.
pub(crate) fn open(title: &str, height: f64, class: &str) -> String {
    open_sized(title, [WIDTH, height], class)
}

/// Returns the opening tags of a figure of another width.
pub(crate) fn open_sized(title: &str, [width, height]: [f64; 2], class: &str) -> String {
    let title = escaped(title);
    format!(
        "<figure class=\"{class}\"><figcaption>{title}</figcaption>\n\
         <svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n"
    )
}

/// Draws a horizontal grid line between two edges, with its number on the left.
pub(crate) fn gridline(svg: &mut String, [left, right]: [f64; 2], y: f64, label: &str) {
    let _ = writeln!(
        svg,
        "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text class=\"name\" x=\"{}\" y=\"{y:.1}\">{label}</text>",
        left - 8.0
    );
}
