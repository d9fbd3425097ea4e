//! The arrays of a calibration and the progress bars of the passes that read them.

use posterize::{Tensor, quantization::CalibrationData};

use crate::calibration::{LayersBar, PassBar};
use crate::ui::Ui;

/// Batches of arrays, with a progress bar for each pass over them or over layers.
pub(crate) struct CalibrationArrays<'a> {
    batches: &'a [Vec<Tensor>],
    ui: &'a Ui,
    layers: LayersBar,
}

impl<'a> CalibrationArrays<'a> {
    pub(crate) fn new(batches: &'a [Vec<Tensor>], ui: &'a Ui) -> Self {
        Self { batches, ui, layers: LayersBar::default() }
    }
}

impl CalibrationData for CalibrationArrays<'_> {
    fn batches(
        &mut self,
        pass: &str,
    ) -> Box<dyn Iterator<Item = posterize::Result<Vec<Tensor>>> + '_> {
        let bar = PassBar(self.ui.steps_bar(pass, self.batches.len() as u64));
        Box::new(self.batches.iter().map(move |batch| {
            bar.0.inc(1);
            Ok(batch.clone())
        }))
    }

    fn progress(&mut self, pass: &str, steps: usize, total: usize) {
        self.layers.set(self.ui, pass, steps, total);
    }
}
