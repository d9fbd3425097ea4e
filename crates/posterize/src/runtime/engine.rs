//! Engines: plans with the threads and the memory to run them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posterize_kernels::Pool;

use super::input::{Given, Input, Values};
use super::model::{Model, Replacement};
use super::not_finite::check_inputs;
use super::options::Options;
use super::plan::{Granularity, PackedModel, Plan};
use super::profile::{self, Profile};
use super::summary::PlanSummary;
use super::workspace::{Observe, Show, Watch, Workspace, room};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::model::FloatModel;
use crate::ops::kernel::{Packs, Shapes};
use crate::quantization::QuantizedModel;
use crate::tensor::Tensor;
use crate::trace;

/// Packs a model's weights for the kernels of this machine, which gives an engine that runs it: a
/// [`FloatModel`], a [`QuantizedModel`], or a reference to one.
///
/// Where [`Options::picture`] gives the size of the pictures it happens at once, else when the first
/// batch arrives. Layers that have int8 weights run in int8, the rest in f32. Weights are packed once
/// for all sizes of pictures.
///
/// ```
/// use posterize::ops::Conv2d;
/// use posterize::runtime::{Options, compile};
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let mut engine = compile(&model, Options::new(1)?)?;
/// assert_eq!(engine.run(&Tensor::zeros([2, 3, 8, 8]))?.shape(), [2, 8, 6, 6]);
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// Options outside their ranges; a layer that pictures of such a size do not fit, by its name; more
/// memory or work than [`Options::max_memory`] and [`Options::max_work`] allow.
pub fn compile(model: impl Into<Model>, options: Options) -> Result<Engine> {
    options.validate()?;
    let packed = PackedModel::new(model.into(), options.isa.kernels(), options.normalize);
    let shared = Shared { packed, plans: Mutex::default() };
    let mut engine = Engine::new(Arc::new(shared), options, options.pool()?);
    if let Some([c, h, w]) = options.picture {
        let plan = engine.plan(Granularity::Blocks, &[Given::sized(&[1, c, h, w])?])?;
        plan.check_batch(options.batch)?;
        let (graph, threads) = (engine.shared.packed.model.graph(), engine.pool.threads());
        engine.workspace.reserve(&plan, graph, options.batch, threads)?;
    }
    Ok(engine)
}

/// How many plans an engine keeps: sizes of input times [`Granularity`].
const MAX_PLANS: usize = 16;

/// Runs a compiled model; made by [`compile`].
///
/// An engine belongs to one thread at a time. [`Clone`] makes another for another thread: all read
/// the same packed weights and share one pool of threads, and each has memory of its own. A run that
/// finds the pool at work for another engine stays on its caller's thread. Every engine of a model
/// gives the same bits, whatever the number of its threads.
///
/// ```
/// use posterize::ops::Conv2d;
/// use posterize::runtime::{Options, compile};
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let engine = compile(&model, Options::new(1)?.picture([3, 8, 8]))?;
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
    pool: Arc<Pool>,
    /// The plan of the last run.
    plan: Option<Arc<Plan>>,
    workspace: Workspace,
}

/// What all engines of a model read.
#[derive(Debug)]
struct Shared {
    packed: PackedModel,
    /// The plans used last, the latest at the end.
    plans: Mutex<Vec<Arc<Plan>>>,
}

impl Clone for Engine {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            options: self.options,
            pool: Arc::clone(&self.pool),
            plan: self.plan.clone(),
            workspace: Workspace::default(),
        }
    }
}

impl Engine {
    fn new(shared: Arc<Shared>, options: Options, pool: Pool) -> Self {
        Self { shared, options, pool: Arc::new(pool), plan: None, workspace: Workspace::default() }
    }

    /// The threads that share its work.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// A clone with a pool of its own of that many threads.
    ///
    /// # Errors
    /// `threads` is 0 or more than [`Options::MAX_THREADS`], or the system does not start so many.
    pub fn with_threads(&self, threads: usize) -> Result<Self> {
        let options = Options { threads, ..self.options };
        let (shared, pool) = (Arc::clone(&self.shared), options.pool()?);
        Ok(Self { plan: self.plan.clone(), ..Self::new(shared, options, pool) })
    }

    /// What it was compiled with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What it runs.
    pub fn model(&self) -> &Model {
        &self.shared.packed.model
    }

    /// The plan for inputs of these shapes, the batch aside.
    fn plan(&mut self, granularity: Granularity, given: &[Given<'_>]) -> Result<Arc<Plan>> {
        let fits = |plan: &Arc<Plan>| plan.fits(granularity, given);
        if let Some(plan) = self.plan.as_ref().filter(|plan| fits(plan)) {
            return Ok(Arc::clone(plan));
        }
        check_batches(given)?;
        // Another engine waits rather than to plan the same. Nothing is half done after a panic.
        let mut plans = self.shared.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = if let Some(place) = plans.iter().position(fits) {
            plans.remove(place)
        } else {
            trace::span!(INFO, "plan", layers = self.model().graph().nodes().len());
            let shapes = given.iter().map(Given::for_one).collect();
            let limits = self.options.limits();
            let plan = Plan::new(&self.shared.packed, granularity, &self.pool, limits, shapes);
            let plan = plan.map_err(|error| {
                // A shape that does not fit is named as it was given, with its batch.
                let shapes: Vec<&[usize]> = given.iter().map(|given| &*given.shape).collect();
                let graph = self.shared.packed.model.graph();
                of_pixels(graph, given, graph.infer_all(&shapes).err().unwrap_or(error))
            })?;
            if plans.len() == MAX_PLANS {
                plans.remove(0);
            }
            Arc::new(plan)
        };
        plans.push(Arc::clone(&plan));
        self.plan = Some(Arc::clone(&plan));
        Ok(plan)
    }

    /// The shape of the network's first output for a batch `[N, C, H, W]` of its only input:
    /// `[N, classes]` of a classifier.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn output_shape(&mut self, input: [usize; 4]) -> Result<Vec<usize>> {
        let given = Given::sized(&input)?;
        let plan = self.plan(Granularity::Blocks, &[given])?;
        plan.check_batch(input[0])?;
        Ok(plan.shape(plan.outputs[0], input[0]))
    }

    /// The output of a network with one input and one output: logits `[N, classes]` of a classifier.
    ///
    /// The values of the output are returned as they are, also if a float network with damaged weights
    /// makes them NaN or infinite; [`Classifier`](crate::Classifier) and
    /// [`evaluate`](crate::evaluate()) refuse those.
    ///
    /// # Errors
    /// An input with NaN, by its name and the index; a layer that such an input does not fit, by its name; pixels for an engine that was compiled
    /// without their normalization; a network with several inputs or outputs; more memory or work
    /// than the [`Options`] allow.
    pub fn run<'a>(&mut self, input: impl Into<Input<'a>>) -> Result<Tensor> {
        self.run_one(input.into(), Watch::Unwatched)
    }

    /// All outputs of a network, in the order of its graph's, for all inputs in the order of its
    /// graph's.
    ///
    /// ```
    /// use posterize::graph::Builder;
    /// use posterize::ops::{Add, Linear};
    /// use posterize::runtime::{Options, compile};
    /// use posterize::{Architecture, Tensor};
    ///
    /// let mut builder = Builder::new("TwoInputs");
    /// let (a, b) = (builder.input("a"), builder.input("b"));
    /// let sum = builder.add("sum", Add::new(), &[a, b]);
    /// let head = builder.add("head", Linear::new(3, 2), &[sum]);
    /// builder.output("sum", sum);
    /// builder.output("head", head);
    /// let model = Architecture::from(builder.build()?).init(0);
    ///
    /// let x = Tensor::new([1, 3], vec![1.0, 2.0, 3.0])?;
    /// let outputs = compile(&model, Options::new(1)?)?.run_all(&[(&x).into(), (&x).into()])?;
    /// assert_eq!(outputs[0].data(), [2.0, 4.0, 6.0]);
    /// assert_eq!(outputs[1].shape(), [1, 2]);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::run`]; another number of inputs than the network has, or batches that differ.
    pub fn run_all(&mut self, inputs: &[Input<'_>]) -> Result<Vec<Tensor>> {
        self.run_watched(inputs, Watch::Unwatched)
    }

    /// The outputs by name, for inputs by name.
    ///
    /// # Errors
    /// As [`Self::run_all`]; a name that is no input's, an input that is missing or given twice.
    pub fn run_named(&mut self, inputs: &[(&str, Input<'_>)]) -> Result<Vec<(String, Tensor)>> {
        let graph = self.model().graph();
        let mut ordered = Vec::with_capacity(inputs.len());
        for (_, node) in graph.inputs() {
            let mut named = inputs.iter().filter(|(name, _)| *name == node.name);
            match (named.next(), named.next()) {
                (Some((_, input)), None) => ordered.push(*input),
                (None, _) => return Err(Error::shape(&node.name, "this input is not given")),
                (Some(_), Some(_)) => {
                    return Err(Error::shape(&node.name, "this input is given twice"));
                }
            }
        }
        let known = |name: &str| graph.inputs().any(|(_, node)| node.name == name);
        if let Some((name, _)) = inputs.iter().find(|(name, _)| !known(name)) {
            let names: Vec<&str> = graph.inputs().map(|(_, node)| node.name.as_str()).collect();
            return Err(Error::shape(
                *name,
                format!("the network has no such input; it has {}", names.join(", ")),
            ));
        }
        let names: Vec<String> = graph.outputs().iter().map(|found| found.name.clone()).collect();
        Ok(names.into_iter().zip(self.run_all(&ordered)?).collect())
    }

    /// As [`Self::run`], with the output in the caller's memory, in the order of
    /// [`Self::output_shape`] or, where that is `[N, C, H, W]`, channels last. Once the engine has
    /// run a batch of this size it allocates nothing.
    ///
    /// ```
    /// use posterize::nn::Sequential;
    /// use posterize::ops::{Flatten, Linear};
    /// use posterize::runtime::{Options, compile};
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
    pub fn run_into<'a>(&mut self, input: impl Into<Input<'a>>, output: &mut [f32]) -> Result<()> {
        let given = [input.into().given(self.options.normalize)?];
        let plan = self.plan(Granularity::Blocks, &given)?;
        self.check_one_output()?;
        let batch = given[0].shape.batch();
        plan.check_batch(batch)?;
        if output.len() != batch * plan.len(plan.outputs[0]) {
            return Err(Error::shape(
                "output",
                format!(
                    "{:?} does not fit {} values",
                    plan.shape(plan.outputs[0], batch),
                    output.len()
                ),
            ));
        }
        let mut copy = |_: usize, values: &[f32]| {
            output.copy_from_slice(values);
            Ok(())
        };
        self.execute(&plan, &given, Watch::Unwatched, &mut copy)
    }

    /// As [`Self::run`], and shows `observe` the output of every node, the input's first; int8
    /// outputs are dequantized.
    ///
    /// # Errors
    /// As [`Self::run`], or the first error of `observe`.
    pub fn run_observed<'a>(
        &mut self,
        input: impl Into<Input<'a>>,
        observe: Observe<'_>,
    ) -> Result<Tensor> {
        let show: Show<'_> = &mut |id, shown| observe(id, &shown.dequantized()?);
        self.run_one(input.into(), Watch::Outputs(show))
    }

    /// As [`Self::run_all`], and shows `observe` the output of every node, those of the inputs first;
    /// int8 outputs are dequantized.
    ///
    /// # Errors
    /// As [`Self::run_all`], or the first error of `observe`.
    pub fn run_all_observed(
        &mut self,
        inputs: &[Input<'_>],
        observe: Observe<'_>,
    ) -> Result<Vec<Tensor>> {
        self.run_all_shown(inputs, &mut |id, shown| observe(id, &shown.dequantized()?))
    }

    /// As [`Self::run_all_observed`], but int8 outputs are shown as integers.
    ///
    /// # Errors
    /// As [`Self::run_all`], or the first error of `show`.
    pub(crate) fn run_all_shown(
        &mut self,
        inputs: &[Input<'_>],
        show: Show<'_>,
    ) -> Result<Vec<Tensor>> {
        self.run_watched(inputs, Watch::Outputs(show))
    }

    /// As [`Self::run_all_shown`], but the float outputs of nodes are clamped to their `bounds`, where
    /// they have any.
    ///
    /// # Errors
    /// As [`Self::run_all_shown`].
    pub(crate) fn run_all_clamped(
        &mut self,
        inputs: &[Input<'_>],
        bounds: &[Option<[f32; 2]>],
        show: Show<'_>,
    ) -> Result<Vec<Tensor>> {
        self.run_watched(inputs, Watch::Clamp(show, bounds))
    }

    /// As [`Self::run_all_shown`] of an int8 model. `replace` may give other weights and biases for a
    /// layer, right before it runs, when the outputs of all nodes before it have been shown.
    ///
    /// # Errors
    /// As [`Self::run_all_shown`], or the first error of `replace`.
    pub(crate) fn run_all_replaced(
        &mut self,
        inputs: &[Input<'_>],
        show: Show<'_>,
        replace: &mut dyn FnMut(NodeId) -> Result<Option<Replacement>>,
    ) -> Result<Vec<Tensor>> {
        let given = inputs.iter().map(|input| input.given(self.options.normalize));
        let given = given.collect::<Result<Vec<_>>>()?;
        check_batches(&given)?;
        let plan = self.plan(Granularity::Layers, &given)?;
        let shared = Arc::clone(&self.shared);
        let mut kernel = |id: NodeId| {
            let Some(replacement) = replace(id)? else { return Ok(None) };
            let node = shared.packed.model.graph().node(id);
            let shape = |id: &NodeId| plan.shape(*id, 1);
            let shapes =
                Shapes { inputs: node.inputs.iter().map(shape).collect(), output: shape(&id) };
            let PackedModel { model, isa, .. } = &shared.packed;
            model.kernel(*isa, id, &shapes, &Packs::default(), Some(&replacement))
        };
        self.run_watched(inputs, Watch::Replace(show, &mut kernel))
    }

    /// The median time of every step over a number of runs.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn profile<'a>(&mut self, input: impl Into<Input<'a>>, runs: usize) -> Result<Profile> {
        let input = input.into();
        let given = [input.given(self.options.normalize)?];
        // Also packs the weights and warms the caches.
        self.run_one(input, Watch::Unwatched)?;
        let plan = self.plan(Granularity::Blocks, &given)?;
        let mut times = vec![Vec::new(); plan.steps.len() + 1];
        for _ in 0..runs {
            let mut run = vec![Duration::ZERO; times.len()];
            let watch = Watch::Times(&mut run);
            self.execute(&plan, &given, watch, &mut |_, _| Ok(()))?;
            times.iter_mut().zip(run).for_each(|(all, time)| all.push(time));
        }
        Ok(profile::of(&plan, self.model().graph(), &given[0], self.pool.threads(), times))
    }

    /// What a run of a batch `[N, C, H, W]` does, step by step, and where its values lie.
    ///
    /// ```
    /// use posterize::Architecture;
    /// use posterize::nn::Sequential;
    /// use posterize::ops::{Activation, Conv2d};
    /// use posterize::runtime::{Options, compile};
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
    pub fn plan_summary(&mut self, input: [usize; 4]) -> Result<PlanSummary> {
        let plan = self.plan(Granularity::Blocks, &[Given::sized(&input)?])?;
        plan.check_batch(input[0])?;
        Ok(PlanSummary::new(&plan, self.model().graph(), input, self.pool.threads()))
    }

    /// Checks that the network has one output.
    pub(crate) fn check_one_output(&self) -> Result<()> {
        match self.model().graph().outputs().len() {
            1 => Ok(()),
            found => Err(Error::Argument(format!(
                "the network has {found} outputs: call Engine::run_all or Engine::run_named"
            ))),
        }
    }

    /// As [`Self::run_watched`] for one input and one output, without a list of either.
    fn run_one(&mut self, input: Input<'_>, watch: Watch<'_>) -> Result<Tensor> {
        self.check_one_output()?;
        let given = [input.given(self.options.normalize)?];
        let plan = self.plan(granularity_of(&watch), &given)?;
        let mut values = Vec::new();
        let mut keep = |_: usize, output: &[f32]| {
            values = room(output.len())?;
            values.extend_from_slice(output);
            Ok(())
        };
        self.execute(&plan, &given, watch, &mut keep)?;
        tensor(plan.shape(plan.outputs[0], given[0].shape.batch()), values)
    }

    fn run_watched(&mut self, inputs: &[Input<'_>], watch: Watch<'_>) -> Result<Vec<Tensor>> {
        let given = inputs.iter().map(|input| input.given(self.options.normalize));
        let given = given.collect::<Result<Vec<_>>>()?;
        check_batches(&given)?;
        let plan = self.plan(granularity_of(&watch), &given)?;
        let mut values = Vec::with_capacity(plan.outputs.len());
        let mut keep = |_: usize, output: &[f32]| {
            let mut kept = room(output.len())?;
            kept.extend_from_slice(output);
            values.push(kept);
            Ok(())
        };
        self.execute(&plan, &given, watch, &mut keep)?;
        let shapes = plan.outputs.iter().map(|&id| plan.shape(id, given[0].shape.batch()));
        shapes.zip(values).map(|(shape, values)| tensor(shape, values)).collect()
    }

    /// Runs a plan in the engine's memory.
    fn execute(
        &mut self,
        plan: &Plan,
        given: &[Given<'_>],
        watch: Watch<'_>,
        outputs: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let graph = self.shared.packed.model.graph();
        let is_float = matches!(self.shared.packed.model, Model::Float(_));
        if !(is_float && self.options.allow_nan) {
            check_inputs(graph, given)?;
        }
        self.workspace.run((plan, graph), &self.pool, given, watch, outputs)
    }
}

/// Whoever watches outputs wants those of every layer.
fn granularity_of(watch: &Watch<'_>) -> Granularity {
    match watch {
        Watch::Outputs(_) | Watch::Replace(..) | Watch::Clamp(..) => Granularity::Layers,
        Watch::Unwatched | Watch::Times(_) => Granularity::Blocks,
    }
}

/// An output's values, which lie as the runtime has them, as a tensor.
fn tensor(shape: Vec<usize>, values: Vec<f32>) -> Result<Tensor> {
    match *shape {
        [n, c, h, w] => Tensor::channels_last([n, c, h, w], values),
        _ => Tensor::new(shape, values),
    }
}

/// The error of inputs that do not fit a network, which says so where pixels do not because they are
/// normalized for another number of channels.
fn of_pixels(graph: &Graph, given: &[Given<'_>], error: Error) -> Error {
    let (Error::Shape { layer, problem }, [Given { shape, values: Values::Pixels(_) }]) =
        (&error, given)
    else {
        return error;
    };
    let &[n, channels, h, w] = &**shape else { return error };
    let (other, normalize) = if channels == 3 { (1, "Gray") } else { (3, "Rgb") };
    if graph.infer(&[n, other, h, w]).is_err() {
        return error;
    }
    let advice = format!("compile it with Normalize::{normalize} to give it pixels");
    Error::shape(layer, format!("{problem}; {advice}"))
}

/// Checks that all inputs are batches of one size.
fn check_batches(given: &[Given<'_>]) -> Result<()> {
    let Some(first) = given.first() else {
        return Err(Error::shape("input", "no input is given"));
    };
    match given.iter().find(|other| other.shape.batch() != first.shape.batch()) {
        None => Ok(()),
        Some(other) => Err(Error::shape(
            "input",
            format!("inputs {:?} and {:?} have different batches", &*first.shape, &*other.shape),
        )),
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
