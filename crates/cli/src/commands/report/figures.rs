//! Draws the figures of a layer as SVG. Their colours are in the page's style sheet. Each has a bounded
//! number of points, whatever the size of the layer.

use std::fmt::Write;

use posterize::report::{ChannelWeights, Histogram};

use super::numbers::{Activations, Weights};
use crate::page::plot::open_sized;

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 4.0;
const RIGHT: f64 = 316.0;
const TOP: f64 = 6.0;
const BOTTOM: f64 = 122.0;

/// Maximum number of bars in a figure. Neighbouring channels are drawn as one bar if there are more.
const MAX_BARS: usize = 128;

/// The share of weights from which on they count as other weights than the float network's.
pub(super) const OTHER_WEIGHTS: f64 = 0.01;

/// Draws the range of the weights of each channel, and the values that its scale can represent.
pub(super) fn channels(weights: &Weights) -> String {
    let channels = &weights.found.channels;
    // Weights that are not the float network's have only int8 values.
    let of_float = weights.found.changed < OTHER_WEIGHTS;
    let group = channels.len().div_ceil(MAX_BARS).max(1);
    let limit = |channel: &ChannelWeights| f64::from(channel.scale) * 127.5;
    let bars: Vec<[f64; 3]> = channels
        .chunks(group)
        .map(|group| {
            let bounds = group.iter().map(|channel| {
                if of_float {
                    [f64::from(channel.min), f64::from(channel.max)]
                } else {
                    [-f64::from(channel.max_int8), f64::from(channel.max_int8)]
                }
            });
            let [low, high] = bounds
                .fold([f64::INFINITY, f64::NEG_INFINITY], |a, b| [a[0].min(b[0]), a[1].max(b[1])]);
            [low, high, group.iter().map(limit).fold(0.0, f64::max)]
        })
        .collect();
    let largest = bars.iter().flatten().fold(0.0_f64, |max, value| max.max(value.abs()));
    let largest = if largest > 0.0 { largest } else { 1.0 };
    let middle = f64::midpoint(TOP, BOTTOM);
    let y = |value: f64| middle - (BOTTOM - TOP) / 2.0 * value / largest;
    let pitch = (RIGHT - LEFT) / bars.len().max(1) as f64;
    let mut svg = open_sized("Weights of each channel", [WIDTH, HEIGHT], "small");
    let (mut ranges, mut upper, mut lower) = (String::new(), String::new(), String::new());
    for (index, [low, high, limit]) in bars.iter().enumerate() {
        let (left, right) = (LEFT + pitch * index as f64, LEFT + pitch * (index as f64 + 1.0));
        let _ = write!(ranges, "M{:.1} {:.1}V{:.1}", f64::midpoint(left, right), y(*low), y(*high));
        let command = if index == 0 { 'M' } else { 'L' };
        let _ = write!(upper, "{command}{left:.1} {:.1}H{right:.1}", y(*limit));
        let _ = write!(lower, "{command}{left:.1} {:.1}H{right:.1}", y(-*limit));
    }
    let _ = writeln!(
        svg,
        "<path class=\"strip\" stroke-width=\"{:.1}\" d=\"{ranges}\"/>\
         <path class=\"limit\" d=\"{upper}{lower}\"/>",
        (0.8 * pitch).min(8.0)
    );
    label(&mut svg, LEFT, "start", &format!("±{}", number(largest)));
    let bars = if group > 1 { format!(", {group} a bar") } else { String::new() };
    let scales = if weights.found.per_channel { "a scale each" } else { "one scale" };
    label(&mut svg, RIGHT, "end", &format!("{} channels{bars}, {scales}", channels.len()));
    svg + "</svg></figure>\n"
}

/// Draws how many weights have each integer.
pub(super) fn integers(weights: &Weights) -> String {
    let mut svg = open_sized("Weights in int8", [WIDTH, HEIGHT], "small");
    // Two integers a bar.
    let counts: Vec<u64> =
        weights.found.counts.chunks(2).map(|pair| pair.iter().sum::<u64>()).collect();
    let pitch = (RIGHT - LEFT) / counts.len() as f64;
    steps(&mut svg, &counts, LEFT, pitch);
    label(&mut svg, LEFT, "start", "−128");
    label(&mut svg, f64::midpoint(LEFT, RIGHT), "middle", "0");
    label(&mut svg, RIGHT, "end", "127");
    svg + "</svg></figure>\n"
}

/// Draws the distribution of the float outputs, and the range that int8 can represent.
pub(super) fn activations(activations: &Activations) -> String {
    let (Some(histogram), Some([low, high])) =
        (&activations.found.histogram, activations.found.range)
    else {
        return String::new();
    };
    let mut svg = open_sized("Float outputs and int8 range", [WIDTH, HEIGHT], "small");
    let (bins, from, to) = shown(histogram, [low, high].map(f64::from));
    let edges: Vec<f64> = histogram.edges().collect();
    let x = |value: f64| LEFT + (RIGHT - LEFT) * (value - edges[from]) / (edges[to] - edges[from]);
    let pitch = (RIGHT - LEFT) / bins.len().max(1) as f64;
    steps(&mut svg, bins, LEFT, pitch);
    let (low_x, high_x) = (x(f64::from(low)), x(f64::from(high)));
    for at in [low_x, high_x] {
        let _ = write!(
            svg,
            "<line class=\"limit\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>"
        );
    }
    label(&mut svg, low_x, if low_x < 60.0 { "start" } else { "middle" }, &number(f64::from(low)));
    label(
        &mut svg,
        high_x,
        if high_x > 260.0 { "end" } else { "middle" },
        &number(f64::from(high)),
    );
    svg + "</svg></figure>\n"
}

/// Returns the bins from the first to the last that has values or is in `range`, and the numbers of their
/// edges.
fn shown(histogram: &Histogram, range: [f64; 2]) -> (&[u64], usize, usize) {
    let edges: Vec<f64> = histogram.edges().collect();
    let wanted = |bin: usize| {
        histogram.counts[bin] > 0 || (edges[bin + 1] > range[0] && edges[bin] < range[1])
    };
    let bins = 0..histogram.counts.len();
    let from = bins.clone().find(|&bin| wanted(bin)).unwrap_or(0);
    let to = bins.rev().find(|&bin| wanted(bin)).map_or(histogram.counts.len(), |bin| bin + 1);
    (&histogram.counts[from..to], from, to)
}

/// Draws counts as an area with steps. Heights are logarithmic, so that rare values are seen.
fn steps(svg: &mut String, counts: &[u64], left: f64, pitch: f64) {
    let log = |count: u64| (1.0 + count as f64).ln();
    let largest = counts.iter().map(|&count| log(count)).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let mut path = format!("M{left:.1} {BOTTOM}");
    for (index, &count) in counts.iter().enumerate() {
        let y = BOTTOM - (BOTTOM - TOP) * log(count) / largest;
        let _ = write!(path, "V{y:.0}H{:.1}", left + pitch * (index as f64 + 1.0));
    }
    let _ = writeln!(svg, "<path class=\"area\" d=\"{path}V{BOTTOM}Z\"/>");
}

fn label(svg: &mut String, x: f64, anchor: &str, text: &str) {
    let y = BOTTOM + 16.0;
    let _ = write!(
        svg,
        "<text class=\"axis\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y}\">{text}</text>"
    );
}

/// Formats a number with three significant digits.
pub(super) fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "−∞" }.into();
    }
    if value == 0.0 || value.is_nan() {
        return format!("{value}");
    }
    let digits = value.abs().log10().floor();
    if (-4.0..5.0).contains(&digits) {
        format!("{value:.*}", (2.0 - digits).max(0.0) as usize).replace('-', "−")
    } else {
        format!("{value:.2e}").replace('-', "−")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::numbers::example, *};

    #[test]
    fn figures_have_a_bounded_number_of_points() {
        let svg = channels(&example::weights(2, false));
        assert!(svg.contains("2 channels, one scale<") && svg.contains("±1.00"), "{svg}");
        // From -0.5 to 0.25 on a scale of ±1 that is 116 high.
        assert!(svg.contains("d=\"M82.0 93.0V49.5M238.0 78.5V49.5\""), "{svg}");
        let many = channels(&example::weights(2000, true));
        assert!(many.contains("2000 channels, 16 a bar, a scale each"));
        assert!(many.len() < 8000 && integers(&example::weights(2000, true)).len() < 3000);
    }

    #[test]
    fn an_axis_has_all_values_and_the_whole_range() {
        let mut histogram = Histogram::new(-1.0, 3.0, 128);
        for value in [0.5, 0.5, 2.5] {
            histogram.add(value);
        }
        let (bins, from, to) = shown(&histogram, [0.0, 2.0]);
        let edges: Vec<f64> = histogram.edges().collect();
        assert_eq!((edges[from], bins.len(), to - from), (0.0, 81, 81));
        assert!(edges[to] > 2.5);
        let mut found = example::activations([0.0, 2.0]);
        found.found.histogram = Some(histogram);
        let svg = activations(&found);
        assert_eq!(svg.matches("<line class=\"limit\"").count(), 2);
        assert!(svg.contains("x1=\"4.0\"") && svg.contains(">2.00<"), "{svg}");
    }

    #[test]
    fn numbers_have_three_significant_digits() {
        let texts = [0.0, 0.001_234, -12.345, 1234.5, 9.999, 1e-7, -2.5e9].map(number);
        assert_eq!(texts, ["0", "0.00123", "−12.3", "1234", "10.00", "1.00e−7", "−2.50e9"]);
    }
}
