//! Calibration: pictures run through the float model while its observers watch.

use std::sync::Arc;

use super::engine::{Engine, compile};
use super::options::Options;
use crate::error::Result;
use crate::quantization::ObservedModel;
use crate::tensor::Tensor;
use crate::trace;

impl ObservedModel {
    /// Runs a batch `[N, C, H, W]` through the float model on all processors; every observer sees
    /// its value. For many batches use [`Self::calibrate`], which packs the weights once.
    ///
    /// # Errors
    /// A layer that the input does not fit, or one whose output holds NaN or infinite values.
    pub fn forward(&mut self, images: &Tensor) -> Result<Tensor> {
        let mut engine = compile(self.model(), Options::all_threads()?)?;
        self.observe_batch(&mut engine, images)
    }

    /// Runs every batch through the float model; every observer sees its values. The result does
    /// not depend on the number of threads. Returns the number of pictures.
    ///
    /// # Errors
    /// As [`Self::forward`], and the first error among the batches.
    pub fn calibrate<B>(&mut self, options: Options, batches: B) -> Result<usize>
    where
        B: IntoIterator<Item = Result<Tensor>>,
    {
        trace::span!(INFO, "calibrate", layers = self.model().graph().nodes().len());
        let mut engine = compile(self.model(), options)?;
        let mut pictures = 0;
        for (index, images) in batches.into_iter().enumerate() {
            let images = images?;
            trace::span!(DEBUG, "batch", batch = index, pictures = images.shape()[0]);
            self.observe_batch(&mut engine, &images)?;
            pictures += images.shape()[0];
        }
        Ok(pictures)
    }

    fn observe_batch(&mut self, engine: &mut Engine, images: &Tensor) -> Result<Tensor> {
        let pool = Arc::clone(engine.pool());
        engine.run_observed(images, &mut |id, values| self.observe(&pool, id, values))
    }
}
