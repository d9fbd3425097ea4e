//! Draws curves of a training run as SVG. Their colours are in the page's style sheet.

use std::fmt::Write;

use posterize::training::{EpochRecord, History};

use super::baselines::Baselines;
use crate::page::plot::{WIDTH, gridline, open};

const HEIGHT: f64 = 260.0;
/// Margins around the area that curves are drawn in.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 40.0;

/// The distance of a baseline's label from its line.
const LABEL: f64 = 13.0;

/// Maximum number of points of a curve. More could not be told apart, so the losses of a long run are
/// averaged in groups.
const MAX_POINTS: usize = 600;

/// A curve.
struct Curve {
    name: &'static str,
    /// The CSS class that gives its colour.
    class: &'static str,
    /// Steps and values.
    points: Vec<(f64, f64)>,
    /// Whether its points are marked by circles.
    marked: bool,
}

/// A horizontal line to compare curves with.
struct Baseline {
    label: String,
    /// The CSS class that gives its colour.
    class: &'static str,
    value: f64,
    /// Where its label is.
    side: Side,
}

/// An end of a line.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// What the curves of a run are, besides its history.
pub(super) struct Shown {
    /// The epoch whose network is kept.
    pub(super) kept_epoch: usize,
    /// The accuracies before quantization-aware training.
    pub(super) baselines: Option<Baselines>,
    /// The part of distillation in the training loss; `None` without it.
    pub(super) distilled: Option<f64>,
}

/// Draws a figure of the accuracy and one of the loss, or two if the loss of training is not that of
/// validation.
pub(super) fn render(history: &History, shown: &Shown) -> String {
    let epochs = &history.epochs;
    let steps = epochs.last().map_or(history.losses.len(), |e| e.steps.max(history.losses.len()));
    let of_epochs = |value: fn(&EpochRecord) -> f64| -> Vec<(f64, f64)> {
        epochs.iter().map(|epoch| (epoch.steps as f64, value(epoch))).collect()
    };
    let kept = epochs.iter().find(|epoch| epoch.epoch == shown.kept_epoch);
    let kept = kept.map(|epoch| epoch.steps as f64);
    let frozen = |is: fn(&EpochRecord) -> bool, what| {
        epochs.iter().find(|epoch| is(epoch)).map(|epoch| (epoch.steps as f64, what))
    };
    let notes: Vec<(f64, &str)> = [
        frozen(|e| e.bn_stats_frozen, "batch norms frozen"),
        frozen(|e| e.observers_frozen, "observers frozen"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let axes = Axes { steps: steps.max(1) as f64, epochs, kept, notes: &notes };
    let curve = |name, class, points, marked| Curve { name, class, points, marked };
    let train = |value| curve("training", "train", of_epochs(value), true);
    let val = |value| curve("validation", "val", of_epochs(value), true);
    let steps = || curve("each batch", "faint", averaged(&history.losses), false);
    let baselines: Vec<Baseline> = shown.baselines.iter().flat_map(baselines_of).collect();
    let top1 = [train(|epoch| epoch.train_top1), val(|epoch| epoch.val_top1)];
    let mut figures = axes.figure("Top-1 accuracy, %", &top1, &baselines);
    let val_loss = val(|epoch| epoch.val_loss);
    match shown.distilled {
        None => {
            let curves = [steps(), train(|epoch| epoch.train_loss), val_loss];
            figures += &axes.figure("Loss (cross-entropy)", &curves, &[]);
        }
        Some(alpha) => {
            let title = if alpha < 1.0 {
                "Training loss: distillation and cross-entropy"
            } else {
                "Distillation loss"
            };
            figures += &axes.figure(title, &[steps(), train(|epoch| epoch.train_loss)], &[]);
            figures += &axes.figure("Cross-entropy", &[val_loss], &[]);
        }
    }
    figures
}

fn baselines_of(found: &Baselines) -> [Baseline; 2] {
    let line = |what: &str, class, value: f64, side| Baseline {
        label: format!("{what} {value:.1}"),
        class,
        value,
        side,
    };
    [
        line("float", "float", found.float, Side::Right),
        line("int8 untrained", "untrained", found.untrained, Side::Left),
    ]
}

/// Draws a horizontal line with its label.
fn baseline(svg: &mut String, line: &Baseline, y: f64) {
    let edges = [LEFT, WIDTH - RIGHT];
    let (x, anchor) = match line.side {
        Side::Left => (edges[0] + 4.0, "start"),
        Side::Right => (edges[1], "end"),
    };
    // Above the line if there is room.
    let label = if y < TOP + LABEL { y + LABEL } else { y - LABEL };
    let _ = writeln!(
        svg,
        "<line class=\"baseline {}\" x1=\"{}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text class=\"label\" text-anchor=\"{anchor}\" x=\"{x}\" y=\"{label:.1}\">{}</text>",
        line.class, edges[0], edges[1], line.label
    );
}

/// Averages values over groups, so that there are at most [`MAX_POINTS`].
fn averaged(values: &[f32]) -> Vec<(f64, f64)> {
    let group = values.len().div_ceil(MAX_POINTS).max(1);
    values
        .chunks(group)
        .enumerate()
        .map(|(index, chunk)| {
            let mean = chunk.iter().copied().map(f64::from).sum::<f64>() / chunk.len() as f64;
            ((index * group) as f64 + f64::midpoint(chunk.len() as f64, 1.0), mean)
        })
        .collect()
}

/// Returns a round distance between grid lines, of which about four fit into `span`.
fn round_step(span: f64) -> f64 {
    let rough = span / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|f| f * power >= rough).unwrap_or(10.0);
    factor * power
}

struct Axes<'a> {
    steps: f64,
    epochs: &'a [EpochRecord],
    /// The step after which the kept network was saved.
    kept: Option<f64>,
    /// Events, each with the step at which it happened.
    notes: &'a [(f64, &'a str)],
}

impl Axes<'_> {
    fn x(&self, step: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * step / self.steps
    }

    fn figure(&self, title: &str, curves: &[Curve], baselines: &[Baseline]) -> String {
        let values = || {
            let points = curves.iter().flat_map(|curve| &curve.points).map(|&(_, value)| value);
            let lines = baselines.iter().map(|line| line.value);
            points.chain(lines).filter(|value| value.is_finite())
        };
        let (low, high) =
            values().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return String::new();
        }
        // If all values are equal, the curve is a line in the middle.
        let margin = if high > low { 0.0 } else { (high.abs() * 0.1).max(1.0) };
        let step = round_step(high - low + 2.0 * margin);
        let bottom = ((low - margin) / step).floor() * step;
        let top = ((high + margin) / step).ceil() * step;
        let y =
            |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (value - bottom) / (top - bottom));
        let mut svg = open(title, HEIGHT, "curves");
        let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize
            + usize::from((step / 10f64.powf(step.log10().floor()) - 2.5).abs() < 1e-9);
        let lines = ((top - bottom) / step).round() as usize;
        for line in 0..=lines {
            let value = bottom + step * line as f64;
            let edges = [LEFT, WIDTH - RIGHT];
            gridline(&mut svg, edges, y(value), &format!("{value:.decimals$}"));
        }
        self.epoch_labels(&mut svg);
        for &(step, what) in self.notes {
            let x = self.x(step);
            let _ = writeln!(
                svg,
                "<line class=\"event\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\">\
                 <title>{what}</title></line>",
                bottom = HEIGHT - BOTTOM,
            );
        }
        for line in baselines {
            baseline(&mut svg, line, y(line.value));
        }
        for curve in curves {
            let points: Vec<String> = curve
                .points
                .iter()
                .filter(|(_, value)| value.is_finite())
                .map(|&(step, value)| format!("{:.1},{:.1}", self.x(step), y(value)))
                .collect();
            let class = curve.class;
            let _ = writeln!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
            for &(step, value) in curve.points.iter().filter(|(_, v)| curve.marked && v.is_finite())
            {
                let kept = class == "val" && self.kept == Some(step);
                let _ = writeln!(
                    svg,
                    "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{}\"><title>{}: \
                     {value:.4}{}</title></circle>",
                    self.x(step),
                    y(value),
                    if kept { 5.0 } else { 2.5 },
                    curve.name,
                    if kept { " (kept)" } else { "" },
                );
            }
        }
        svg += "</svg>\n<p class=\"legend\">";
        for curve in curves {
            let _ = write!(svg, "<span class=\"{}\">{}</span> ", curve.class, curve.name);
        }
        for line in baselines {
            let _ = write!(svg, "<span class=\"{}\">{}</span> ", line.class, line.label);
        }
        for (_, what) in self.notes {
            let _ = write!(svg, "<span class=\"event\">{what}</span> ");
        }
        svg.trim_end().to_owned() + "</p></figure>\n"
    }

    /// Writes the numbers of epochs below the curves, at most 16 of them so that they do not overlap.
    fn epoch_labels(&self, svg: &mut String) {
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"{}\" y=\"{}\">epoch</text>",
            LEFT - 8.0,
            HEIGHT - BOTTOM / 2.0
        );
        let every = self.epochs.len().div_ceil(16).max(1);
        for epoch in self.epochs.iter().step_by(every) {
            let _ = writeln!(
                svg,
                "<text class=\"below\" x=\"{:.1}\" y=\"{}\">{}</text>",
                self.x(epoch.steps as f64),
                HEIGHT - BOTTOM / 2.0,
                epoch.epoch,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(epochs: usize) -> History {
        let record = |epoch: usize| EpochRecord {
            epoch,
            steps: 4 * (epoch + 1),
            lr: 0.1,
            train_loss: 2.0 - epoch as f64 / 10.0,
            train_top1: 50.0,
            train_images: 8,
            train_seconds: 1.0,
            val_loss: 1.5,
            val_top1: 60.0 + epoch as f64,
            val_top5: 90.0,
            val_images: 8,
            val_seconds: 1.0,
            observers_frozen: epoch >= 2,
            bn_stats_frozen: epoch >= 1,
        };
        History {
            epochs: (0..epochs).map(record).collect(),
            losses: (0..4 * epochs).map(|step| 2.0 - step as f32 / 100.0).collect(),
            grad_norms: vec![1.0; 4 * epochs],
        }
    }

    fn plain(kept_epoch: usize) -> Shown {
        Shown { kept_epoch, baselines: None, distilled: None }
    }

    #[test]
    fn distillation_and_cross_entropy_are_two_figures() {
        let shown = |alpha| Shown { distilled: Some(alpha), ..plain(0) };
        let svg = render(&history(5), &shown(1.0));
        assert_eq!(svg.matches("<figure").count(), 3);
        let captions: Vec<&str> = svg
            .split("<figcaption>")
            .skip(1)
            .map(|rest| rest.split("</figcaption>").next().unwrap())
            .collect();
        assert_eq!(captions, ["Top-1 accuracy, %", "Distillation loss", "Cross-entropy"]);
        let [_, _, distillation, cross_entropy] =
            svg.split("<figure").collect::<Vec<_>>().try_into().unwrap();
        assert!(distillation.contains("polyline class=\"train\"") && !distillation.contains("val"));
        assert!(
            cross_entropy.contains("polyline class=\"val\"") && !cross_entropy.contains("train")
        );
        let svg = render(&history(5), &shown(0.5));
        assert!(svg.contains("Training loss: distillation and cross-entropy"));
    }

    #[test]
    fn baselines_are_lines_with_labels_in_the_figure_of_the_accuracy() {
        let baselines = Some(Baselines { float: 92.3, untrained: 31.5 });
        let svg = render(&history(5), &Shown { baselines, ..plain(0) });
        let [_, accuracy, loss] = svg.split("<figure").collect::<Vec<_>>().try_into().unwrap();
        assert!(accuracy.contains(">float 92.3<") && accuracy.contains(">int8 untrained 31.5<"));
        assert_eq!(accuracy.matches("<line class=\"baseline").count(), 2);
        assert!(!loss.contains("baseline"));
        let height = |class: &str| -> f64 {
            let line = accuracy.split(&format!("baseline {class}\"")).nth(1).unwrap();
            line.split("y1=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        assert!(TOP <= height("float") && height("float") < height("untrained"));
        assert!(height("untrained") <= HEIGHT - BOTTOM);
    }

    #[test]
    fn curves_lie_within_the_figure_and_the_kept_epoch_is_marked() {
        let svg = render(&history(5), &plain(3));
        assert_eq!(svg.matches("<figure").count(), 2);
        assert_eq!(svg.matches("(kept)").count(), 2);
        assert_eq!(svg.matches("<title>batch norms frozen</title>").count(), 2);
        for points in svg.split("points=\"").skip(1) {
            for point in points.split('"').next().unwrap().split_whitespace() {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x}");
                assert!((TOP..=HEIGHT - BOTTOM).contains(&y), "{y}");
            }
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn curves_of_long_runs_are_averaged_to_max_points() {
        let points = averaged(&vec![1.5; 100_001]);
        assert!(points.len() <= MAX_POINTS);
        assert!(points.iter().all(|&(_, value)| value == 1.5));
        assert_eq!(averaged(&[1.0, 3.0]), [(1.0, 1.0), (2.0, 3.0)]);
    }

    #[test]
    fn distances_between_grid_lines_are_round() {
        for (span, step) in [(4.0, 1.0), (1.0, 0.25), (0.031, 0.01), (100.0, 25.0), (37.0, 10.0)] {
            assert!((round_step(span) - step).abs() < 1e-9 * step, "{span}: {}", round_step(span));
        }
    }

    #[test]
    fn an_empty_history_and_equal_values_can_be_drawn() {
        assert_eq!(render(&History::default(), &plain(0)), "");
        assert!(!render(&history(1), &plain(0)).contains("NaN"));
    }
}
