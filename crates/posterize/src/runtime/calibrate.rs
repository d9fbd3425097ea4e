//! Calibration: pictures run through the float model while its observers watch.

use std::sync::Arc;

use super::engine::{Engine, compile};
use super::input::Input;
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
        engine.check_one_output()?;
        Ok(self.observe_batch(&mut engine, std::slice::from_ref(images))?.swap_remove(0))
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
        self.calibrate_all(options, batches.into_iter().map(|images| Ok([images?])))
    }

    /// Runs batches of several inputs through the float model, each batch a tensor for each input in
    /// the order of the graph's; every observer sees its values. Returns the number of pictures.
    ///
    /// ```
    /// use posterize::graph::Builder;
    /// use posterize::ops::{Add, Conv2d};
    /// use posterize::quantization::{QConfig, QConfigMapping};
    /// use posterize::runtime::Options;
    /// use posterize::{Architecture, Tensor};
    ///
    /// let mut builder = Builder::new("TwoInputs");
    /// let (a, b) = (builder.input("a"), builder.input("b"));
    /// let sum = builder.add("sum", Add::new(), &[a, b]);
    /// let conv = builder.add("conv", Conv2d::new(3, 4, 1), &[sum]);
    /// builder.output("output", conv);
    /// let model = Architecture::from(builder.build()?).init(0);
    ///
    /// let mut observed = model.prepare(&QConfigMapping::global(QConfig::recommended()))?;
    /// let x = Tensor::new([1, 3, 1, 2], vec![-1.0, 1.0, 2.0, 0.5, 0.0, 3.0])?;
    /// let batch = [x.clone(), x];
    /// assert_eq!(observed.calibrate_all(Options::new(1)?, [Ok(batch)])?, 1);
    /// let int8 = observed.convert()?;
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::forward`], and the first error among the batches.
    pub fn calibrate_all<B, I>(&mut self, options: Options, batches: B) -> Result<usize>
    where
        B: IntoIterator<Item = Result<I>>,
        I: AsRef<[Tensor]>,
    {
        trace::span!(INFO, "calibrate", layers = self.model().graph().nodes().len());
        let mut engine = compile(self.model(), options)?;
        let mut pictures = 0;
        for (index, inputs) in batches.into_iter().enumerate() {
            let inputs = inputs?;
            let inputs = inputs.as_ref();
            let shape = inputs.first().map(Tensor::shape);
            let batch = shape.and_then(|shape| shape.first()).copied().unwrap_or(0);
            trace::span!(DEBUG, "batch", batch = index, pictures = batch);
            self.observe_batch(&mut engine, inputs)?;
            pictures += batch;
        }
        Ok(pictures)
    }

    fn observe_batch(&mut self, engine: &mut Engine, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let pool = Arc::clone(engine.pool());
        let inputs: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
        engine.run_all_observed(&inputs, &mut |id, values| self.observe(&pool, id, values))
    }
}
