//! Engines: a plan with its threads.

use posterize_kernels::{Isa, Pool};

use super::plan::{Observe, Plan, Source};
use super::{Engine, Options};
use crate::error::Result;
use crate::model::FloatModel;
use crate::quantization::QuantizedModel;
use crate::tensor::{MemoryFormat, Tensor};

/// A plan for the picture size of the last batch, and the threads it runs on.
#[derive(Debug)]
struct Runner {
    isa: Isa,
    pool: Pool,
    plan: Option<Plan>,
}

impl Runner {
    fn new(options: Options) -> Self {
        Self { isa: options.isa, pool: Pool::new(options.threads), plan: None }
    }

    fn run(
        &mut self,
        source: &dyn Source,
        images: &Tensor,
        observe: Option<Observe<'_>>,
    ) -> Result<Tensor> {
        let [batch, picture @ ..] = images.shape4()?;
        let converted;
        let input = if images.format() == MemoryFormat::ChannelsLast {
            images.data()
        } else {
            converted = images.to_format(MemoryFormat::ChannelsLast);
            converted.data()
        };
        let mut plan = match self.plan.take() {
            Some(plan) if plan.picture == picture => plan,
            _ => Plan::new(source, self.isa, picture)?,
        };
        plan.lay_out(batch, self.pool.threads())?;
        let output = plan.run(&self.pool, input, observe);
        self.plan = Some(plan);
        output
    }
}

/// Runs a [`FloatModel`].
///
/// Weights are packed when the first batch arrives, for the height and width of its pictures;
/// another batch size reuses them.
///
/// ```
/// use posterize::executor::{Engine, FloatEngine, Options};
/// use posterize::graph::Conv2d;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let mut engine = FloatEngine::new(&model, Options::new(1)?);
/// assert_eq!(engine.run(&Tensor::zeros([2, 3, 8, 8]))?.shape(), [2, 8, 6, 6]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct FloatEngine {
    model: FloatModel,
    runner: Runner,
}

impl FloatEngine {
    /// An engine for `model`.
    pub fn new(model: &FloatModel, options: Options) -> Self {
        Self { model: model.clone(), runner: Runner::new(options) }
    }

    /// As [`Engine::run`], and shows `observe` the output of every node, the input's first.
    ///
    /// # Errors
    /// A layer that the input does not fit, or the first error of `observe`.
    pub fn run_observed(&mut self, images: &Tensor, observe: Observe<'_>) -> Result<Tensor> {
        self.runner.run(&self.model, images, Some(observe))
    }
}

impl Engine for FloatEngine {
    fn run(&mut self, images: &Tensor) -> Result<Tensor> {
        self.runner.run(&self.model, images, None)
    }
}

impl FloatModel {
    /// The output for a batch `[N, C, H, W]`, on all processors. To run more than one batch, build
    /// a [`FloatEngine`], which packs the weights once.
    ///
    /// # Errors
    /// A layer that such an input does not fit, by its name.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        FloatEngine::new(self, Options::all_threads()?).run(images)
    }
}

/// Runs a [`QuantizedModel`]; layers that have int8 weights in int8, the rest in f32.
#[derive(Debug)]
pub struct Int8Engine {
    model: QuantizedModel,
    runner: Runner,
}

impl Int8Engine {
    /// An engine for `model`.
    pub fn new(model: &QuantizedModel, options: Options) -> Self {
        Self { model: model.clone(), runner: Runner::new(options) }
    }
}

impl Engine for Int8Engine {
    fn run(&mut self, images: &Tensor) -> Result<Tensor> {
        self.runner.run(&self.model, images, None)
    }
}

impl QuantizedModel {
    /// The output for a batch `[N, C, H, W]`, on all processors. To run more than one batch, build
    /// an [`Int8Engine`], which packs the weights once.
    ///
    /// # Errors
    /// A layer that such an input does not fit, by its name.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        Int8Engine::new(self, Options::all_threads()?).run(images)
    }
}
