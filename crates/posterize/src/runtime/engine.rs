//! Engines: plans with the threads and the memory to run them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posterize_kernels::Pool;

use super::plan::{Granularity, Plan, Source};
use super::profile::{self, Profile};
use super::summary::PlanSummary;
use super::workspace::{Observe, Watch, Workspace};
use super::{Input, Options};
use crate::error::{Error, Result};
use crate::model::FloatModel;
use crate::quantization::QuantizedModel;
use crate::tensor::Tensor;

/// What [`compile`] takes: a [`FloatModel`] or a [`QuantizedModel`].
pub trait Compile: Source + Clone + 'static {}

impl Compile for FloatModel {}
impl Compile for QuantizedModel {}

/// Packs a model's weights for the kernels of this machine, which gives an engine that runs it.
///
/// Where [`Options::picture`] gives the size of the pictures it happens at once, else when the first
/// batch arrives. Layers that have int8 weights run in int8, the rest in f32.
///
/// ```
/// use posterize::runtime::{Options, compile};
/// use posterize::ops::Conv2d;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let mut engine = compile(&model, Options::new(1)?)?;
/// assert_eq!(engine.run(&Tensor::zeros([2, 3, 8, 8]))?.shape(), [2, 8, 6, 6]);
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// Options outside their ranges; a layer that pictures of such a size do not fit, by its name.
pub fn compile<M: Compile>(model: &M, options: Options) -> Result<Engine> {
    options.validate()?;
    let shared = Shared { model: Box::new(model.clone()), packed: Mutex::default() };
    let mut engine = Engine::new(Arc::new(shared), options);
    if let Some(picture) = options.picture {
        let plan = engine.plan(picture, Granularity::Blocks)?;
        plan.check_batch(options.batch)?;
        engine.workspace.reserve(&plan, options.batch, engine.pool.threads());
    }
    Ok(engine)
}

/// Runs a compiled model; made by [`compile`].
///
/// An engine belongs to one thread at a time. [`Clone`] makes another for another thread: both read
/// the same packed weights, and each has threads and memory of its own. Every engine of a model
/// gives the same bits, whatever the number of its threads.
///
/// ```
/// use posterize::runtime::{Options, compile};
/// use posterize::ops::Conv2d;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let engine = compile(&model, Options { picture: Some([3, 8, 8]), ..Options::new(1)? })?;
/// let images = Tensor::zeros([1, 3, 8, 8]);
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         let (mut engine, images) = (engine.clone(), &images);
///         scope.spawn(move || engine.run(images).unwrap());
///     }
/// });
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    options: Options,
    pool: Pool,
    /// Those of the last run and of the last watched one.
    plans: [Option<Arc<Plan>>; 2],
    workspace: Workspace,
}

/// What all engines of a model read.
#[derive(Debug)]
struct Shared {
    model: Box<dyn Source>,
    /// The plans packed last, one of each granularity, for engines that have none yet.
    packed: Mutex<[Option<Arc<Plan>>; 2]>,
}

impl Clone for Engine {
    fn clone(&self) -> Self {
        self.with_threads(self.options.threads)
    }
}

impl Engine {
    fn new(shared: Arc<Shared>, options: Options) -> Self {
        let pool = Pool::new(options.threads);
        Self { shared, options, pool, plans: [None, None], workspace: Workspace::default() }
    }

    /// A clone with another number of threads, at least 1.
    #[must_use]
    pub fn with_threads(&self, threads: usize) -> Self {
        let options = Options { threads: threads.max(1), ..self.options };
        Self { plans: self.plans.clone(), ..Self::new(Arc::clone(&self.shared), options) }
    }

    /// What it was compiled with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The plan for pictures `[C, H, W]`.
    fn plan(&mut self, picture: [usize; 3], granularity: Granularity) -> Result<Arc<Plan>> {
        let place = granularity as usize;
        let fits = |plan: &&Arc<Plan>| plan.picture == picture;
        if let Some(plan) = self.plans[place].as_ref().filter(fits) {
            return Ok(Arc::clone(plan));
        }
        // Another engine waits rather than to pack the same. Nothing is half done after a panic.
        let mut packed = self.shared.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = if let Some(plan) = packed[place].as_ref().filter(fits) {
            Arc::clone(plan)
        } else {
            let (model, Options { isa, normalize, .. }) = (&*self.shared.model, self.options);
            let plan = Plan::new(model, isa, granularity, &self.pool, picture, normalize)?;
            Arc::clone(packed[place].insert(Arc::new(plan)))
        };
        self.plans[place] = Some(Arc::clone(&plan));
        Ok(plan)
    }

    /// The output's shape for a batch `[N, C, H, W]`: `[N, classes]` of a classifier.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn output_shape(&mut self, [batch, picture @ ..]: [usize; 4]) -> Result<Vec<usize>> {
        let plan = self.plan(picture, Granularity::Blocks)?;
        plan.check_batch(batch)?;
        Ok(plan.output_shape(batch))
    }

    /// The model's output for a batch: logits `[N, classes]` of a classifier.
    ///
    /// # Errors
    /// A layer that such an input does not fit, by its name; pixels for an engine that was compiled
    /// without their normalization.
    pub fn run<'a>(&mut self, images: impl Into<Input<'a>>) -> Result<Tensor> {
        self.run_watched(images.into(), Watch::Unwatched)
    }

    /// As [`Self::run`], with the output in the caller's memory, in the order of
    /// [`Self::output_shape`] or, where that is `[N, C, H, W]`, channels last. Once the engine has
    /// run a batch of this size it allocates nothing.
    ///
    /// ```
    /// use posterize::runtime::{Options, compile};
    /// use posterize::ops::Linear;
    /// use posterize::nn::{Flatten, Sequential};
    /// use posterize::{Architecture, Tensor};
    ///
    /// let net = Sequential::new().then(Flatten).then(Linear::new(12, 5));
    /// let mut engine = compile(&Architecture::trace(&net)?.init(0), Options::new(1)?)?;
    /// let mut logits = [1.0; 2 * 5];
    /// engine.run_into(&Tensor::zeros([2, 3, 2, 2]), &mut logits)?;
    /// assert_eq!(logits, [0.0; 10]);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::run`]; an output of another length.
    pub fn run_into<'a>(&mut self, images: impl Into<Input<'a>>, output: &mut [f32]) -> Result<()> {
        let ([batch, picture @ ..], given) = images.into().parts()?;
        let plan = self.plan(picture, Granularity::Blocks)?;
        plan.check_batch(batch)?;
        if output.len() != batch * plan.output_len() {
            return Err(Error::shape(
                "output",
                format!("{:?} does not fit {} values", plan.output_shape(batch), output.len()),
            ));
        }
        let values = self.workspace.run(&plan, &self.pool, batch, given, Watch::Unwatched)?;
        output.copy_from_slice(values);
        Ok(())
    }

    /// As [`Self::run`], and shows `observe` the output of every node, the input's first; int8
    /// outputs are dequantized.
    ///
    /// # Errors
    /// As [`Self::run`], or the first error of `observe`.
    pub fn run_observed<'a>(
        &mut self,
        images: impl Into<Input<'a>>,
        observe: Observe<'_>,
    ) -> Result<Tensor> {
        self.run_watched(images.into(), Watch::Outputs(observe))
    }

    /// The median time of every step over a number of runs.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn profile<'a>(&mut self, images: impl Into<Input<'a>>, runs: usize) -> Result<Profile> {
        let images = images.into();
        let ([batch, picture @ ..], given) = images.parts()?;
        // Also packs the weights and warms the caches.
        self.run_watched(images, Watch::Unwatched)?;
        let plan = self.plan(picture, Granularity::Blocks)?;
        let mut times = vec![Vec::with_capacity(runs); plan.steps.len() + 1];
        for _ in 0..runs {
            let mut run = vec![Duration::ZERO; times.len()];
            self.workspace.run(&plan, &self.pool, batch, given, Watch::Times(&mut run))?;
            times.iter_mut().zip(run).for_each(|(all, time)| all.push(time));
        }
        Ok(profile::of(&plan, self.shared.model.graph(), batch, given, self.pool.threads(), times))
    }

    /// What a run of a batch `[N, C, H, W]` does, step by step, and where its values lie.
    ///
    /// ```
    /// use posterize::runtime::{Options, compile};
    /// use posterize::ops::{Activation, Conv2d};
    /// use posterize::nn::Sequential;
    /// use posterize::Architecture;
    ///
    /// let net = Sequential::new().then(Conv2d::new(3, 8, 3)).then(Activation::ReLU);
    /// let mut engine = compile(&Architecture::trace(&net)?.init(0), Options::new(1)?)?;
    /// let plan = engine.plan_summary([1, 3, 8, 8])?;
    /// assert_eq!(plan.steps[1].layers, ["1"]);
    /// assert_eq!(plan.steps[1].bytes, 4 * 8 * 6 * 6);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn plan_summary(&mut self, [batch, picture @ ..]: [usize; 4]) -> Result<PlanSummary> {
        let plan = self.plan(picture, Granularity::Blocks)?;
        plan.check_batch(batch)?;
        Ok(PlanSummary::new(&plan, self.shared.model.graph(), batch, self.pool.threads()))
    }

    fn run_watched(&mut self, images: Input<'_>, watch: Watch<'_>) -> Result<Tensor> {
        let ([batch, picture @ ..], given) = images.parts()?;
        let granularity = match watch {
            Watch::Outputs(_) => Granularity::Layers,
            Watch::Unwatched | Watch::Times(_) => Granularity::Blocks,
        };
        let plan = self.plan(picture, granularity)?;
        let values = self.workspace.run(&plan, &self.pool, batch, given, watch)?.to_vec();
        let shape = plan.output_shape(batch);
        match *shape {
            [n, c, h, w] => Tensor::channels_last([n, c, h, w], values),
            _ => Tensor::new(shape, values),
        }
    }
}

impl FloatModel {
    /// The output for a batch `[N, C, H, W]`, on all processors. To run more than one batch,
    /// [`compile`] it, which packs the weights once.
    ///
    /// # Errors
    /// A layer that such an input does not fit, by its name.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        compile(self, Options::all_threads()?)?.run(images)
    }
}

impl QuantizedModel {
    /// The output for a batch `[N, C, H, W]`, on all processors. To run more than one batch,
    /// [`compile`] it, which packs the weights once.
    ///
    /// # Errors
    /// A layer that such an input does not fit, by its name.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        compile(self, Options::all_threads()?)?.run(images)
    }
}
