//! The arrays of a calibration and the progress bars of the passes that read them.

use indicatif::ProgressBar;
use posterize::{Tensor, quantization::CalibrationData};

use crate::ui::Ui;

/// Batches of arrays, with a progress bar for each pass over them or over layers.
pub(crate) struct CalibrationArrays<'a> {
    batches: &'a [Vec<Tensor>],
    ui: &'a Ui,
    bar: Option<ProgressBar>,
}

impl<'a> CalibrationArrays<'a> {
    pub(crate) fn new(batches: &'a [Vec<Tensor>], ui: &'a Ui) -> Self {
        Self { batches, ui, bar: None }
    }
}

impl CalibrationData for CalibrationArrays<'_> {
    fn batches(
        &mut self,
        pass: &str,
    ) -> Box<dyn Iterator<Item = posterize::Result<Vec<Tensor>>> + '_> {
        let bar = self.ui.steps_bar(pass, self.batches.len() as u64);
        let mut batches = self.batches.iter();
        Box::new(std::iter::from_fn(move || {
            let Some(batch) = batches.next() else {
                bar.finish_and_clear();
                return None;
            };
            bar.inc(1);
            Some(Ok(batch.clone()))
        }))
    }

    fn progress(&mut self, pass: &str, steps: usize, total: usize) {
        let bar = self.bar.get_or_insert_with(|| self.ui.steps_bar(pass, total as u64));
        bar.set_position(steps as u64);
        if steps == total {
            bar.finish_and_clear();
            self.bar = None;
        }
    }
}
