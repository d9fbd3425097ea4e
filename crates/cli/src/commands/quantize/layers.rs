//! What is reported of the layers of a quantized model.

use posterize::quantization::{self, ObservedModel};
use serde::Serialize;

use crate::ui::{Align, Table};

#[derive(Debug, Serialize)]
pub(super) struct FloatLayer {
    pub(super) name: String,
    pub(super) r#type: String,
    pub(super) reason: &'static str,
}

/// The observed range of a layer's output, and the quantization parameters computed from it.
#[derive(Debug, Serialize)]
pub(super) struct LayerRange {
    pub(super) name: String,
    pub(super) min: f32,
    pub(super) max: f32,
    pub(super) scale: f32,
    pub(super) zero_point: i32,
}

impl From<quantization::FloatLayer> for FloatLayer {
    fn from(layer: quantization::FloatLayer) -> Self {
        Self { name: layer.name, r#type: layer.kind, reason: layer.reason }
    }
}

impl LayerRange {
    /// Returns the ranges of all observers.
    pub(super) fn all(observed: &ObservedModel) -> Vec<Self> {
        let ranges = observed.ranges().map(|(name, range, qparams)| Self {
            name: name.to_owned(),
            min: range.min,
            max: range.max,
            scale: qparams.scale,
            zero_point: qparams.zero_point,
        });
        ranges.collect()
    }
}

/// Returns the table of ranges.
pub(super) fn ranges_table(ranges: &[LayerRange]) -> Table<5> {
    let mut table = Table::new([
        ("output of", Align::Left),
        ("min", Align::Right),
        ("max", Align::Right),
        ("scale", Align::Right),
        ("zero point", Align::Right),
    ]);
    for range in ranges {
        table.row([
            range.name.clone(),
            format!("{:.4}", range.min),
            format!("{:.4}", range.max),
            format!("{:.6}", range.scale),
            range.zero_point.to_string(),
        ]);
    }
    table
}
