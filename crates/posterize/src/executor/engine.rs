//! Engines: a plan with its threads.

use std::time::Duration;

use posterize_kernels::{Isa, Pool};
use serde::Serialize;

use super::plan::{Observe, Plan, Source, Watch};
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

    fn run(&mut self, source: &dyn Source, images: &Tensor, watch: Watch<'_>) -> Result<Tensor> {
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
        let output = plan.run(&self.pool, input, watch);
        self.plan = Some(plan);
        output
    }

    fn profile(&mut self, source: &dyn Source, images: &Tensor, runs: usize) -> Result<Profile> {
        // Also packs the weights and warms the caches.
        self.run(source, images, Watch::Unwatched)?;
        let steps = self.plan.as_ref().map_or(0, |plan| plan.steps().len());
        let mut times = vec![Vec::with_capacity(runs); steps];
        for _ in 0..runs {
            let mut run = vec![Duration::ZERO; steps];
            self.run(source, images, Watch::Times(&mut run))?;
            times.iter_mut().zip(run).for_each(|(all, time)| all.push(time));
        }
        let shapes = source.graph().infer(images.shape())?;
        let layers =
            self.plan.iter().flat_map(Plan::steps).zip(times).map(|((id, kernel), mut all)| {
                all.sort_unstable();
                LayerProfile {
                    name: source.graph().node(id).name.clone(),
                    kind: source.graph().node(id).op.kind(),
                    kernel,
                    shape: shapes[id.0].shape.clone(),
                    multiply_adds: shapes[id.0].multiply_adds,
                    seconds: all.get(all.len() / 2).map_or(0.0, Duration::as_secs_f64),
                }
            });
        let layers = layers.collect();
        let activation_bytes = self.plan.as_ref().map_or(0, Plan::activation_bytes);
        Ok(Profile { layers, activation_bytes })
    }
}

/// Where the time of a run goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// The steps in execution order.
    pub layers: Vec<LayerProfile>,
    /// Memory for all activations of the batch, scratch included, in bytes.
    pub activation_bytes: usize,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerProfile {
    /// The node's name.
    pub name: String,
    /// Its operator: `ConvReLU6_2d`.
    pub kind: String,
    /// The kernel that ran.
    pub kernel: &'static str,
    /// The output's shape for the whole batch.
    pub shape: Vec<usize>,
    /// Multiply-adds for the whole batch; 0 where there is no product.
    pub multiply_adds: u64,
    /// Median time for the whole batch, in seconds.
    pub seconds: f64,
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
        self.runner.run(&self.model, images, Watch::Outputs(observe))
    }
}

impl Engine for FloatEngine {
    fn run(&mut self, images: &Tensor) -> Result<Tensor> {
        self.runner.run(&self.model, images, Watch::Unwatched)
    }

    fn profile(&mut self, images: &Tensor, runs: usize) -> Result<Profile> {
        self.runner.profile(&self.model, images, runs)
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

    /// As [`Engine::run`], and shows `observe` the output of every node, the input's first; int8
    /// outputs are dequantized.
    ///
    /// # Errors
    /// A layer that the input does not fit, or the first error of `observe`.
    pub fn run_observed(&mut self, images: &Tensor, observe: Observe<'_>) -> Result<Tensor> {
        self.runner.run(&self.model, images, Watch::Outputs(observe))
    }
}

impl Engine for Int8Engine {
    fn run(&mut self, images: &Tensor) -> Result<Tensor> {
        self.runner.run(&self.model, images, Watch::Unwatched)
    }

    fn profile(&mut self, images: &Tensor, runs: usize) -> Result<Profile> {
        self.runner.profile(&self.model, images, runs)
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
