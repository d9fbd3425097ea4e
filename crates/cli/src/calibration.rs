//! The calibration pictures and the progress bars of the passes that read them.

use std::path::Path;

use indicatif::ProgressBar;
use posterize::Tensor;
use posterize::data::Loader;
use posterize::quantization::CalibrationData;

use crate::{error::Result, pictures, ui::Ui};

/// The calibration pictures, with a progress bar for each pass over them.
pub(crate) struct CalibrationPictures<'a> {
    loader: &'a Loader,
    ui: &'a Ui,
    /// The number of pictures that were skipped, which is the same in every pass over all of them.
    skipped: usize,
    layers: LayersBar,
}

impl<'a> CalibrationPictures<'a> {
    pub(crate) fn new(loader: &'a Loader, ui: &'a Ui) -> Self {
        Self { loader, ui, skipped: 0, layers: LayersBar::default() }
    }

    /// Returns the number of pictures that could not be decoded.
    ///
    /// # Errors
    /// Returns an error if that is all of them. `root` is their folder.
    pub(crate) fn skipped(&self, root: &Path) -> Result<usize> {
        pictures::check_skipped(self.skipped, self.loader.len(), root)
    }
}

/// A bar that is cleared when the pass that it is for ends, whether or not that has read all pictures.
pub(crate) struct PassBar(pub(crate) ProgressBar);

impl Drop for PassBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The bar of a pass that works on layers, while there is one.
#[derive(Default)]
pub(crate) struct LayersBar(Option<ProgressBar>);

impl LayersBar {
    /// Shows how many of its steps a pass has done.
    pub(crate) fn set(&mut self, ui: &Ui, pass: &str, steps: usize, total: usize) {
        let bar = self.0.get_or_insert_with(|| ui.steps_bar(pass, total as u64));
        bar.set_position(steps as u64);
        if steps == total {
            bar.finish_and_clear();
            self.0 = None;
        }
    }
}

impl CalibrationData for CalibrationPictures<'_> {
    fn batches(
        &mut self,
        pass: &str,
    ) -> Box<dyn Iterator<Item = posterize::Result<Vec<Tensor>>> + '_> {
        let (mut batches, ui) = (self.loader.tensors(), self.ui);
        let bar = PassBar(ui.pictures_bar(self.loader.len() as u64));
        bar.0.set_message(pass.to_owned());
        let warned = &mut self.skipped;
        let mut seen = 0;
        Box::new(std::iter::from_fn(move || {
            let batch = batches.next();
            let skipped = batches.skipped();
            bar.0.inc((skipped.len() - seen) as u64);
            seen = skipped.len();
            // Of the pictures that an earlier pass skipped, the user knows.
            for picture in skipped.iter().skip(*warned) {
                ui.warn(format_args!("{} (picture skipped)", picture.error));
            }
            *warned = seen.max(*warned);
            match batch {
                Some(Ok(batch)) => {
                    bar.0.inc(batch.images.shape()[0] as u64);
                    Some(Ok(vec![batch.images]))
                }
                Some(Err(error)) => Some(Err(error)),
                None => None,
            }
        }))
    }

    fn progress(&mut self, pass: &str, steps: usize, total: usize) {
        self.layers.set(self.ui, pass, steps, total);
    }
}
