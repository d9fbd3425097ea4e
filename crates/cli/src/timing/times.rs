//! Statistics of the times of one model.

use serde::Serialize;

use crate::timing;

/// Statistics of the timed runs of one model, in milliseconds per picture.
#[derive(Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) model: String,
    pub(crate) precision: &'static str,
    pub(crate) median_ms: f64,
    pub(crate) min_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) images_per_second: f64,
}

impl Times {
    /// Computes the statistics of `times`, which are in milliseconds per picture.
    pub(crate) fn new(model: &str, precision: &'static str, mut times: Vec<f64>) -> Self {
        Self {
            model: model.to_owned(),
            precision,
            images_per_second: 1e3 * times.len() as f64 / times.iter().sum::<f64>(),
            median_ms: timing::percentile(&mut times, 0.5),
            min_ms: timing::percentile(&mut times, 0.0),
            p99_ms: timing::percentile(&mut times, 0.99),
        }
    }
}
