//! Statistics of the times of one model.

use serde::Serialize;

use crate::{loaded::Loaded, timing};

/// Statistics of the timed runs of one model, in milliseconds per picture.
#[derive(Debug, Serialize)]
pub(super) struct Times {
    pub(super) model: String,
    pub(super) precision: &'static str,
    pub(super) median_ms: f64,
    pub(super) min_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) images_per_second: f64,
}

impl Times {
    pub(super) fn new(model: &Loaded, mut times: Vec<f64>) -> Self {
        Self {
            model: model.name.clone(),
            precision: model.precision(),
            images_per_second: 1e3 * times.len() as f64 / times.iter().sum::<f64>(),
            median_ms: timing::percentile(&mut times, 0.5),
            min_ms: timing::percentile(&mut times, 0.0),
            p99_ms: timing::percentile(&mut times, 0.99),
        }
    }
}
