//! What all figures on a page begin with, as SVG.

use std::fmt::Write;

use super::escaped;

/// Of every figure.
pub(crate) const WIDTH: f64 = 620.0;

/// Opens a figure; its caller closes it.
pub(crate) fn open(title: &str, height: f64) -> String {
    let title = escaped(title);
    format!(
        "<figure><figcaption>{title}</figcaption>\n\
         <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n"
    )
}

/// A horizontal line of the grid between two edges, with its number on the left.
pub(crate) fn gridline(svg: &mut String, [left, right]: [f64; 2], y: f64, label: &str) {
    let _ = writeln!(
        svg,
        "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text class=\"name\" x=\"{}\" y=\"{y:.1}\">{label}</text>",
        left - 8.0
    );
}
