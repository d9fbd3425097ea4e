//! The time of each layer, beside the peak of the instruction set.

use std::{collections::BTreeMap, fmt};

use posterize::runtime::{Arithmetic, LayerProfile, Options, Profile, peak};
use serde::Serialize;

use super::flame;
use crate::ui::{Align, Table, bar, megabytes, percent, shortened, si};

const CHART_WIDTH: usize = 96;
/// The width of the table.
const WIDTH: usize = 100;
/// The space between two columns of it.
const GAP: usize = 2;
/// The least width of the longest bar, and the largest.
const MIN_BAR: usize = 6;
const MAX_BAR: usize = 16;
/// The width to which the names of kernels are shortened if there is too little space.
const MIN_KERNEL: usize = 19;

#[derive(Debug, Serialize)]
pub(super) struct PerLayer {
    layers: Vec<Layer>,
    /// The sum of the layers' median times.
    sum_ms: f64,
    activation_bytes: usize,
    /// Measured with loops that only multiply and add.
    peaks: Vec<Peak>,
}

#[derive(Debug, Serialize)]
struct Layer {
    #[serde(flatten)]
    profile: LayerProfile,
    /// Part of the sum of all layers' times, 0 to 1.
    share: f64,
    /// Part of the peak of the kernel's instruction set that the layer reaches, 0 to 1. `None` for
    /// layers without multiply-adds and for scalar code.
    of_peak: Option<f64>,
}

/// The largest measured number of multiply-adds per second, of all threads together.
#[derive(Clone, Debug, Serialize)]
struct Peak {
    isa: &'static str,
    precision: &'static str,
    multiply_adds_per_second: f64,
}

impl PerLayer {
    /// Measures the peaks, and computes each layer's part of them.
    pub(super) fn new(profile: Profile, options: Options) -> Self {
        let sum: f64 = profile.layers.iter().map(|layer| layer.seconds).sum();
        let mut peaks = BTreeMap::new();
        let layers = profile.layers.into_iter().map(|profile| Layer {
            share: if sum > 0.0 { profile.seconds / sum } else { 0.0 },
            of_peak: of_peak(&profile, options, &mut peaks),
            profile,
        });
        Self {
            layers: layers.collect(),
            sum_ms: 1e3 * sum,
            activation_bytes: profile.activation_bytes,
            peaks: peaks.into_values().flatten().collect(),
        }
    }
}

/// Returns the part of the peak that a layer reaches. `peaks` caches those measured so far.
fn of_peak(
    layer: &LayerProfile,
    options: Options,
    peaks: &mut BTreeMap<(&'static str, &'static str), Option<Peak>>,
) -> Option<f64> {
    if layer.multiply_adds == 0 || layer.seconds == 0.0 {
        return None;
    }
    // Only kernels with amx in their names use tiles.
    let tiles = layer.kernel.contains("amx");
    let isa = if tiles { options.isa } else { options.isa.without_tiles() };
    let (arithmetic, precision) = match layer.precision {
        "float32" => (Arithmetic::F32, "float32"),
        _ => (Arithmetic::Int8, "int8"),
    };
    let measured = peaks.entry((precision, isa.name())).or_insert_with(|| {
        peak(isa, arithmetic, options.threads).map(|multiply_adds_per_second| Peak {
            isa: isa.name(),
            precision,
            multiply_adds_per_second,
        })
    });
    let peak = measured.as_ref()?.multiply_adds_per_second;
    Some(layer.multiply_adds as f64 / layer.seconds / peak)
}

impl PerLayer {
    /// Returns the cells of a layer's row, without the bar.
    fn cells(Layer { profile, share, of_peak }: &Layer) -> [String; 7] {
        [
            profile.name.clone(),
            profile.kernel.into(),
            // Without the batch, which is the same for all.
            profile.shape[1..].iter().map(usize::to_string).collect::<Vec<_>>().join("x"),
            microseconds(profile.seconds),
            percent(100.0 * share),
            if profile.multiply_adds == 0 { String::new() } else { si(profile.multiply_adds) },
            of_peak.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share)),
        ]
    }
}

/// Formats a time in microseconds, with tenths below 1,000.
fn microseconds(seconds: f64) -> String {
    let value = 1e6 * seconds;
    if value < 999.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

impl fmt::Display for PerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["layer", "kernel", "output", "µs", "of time", "MACs", "of peak"];
        let multiply_adds: u64 = self.layers.iter().map(|layer| layer.profile.multiply_adds).sum();
        let totals = [
            "total".into(),
            String::new(),
            String::new(),
            microseconds(self.sum_ms / 1e3),
            percent(100.0),
            si(multiply_adds),
            String::new(),
        ];
        let mut rows: Vec<[String; 7]> = self.layers.iter().map(Self::cells).collect();
        let width = |column: usize| {
            let cells = rows.iter().chain([&totals]).map(|cells| cells[column].chars().count());
            cells.fold(heads[column].chars().count(), usize::max)
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        // What the numbers, the gaps, the space behind the table and a bar leave for the names.
        let room = WIDTH - 1 - GAP * heads.len() - widths[2..].iter().sum::<usize>();
        let bar_width = room.saturating_sub(widths[0] + widths[1]).clamp(MIN_BAR, MAX_BAR);
        let room = room - bar_width;
        let kernel = widths[1].min(room.saturating_sub(widths[0]).max(MIN_KERNEL));
        for cells in &mut rows {
            cells[0] = shortened(&cells[0], room - kernel);
            cells[1] = shortened(&cells[1], kernel);
        }
        let align = |column| if column < 3 { Align::Left } else { Align::Right };
        let columns = |column: usize| (*heads.get(column).unwrap_or(&""), align(column));
        let mut table = Table::new(std::array::from_fn::<_, 8, _>(columns)).narrow();
        let longest = self.layers.iter().map(|layer| layer.share).fold(0.0, f64::max);
        for (cells, layer) in rows.into_iter().zip(&self.layers) {
            table.row(with_bar(cells, bar(layer.share, longest, bar_width)));
        }
        table.totals(with_bar(totals, String::new()));
        let names: Vec<(&str, f64)> =
            self.layers.iter().map(|layer| (&*layer.profile.name, layer.profile.seconds)).collect();
        write!(f, "{}\n\n{table}\n", flame::chart(&names, CHART_WIDTH))?;
        for peak in &self.peaks {
            write!(
                f,
                "\npeak of {} in {}: {:.0} GMAC/s (10⁹ multiply-adds per second), measured",
                peak.isa,
                peak.precision,
                peak.multiply_adds_per_second / 1e9
            )?;
        }
        write!(f, "\nmemory of activations: {}", megabytes(self.activation_bytes as u64))
    }
}

fn with_bar(cells: [String; 7], bar: String) -> [String; 8] {
    let mut cells = cells.into_iter().chain([bar]);
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use posterize::{
        graph::{LayerShape, Node},
        models::{self, Config},
    };

    use super::*;

    /// A profile of a network in which every layer has the kernel with the longest name, and takes long.
    fn profile(name: &str, batch: usize) -> PerLayer {
        let config: Config = models::config(name).unwrap();
        let architecture = models::by_name(name, &config).unwrap();
        let [height, width] = models::preprocessing(name).unwrap().crop;
        let shapes = architecture.graph().infer(&[batch, 3, height, width]).unwrap();
        let nodes = architecture.graph().iter().map(|(_, node)| node);
        let layers = nodes.zip(shapes).enumerate();
        let layer = |(index, (node, shape)): (usize, (&Node, LayerShape))| Layer {
            profile: LayerProfile {
                name: node.name.clone(),
                kind: node.op.kind(),
                kernel: "f32_im2row_gemm_14x32_avx512",
                precision: "float32",
                shape: shape.shape,
                multiply_adds: shape.multiply_adds * batch as u64,
                seconds: 0.1 + index as f64 / 1e4,
            },
            share: index as f64 / 1e3,
            of_peak: Some(1.0),
        };
        let layers: Vec<Layer> = layers.map(layer).collect();
        let sum_ms = layers.iter().map(|layer| 1e3 * layer.profile.seconds).sum();
        PerLayer { layers, sum_ms, activation_bytes: 1, peaks: Vec::new() }
    }

    fn printed(profile: &PerLayer) -> String {
        anstream::adapter::strip_str(&crate::ui::printable(profile)).to_string()
    }

    #[test]
    fn the_table_of_every_network_fits_100_columns() {
        for name in models::names() {
            for batch in [1, 256] {
                let text = printed(&profile(name, batch));
                for line in text.lines() {
                    assert!(line.chars().count() <= WIDTH, "{name}: {line}");
                }
                // The table is as wide as the space there is, or nothing is shortened.
                let rule = text.lines().find(|line| line.starts_with('─')).unwrap();
                assert!(rule.chars().count() == WIDTH || !text.contains('…'), "{name}: {text}");
            }
        }
    }

    #[test]
    fn shortened_names_of_layers_still_differ() {
        for name in models::names() {
            let profile = profile(name, 1);
            let text = printed(&profile);
            let rows = text.lines().skip_while(|line| !line.starts_with('─')).skip(1);
            let mut names: Vec<&str> = rows
                .take(profile.layers.len())
                .map(|row| row.split("  ").next().unwrap())
                .collect();
            assert_eq!(names.len(), profile.layers.len());
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{name}");
        }
    }

    #[test]
    fn bars_share_a_scale() {
        let text = printed(&profile("resnet18", 1));
        let bars = text.lines().filter(|line| line.contains("f32_"));
        let eighths = |line: &str| -> usize {
            line.chars()
                .filter_map(|c| "▏▎▍▌▋▊▉█".chars().position(|b| b == c))
                .map(|at| at + 1)
                .sum()
        };
        let lengths: Vec<usize> = bars.map(eighths).collect();
        assert!(lengths.is_sorted() && lengths[0] == 0 && lengths[1] > 0, "{lengths:?}");
        // The longest bar has whole characters, and as many as fit.
        let last = *lengths.last().unwrap();
        assert!(
            last.is_multiple_of(8) && (8 * MIN_BAR..=8 * MAX_BAR).contains(&last),
            "{lengths:?}"
        );
    }
}
