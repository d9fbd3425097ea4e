//! Compares the output of each layer of an int8 model with that of the float network.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use posterize::{
    FloatModel, LayerError,
    data::{ImageFolder, Loader},
    format::SavedModel,
    quantization::QuantizedModel,
    runtime::Options,
};
use serde::Serialize;

use super::module_path::is_below;
use crate::{
    error::{CliError, Result},
    pictures::Stream,
    ui::{Align, Table, Ui, count},
};

/// Number of pictures in a batch. It is small because the outputs of all layers are kept.
const BATCH: usize = 2;

/// A layer with this signal-to-noise ratio in dB has an empty bar. 8 bits reach about this much.
const MAX_SQNR: f64 = 50.0;
const MAX_BAR_WIDTH: f64 = 25.0;

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
    pub(super) fn new(
        saved: &SavedModel,
        int8: &QuantizedModel,
        float: &FloatModel,
        data: &Path,
        limit: u32,
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
        let folder = ImageFolder::open(data, None)?;
        let loader = Loader::new(&folder, preprocessing)
            .batch_size(BATCH)
            .threads(options.threads)
            .limit(limit as usize);
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
            sqnr_db: Some(error.sqnr()).filter(|sqnr| sqnr.is_finite()),
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

/// Returns a bar whose length grows with the noise.
fn bar(sqnr: f64) -> String {
    let noise = ((MAX_SQNR - sqnr) / MAX_SQNR).clamp(0.0, 1.0);
    "█".repeat((noise * MAX_BAR_WIDTH).round() as usize)
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
                layer.sqnr_db.map_or("exact".into(), |sqnr| format!("{sqnr:.1}")),
                layer.sqnr_db.map(bar).unwrap_or_default(),
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
    use super::bar;

    #[test]
    fn bars_grow_with_the_noise() {
        let lengths = [60.0, 50.0, 30.0, 10.0, 0.0, -20.0].map(|sqnr| bar(sqnr).chars().count());
        assert_eq!(lengths, [0, 0, 10, 20, 25, 25]);
    }
}
