//! Draws the figures of steps as SVG. Their colours are in the page's style sheet.

use std::fmt::Write;

use super::content::{Channels, Epochs, Figure};
use crate::page::escaped;
use crate::page::plot::{gridline, open};

const HEIGHT: f64 = 220.0;
/// The edges of the area in which data is drawn. The numbers are outside.
const LEFT: f64 = 48.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 186.0;

pub(super) fn render(figure: &Figure) -> String {
    match figure {
        Figure::Channels(channels) => render_channels(channels),
        Figure::Epochs(epochs) => render_epochs(epochs),
    }
}

/// Draws a horizontal line with a label at its right end.
fn reference(svg: &mut String, class: &str, y: f64, label: &str) {
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text class=\"name\" x=\"{RIGHT}\" y=\"{:.1}\">{}</text>",
        y - 9.0,
        escaped(label)
    );
}

/// Draws a bar for each channel on a logarithmic scale, and the line below which weights become zero.
fn render_channels(channels: &Channels) -> String {
    let Channels { layer, largest, scale, .. } = channels;
    let mut svg = open(&format!("Largest weight of each channel of {layer}"), HEIGHT, "steps");
    let lost = f64::from(*scale) / 2.0;
    let values = largest.iter().map(|&value| f64::from(value)).filter(|&value| value > 0.0);
    let (low, high) = values.fold((lost, lost), |(low, high), v| (low.min(v), high.max(v)));
    // The axis spans whole powers of ten, at most six of them.
    let high = high.log10().ceil();
    let low = low.log10().floor().max(high - 6.0).min(high - 1.0);
    let y = |value: f64| {
        let position = ((value.log10() - low) / (high - low)).clamp(0.0, 1.0);
        BOTTOM - (BOTTOM - TOP) * position
    };
    let mut power = low;
    while power <= high {
        gridline(
            &mut svg,
            [LEFT, RIGHT],
            y(10_f64.powf(power)),
            &format!("{}", 10_f64.powf(power)),
        );
        power += 1.0;
    }
    let pitch = (RIGHT - LEFT) / largest.len().max(1) as f64;
    for (index, &value) in largest.iter().enumerate() {
        let top = y(f64::from(value));
        let class = if f64::from(value) < lost { "lost" } else { "int8" };
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            LEFT + pitch * (index as f64 + 0.1),
            pitch * 0.8,
            BOTTOM - top
        );
    }
    reference(&mut svg, "limit", y(lost), "below this, weights round to zero");
    let _ = writeln!(
        svg,
        "<text class=\"below\" x=\"{:.1}\" y=\"{:.1}\">channels, largest first</text>",
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 20.0
    );
    svg + "</svg></figure>\n"
}

/// Draws the accuracy before training and after each epoch, and lines for those of the float network and
/// of the untrained int8 network.
fn render_epochs(epochs: &Epochs) -> String {
    let Epochs { rows: epochs, float, untrained } = epochs;
    let mut svg = open("Top-1 of the int8 network after each epoch, %", HEIGHT, "steps");
    let reached = epochs.iter().map(|epoch| epoch.top1).chain(*untrained);
    let low = (reached.fold(*float, f64::min) / 10.0).floor().min(9.0) * 10.0;
    let y = |top1: f64| BOTTOM - (BOTTOM - TOP) * (top1 - low) / (100.0 - low);
    let step = if 100.0 - low > 40.0 { 20 } else { 10 };
    for value in (0..=100).rev().step_by(step).filter(|&value| f64::from(value) >= low) {
        gridline(&mut svg, [LEFT, RIGHT], y(f64::from(value)), &value.to_string());
    }
    // The leftmost position is the accuracy before training.
    let pitch = (RIGHT - LEFT) / (epochs.len() as f64 + 0.5);
    let x = |epoch: usize| LEFT + pitch * (epoch as f64 + 0.25);
    let before = untrained.map(|top1| (0, top1));
    let points: Vec<(usize, f64)> =
        before.into_iter().chain(epochs.iter().map(|epoch| (epoch.number, epoch.top1))).collect();
    let path: Vec<String> =
        points.iter().map(|&(epoch, top1)| format!("{:.1},{:.1}", x(epoch), y(top1))).collect();
    reference(&mut svg, "limit", y(*float), "float");
    if let Some(untrained) = untrained {
        reference(&mut svg, "baseline untrained", y(*untrained), "int8 untrained");
    }
    let _ = writeln!(svg, "<polyline class=\"val\" points=\"{}\"/>", path.join(" "));
    for &(epoch, top1) in &points {
        let (x, y) = (x(epoch), y(top1));
        let label = if epoch == 0 { "untrained".to_owned() } else { epoch.to_string() };
        let _ = writeln!(
            svg,
            "<circle class=\"val\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>\
             <text class=\"below\" x=\"{x:.1}\" y=\"{:.1}\">{top1:.1}</text>\
             <text class=\"below\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>",
            y + 14.0,
            BOTTOM + 20.0
        );
    }
    svg + "</svg></figure>\n"
}

#[cfg(test)]
mod tests {
    use super::{Channels, Epochs, Figure, render};

    #[test]
    fn channels_that_round_to_zero_are_marked() {
        let svg = render(&Figure::Channels(Channels {
            layer: "a<1>".into(),
            largest: vec![10.0, 1.0, 0.02, 0.0],
            scale: 0.1,
            lost: 2,
        }));
        assert!(svg.contains("channel of a&lt;1&gt;"));
        assert_eq!(svg.matches("class=\"int8\"").count(), 2);
        assert_eq!(svg.matches("class=\"lost\"").count(), 2);
        // The axis from 0.01 to 10 has three powers of ten, each 58 high.
        let heights: Vec<&str> = svg
            .split("<rect ")
            .skip(1)
            .map(|rect| rect.split("height=\"").nth(1).unwrap().split('"').next().unwrap())
            .collect();
        assert_eq!(heights, ["174.0", "116.0", "17.5", "0.0"]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn every_epoch_has_a_labelled_point() {
        let svg = render(&Figure::Epochs(Epochs::example()));
        assert_eq!(svg.matches("<circle ").count(), 3);
        for text in [
            ">int8 untrained<",
            ">untrained<",
            ">1<",
            ">2<",
            ">40.0<",
            ">80.0<",
            ">90.0<",
            ">float<",
        ] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        let alone = Epochs { untrained: None, ..Epochs::example() };
        let alone = render(&Figure::Epochs(alone));
        assert_eq!(alone.matches("<circle ").count(), 2);
        assert!(!alone.contains("untrained"));
    }
}
