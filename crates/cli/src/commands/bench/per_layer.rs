//! The time of each layer, beside the peak of the instruction set.

use std::{collections::BTreeMap, fmt};

use posterize::runtime::{Arithmetic, LayerProfile, Options, Profile, peak};
use serde::Serialize;

use super::flame;
use crate::ui::{Align, Table, count, megabytes, percent};

const CHART_WIDTH: usize = 96;
const MAX_BAR_WIDTH: f64 = 16.0;

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
    let arithmetic = if layer.precision == "int8" { Arithmetic::Int8 } else { Arithmetic::F32 };
    let measured = peaks.entry((layer.precision, isa.name())).or_insert_with(|| {
        peak(isa, arithmetic, options.threads).map(|multiply_adds_per_second| Peak {
            isa: isa.name(),
            precision: layer.precision,
            multiply_adds_per_second,
        })
    });
    let peak = measured.as_ref()?.multiply_adds_per_second;
    Some(layer.multiply_adds as f64 / layer.seconds / peak)
}

impl fmt::Display for PerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("layer", Align::Left),
            ("kernel", Align::Left),
            ("output shape", Align::Left),
            ("µs", Align::Right),
            ("of time", Align::Right),
            ("multiply-adds", Align::Right),
            ("GMAC/s", Align::Right),
            ("of peak", Align::Right),
            ("", Align::Left),
        ]);
        let longest = self.layers.iter().map(|layer| layer.share).fold(f64::MIN_POSITIVE, f64::max);
        let rate = |multiply_adds: u64, seconds: f64| {
            if multiply_adds == 0 || seconds == 0.0 {
                return String::new();
            }
            format!("{:.1}", multiply_adds as f64 / seconds / 1e9)
        };
        let number = |value| if value == 0 { String::new() } else { count(value) };
        for Layer { profile, share, of_peak } in &self.layers {
            table.row([
                profile.name.clone(),
                profile.kernel.into(),
                format!("{:?}", profile.shape),
                format!("{:.1}", 1e6 * profile.seconds),
                percent(100.0 * share),
                number(profile.multiply_adds),
                rate(profile.multiply_adds, profile.seconds),
                of_peak.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share)),
                "█".repeat((MAX_BAR_WIDTH * share / longest).round() as usize),
            ]);
        }
        let multiply_adds = self.layers.iter().map(|layer| layer.profile.multiply_adds).sum();
        table.totals([
            "total".into(),
            String::new(),
            String::new(),
            format!("{:.1}", 1e3 * self.sum_ms),
            percent(100.0),
            count(multiply_adds),
            rate(multiply_adds, self.sum_ms / 1e3),
            String::new(),
            String::new(),
        ]);
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
