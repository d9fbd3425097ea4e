//! Layers in the order of how much accuracy they cost, with causes and what to try.

use posterize::quantization::{LayerCause, LayerFacts, LayerSensitivity, OutputQuality, Remedy};
use serde::Serialize;

/// A layer, and how much accuracy it costs.
#[derive(Debug, Serialize)]
pub(crate) struct RankedLayer {
    pub(crate) name: String,
    pub(crate) r#type: String,
    pub(crate) only_int8: OutputQuality,
    pub(crate) only_float: OutputQuality,
    pub(crate) extra_ms: Option<f64>,
    pub(crate) extra_bytes: u64,
    pub(crate) facts: LayerFacts,
    pub(crate) causes: Vec<RankedCause>,
}

/// A likely cause of a layer's noise.
#[derive(Debug, Serialize)]
pub(crate) struct RankedCause {
    pub(crate) text: String,
    pub(crate) remedy: Remedy,
    pub(crate) option: String,
}

impl RankedLayer {
    pub(crate) fn new(layer: LayerSensitivity) -> Self {
        let cause = |cause: &LayerCause| RankedCause {
            text: cause.to_string(),
            remedy: cause.remedy,
            option: option(cause.remedy, &layer.name),
        };
        let causes = layer.causes.iter().map(cause).collect();
        let LayerSensitivity { only_int8, only_float, extra_ms, extra_bytes, .. } = layer;
        let (name, r#type, facts) = (layer.name, layer.kind, layer.facts);
        Self { name, r#type, only_int8, only_float, extra_ms, extra_bytes, facts, causes }
    }

    /// Returns the option to try first.
    pub(crate) fn option(&self) -> String {
        match self.causes.first() {
            Some(cause) => cause.option.clone(),
            None => option(Remedy::KeepInFloat, &self.name),
        }
    }
}

/// Returns the option of `posterize quantize` for a remedy of the layer `name`.
fn option(remedy: Remedy, name: &str) -> String {
    match remedy {
        Remedy::Equalize => "--equalize always".into(),
        Remedy::PerChannel => "--qconfig recommended".into(),
        Remedy::Rounding => "--rounding coordinate-descent".into(),
        Remedy::Percentile => "--observer percentile".into(),
        Remedy::BiasCorrection => "--bias-correction empirical".into(),
        _ => format!("--skip {name}"),
    }
}

/// Returns the share of each layer in the noise that all of them add alone, 0 to 1.
pub(crate) fn shares(layers: &[RankedLayer]) -> Vec<f64> {
    let noise = |layer: &RankedLayer| 10f64.powf(layer.only_int8.sqnr_db / -10.0);
    let all: f64 = layers.iter().map(noise).sum();
    layers.iter().map(|layer| if all > 0.0 { noise(layer) / all } else { 0.0 }).collect()
}
