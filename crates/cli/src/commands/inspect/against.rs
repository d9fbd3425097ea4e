//! Compares the output of each layer of an int8 model with that of the float network.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use posterize::{
    FloatModel, LayerError,
    data::{Loader, Preprocessing},
    format::SavedModel,
    quantization::QuantizedModel,
    runtime::Options,
};
use serde::Serialize;

use super::module_path::is_below;
use crate::{
    error::{CliError, Result},
    pictures::Stream,
    ui::{Align, Table, Ui, bar, count, decibels, finite},
};

/// Number of pictures in a batch. It is small because the outputs of all layers are kept.
pub(super) const BATCH: usize = 2;

/// A layer with this signal-to-noise ratio in dB has an empty bar, unless another layer has a higher one. 8
/// bits reach about this much.
const MAX_SQNR: f64 = 50.0;
const BAR_WIDTH: usize = 25;

#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    r#type: String,
    /// Signal-to-quantization-noise ratio of the output in dB. `None` if the outputs are equal.
    sqnr_db: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    model: String,
    data: PathBuf,
    pictures: usize,
    skipped: usize,
    /// Sorted by SQNR, lowest first.
    layers: Vec<Layer>,
}

impl Report {
    /// Compares on the pictures of `data`, which `loader` loads.
    pub(super) fn new(
        saved: &SavedModel,
        int8: &QuantizedModel,
        float: &FloatModel,
        data: &Path,
        loader: impl Fn(&Preprocessing) -> Loader,
        options: Options,
        ui: &Ui,
    ) -> Result<Self> {
        let preprocessing = saved.preprocessing.as_ref().ok_or_else(|| {
            CliError::Usage(
                "the saved int8 model has no preprocessing (resize, crop, mean and std of its \
                 pictures); write it again with `posterize quantize`"
                    .into(),
            )
        })?;
        let loader = loader(preprocessing);
        let mut stream = Stream::new(&loader, loader.tensors(), ui);
        let bar = stream.bar.clone();
        let mut pictures = 0;
        let images = stream.by_ref().map(|batch| batch.map(|batch| batch.images));
        let result = posterize::compare(float, int8, options, images, &mut |seen| {
            bar.inc((seen - pictures) as u64);
            pictures = seen;
        });
        stream.finish(data)?;
        let mut errors = result?;
        errors.sort_by(|a, b| a.sqnr().total_cmp(&b.sqnr()));
        let layer = |error: LayerError| Layer {
            sqnr_db: finite(error.sqnr()),
            name: error.name,
            r#type: error.kind,
        };
        Ok(Self {
            model: saved.name.clone(),
            data: data.to_path_buf(),
            pictures,
            skipped: stream.skipped,
            layers: errors.into_iter().map(layer).collect(),
        })
    }

    /// Keeps only the layers of the module `path`.
    pub(super) fn below(mut self, path: &str) -> Self {
        self.layers.retain(|layer| is_below(path, &layer.name));
        self
    }
}

/// Returns how far a signal-to-noise ratio is below that of an empty bar, in dB, and the same for the
/// noisiest layer of a table, or 8 bits if no layer is noisier.
fn noise(sqnr: f64, table: &[Layer]) -> (f64, f64) {
    let known = || table.iter().filter_map(|layer| layer.sqnr_db);
    let clean = known().fold(MAX_SQNR, f64::max);
    (clean - sqnr, clean - known().fold(0.0, f64::min))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("output of", Align::Left),
            ("type", Align::Left),
            ("SQNR dB", Align::Right),
            ("noise", Align::Left),
        ]);
        for layer in &self.layers {
            table.row([
                layer.name.clone(),
                layer.r#type.clone(),
                decibels(layer.sqnr_db),
                layer.sqnr_db.map_or(String::new(), |sqnr| {
                    let (noise, full) = noise(sqnr, &self.layers);
                    bar(noise, full, BAR_WIDTH)
                }),
            ]);
        }
        write!(
            f,
            "{table}\n\nSignal-to-quantization-noise ratio of each output of {} in int8, against \
             float, on {} pictures of {}",
            self.model,
            count(self.pictures as u64),
            self.data.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bars that a table of layers with these ratios has.
    fn bars(ratios: &[Option<f64>]) -> Vec<String> {
        let layer = |&sqnr_db| Layer { name: "l".into(), r#type: "Conv2d".into(), sqnr_db };
        let layers = ratios.iter().map(layer).collect();
        let (model, data) = (String::new(), PathBuf::new());
        let text = Report { model, data, pictures: 1, skipped: 0, layers }.to_string();
        let rows = text.lines().skip(2).take(ratios.len());
        rows.map(|row| row.chars().filter(|c| "▏▎▍▌▋▊▉█".contains(*c)).collect()).collect()
    }

    #[test]
    fn bars_of_one_table_share_a_scale() {
        let found = bars(&[Some(0.0), Some(20.0), Some(20.0), Some(20.3), Some(50.0), None]);
        assert_eq!(
            found,
            [
                "█".repeat(25),
                "█".repeat(15),
                "█".repeat(15),
                "█".repeat(14) + "▉",
                String::new(),
                String::new()
            ]
        );
        // Ratios below 0 dB and above 50 dB make the scale longer instead of having equal bars.
        let found =
            bars(&[Some(-20.0), Some(-10.0), Some(0.0), Some(30.0), Some(60.0), Some(80.0)]);
        let lengths: Vec<usize> = found.iter().map(|bar| bar.chars().count()).collect();
        assert_eq!(lengths, [25, 23, 20, 13, 5, 0]);
    }
}
