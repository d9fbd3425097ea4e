//! The forward and backward pass of a network in training mode.
//!
//! The graph is divided into layers of a core (a convolution, an addition, a pooling) and an
//! element-wise epilogue (bias, batch norm, activation, fake quantization). Only the output of the
//! core is stored. If only convolutions read the output of a layer, they compute its epilogue
//! themselves, block by block in the cache, in the forward and in the backward pass; the gradients of
//! such epilogues are not stored either. All values are in one arena, in which values with disjoint
//! lifetimes share memory.

mod backward;
mod before;
mod dropout;
mod forward;
mod freeze;
mod grid;
mod integers;
mod layers;
mod mode;
mod norm;
mod plan;
mod reestimate;
mod state;
mod units;

use std::sync::Arc;

use posterize_kernels::Pool;
use posterize_kernels::f32::training as kernels;

pub use self::state::{NetworkState, NetworkValues};

use self::before::Before;
use self::layers::{Core, Function, Program};
use self::mode::Mode;
use self::plan::{Output, Place, Plan};
use self::units::Units;
use super::{Criterion, TrainedMut};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, ParameterKey};
use crate::model::FloatModel;
use crate::ops::Role;
use crate::ops::kernel::{FloatContext, Kernel, Packs};
use crate::quantization::{Blocks, QatModel};
use crate::runtime::Options;
use crate::runtime::aligned::Aligned;
use crate::runtime::limits::{self, Limits, Memory};
use crate::tensor::Tensor;

/// The loss of a training step and its number of correctly classified pictures.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::{Flatten, Linear};
/// use posterize::runtime::Options;
/// use posterize::training::{CrossEntropy, Network};
/// use posterize::{Architecture, Tensor};
///
/// let net = Sequential::new().then(Flatten).then(Linear::new(4, 2));
/// let mut network = Network::float(&Architecture::trace(&net)?.init(0), Options::new(1)?)?;
/// let images = Tensor::zeros([3, 1, 2, 2]);
/// let step = network.forward_backward(&images, &[0, 1, 1], &CrossEntropy::default())?;
/// // All logits are 0.
/// assert!((step.loss - 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// The mean loss of the batch.
    pub loss: f32,
    /// Number of pictures whose label has the largest logit.
    pub correct: usize,
}

/// A network in training mode: its parameters, their gradients, and the memory of a step.
///
/// In a step [`forward_backward`](Self::forward_backward) computes the gradients, and an optimizer
/// updates the parameters that [`trained`](Self::trained) returns. Batch norms normalize with the
/// statistics of the batch and update their running estimates, as in PyTorch's training mode. The
/// results are bit-identical for any number of threads.
///
/// ```
/// use posterize::runtime::Options;
/// use posterize::ops::{Activation, BatchNorm, Conv2d, Linear, Padding};
/// use posterize::nn::{Flatten, Sequential};
/// use posterize::training::{CrossEntropy, Network};
/// use posterize::{Architecture, Tensor};
///
/// let net = Sequential::new()
///     .then(Conv2d::new(3, 4, 3).padding(Padding::all(1)).bias(false))
///     .then(BatchNorm::two_d(4))
///     .then(Activation::ReLU)
///     .then(Flatten)
///     .then(Linear::new(4 * 8 * 8, 2));
/// let model = Architecture::trace(&net)?.init(0);
/// let mut network = Network::float(&model, Options::new(1)?)?;
/// let values = (0..2 * 3 * 64).map(|i| (i % 7) as f32 - 3.0).collect();
/// let images = Tensor::new([2, 3, 8, 8], values)?;
/// let before = network.forward_backward(&images, &[0, 1], &CrossEntropy::default())?;
/// for tensor in network.trained() {
///     for (value, gradient) in tensor.value.iter_mut().zip(&*tensor.gradient) {
///         *value -= 0.05 * gradient;
///     }
/// }
/// let after = network.forward_backward(&images, &[0, 1], &CrossEntropy::default())?;
/// assert!(after.loss < before.loss);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct Network {
    /// The model before training. Only its graph is used.
    model: FloatModel,
    qat: Option<QatModel>,
    fused: Graph,
    net: Program,
    bn_stats_frozen: bool,
    seed: u64,
    step: u64,
    isa: posterize_kernels::Isa,
    limits: Limits,
    pool: Pool,
    /// The state of each layer after the last forward pass.
    states: Vec<State>,
    /// The sums of each layer's gradient.
    sums: Vec<kernels::ChannelSums>,
    plan: Option<Plan>,
    /// Whether each layer computed real values or integers in the last forward pass.
    units: Vec<Units>,
    /// The convolution of each layer that has one.
    convs: Vec<Option<kernels::Conv2d>>,
    /// The kernel of each layer with a function; `None` if its output is the memory of its input.
    functions: Vec<Option<Box<dyn Kernel<f32>>>>,
    arena: Aligned<f32>,
    scratch: Aligned<f32>,
    /// What the last step changed.
    before: Before,
}

/// The values of a layer's forward pass that the backward pass needs.
#[derive(Debug, Default)]
struct State {
    /// Bias and batch norm as an affine map of each channel.
    scale: Vec<f32>,
    shift: Vec<f32>,
    /// Replaces the bounds of the epilogue if it rounds to integers.
    clamp: Option<posterize_kernels::f32::Clamp>,
    fake_quant: Option<kernels::FakeQuant>,
    stats: kernels::ChannelStats,
    channels: Vec<norm::Channel>,
    /// The factor that the weights of each output channel were multiplied by before fake
    /// quantization.
    factor: Vec<f32>,
    /// The weights after fake quantization.
    weight: Vec<f32>,
    /// The gradient of each channel of the core's output `y` is `a · g + b · y + c`, where `g` is the
    /// gradient of the batch norm's output.
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Network {
    /// Creates a network for float training.
    ///
    /// The model should not be [fused](FloatModel::fuse), since batch norms that are folded into
    /// weights are not trained.
    ///
    /// # Errors
    /// Returns an error if a parameter is missing, if a layer cannot be trained, or if the network has
    /// several inputs or outputs.
    pub fn float(model: &FloatModel, options: Options) -> Result<Self> {
        let blocks = Blocks::of(model)?;
        let net = Program::new(model, &blocks, None)?;
        Self::new(model.clone(), None, blocks.fused, net, options)
    }

    /// Creates a network for quantization-aware training.
    ///
    /// # Errors
    /// Returns an error if a parameter is missing, if a layer cannot be trained, or if the network has
    /// several inputs or outputs.
    pub fn qat(model: QatModel, options: Options) -> Result<Self> {
        let net = Program::new(model.model(), model.blocks(), Some(&model))?;
        let fused = model.blocks().fused.clone();
        Self::new(model.model().clone(), Some(model), fused, net, options)
    }

    fn new(
        model: FloatModel,
        qat: Option<QatModel>,
        fused: Graph,
        net: Program,
        options: Options,
    ) -> Result<Self> {
        let layers = net.layers.len();
        Ok(Self {
            bn_stats_frozen: qat.as_ref().is_some_and(QatModel::bn_stats_frozen),
            model,
            qat,
            fused,
            net,
            seed: 0,
            step: 0,
            isa: options.isa.kernels(),
            limits: options.limits(),
            pool: options.pool()?,
            states: (0..layers).map(|_| State::default()).collect(),
            sums: vec![kernels::ChannelSums::default(); layers],
            plan: None,
            units: Vec::new(),
            convs: Vec::new(),
            functions: Vec::new(),
            arena: Aligned::default(),
            scratch: Aligned::default(),
            before: Before::default(),
        })
    }

    /// Runs the forward and the backward pass of a batch `[N, C, H, W]` in training mode, which
    /// computes the gradients of all parameters.
    ///
    /// Observers that are enabled observe the batch, and running estimates that are not frozen are
    /// updated.
    ///
    /// # Errors
    /// Returns an error if the pictures or labels do not fit the network, or if the loss is not
    /// finite; it names the first layer whose output is not. After an error the gradients are invalid,
    /// and everything else is as before.
    pub fn forward_backward(
        &mut self,
        images: &Tensor,
        labels: &[usize],
        loss: &dyn Criterion,
    ) -> Result<StepResult> {
        self.before.save(self.step, &self.net, self.qat.as_ref());
        let found = self.try_forward_backward(images, labels, loss);
        if found.is_err() {
            self.undo_step();
        }
        found
    }

    /// Undoes what the last forward and backward pass did to running estimates, observers and the
    /// number of steps.
    pub(super) fn undo_step(&mut self) {
        self.step = self.before.restore(&mut self.net, self.qat.as_mut());
    }

    fn try_forward_backward(
        &mut self,
        images: &Tensor,
        labels: &[usize],
        loss: &dyn Criterion,
    ) -> Result<StepResult> {
        let images = &*images.channels_last_or_copy();
        self.lay_out(images)?;
        if let Err(error) = self.forward(images.data(), Mode::Train) {
            // NaN and infinities may come from an earlier layer, which this pass finds.
            return Err(self.forward(images.data(), Mode::Diagnose).err().unwrap_or(error));
        }
        let logits = self.output(images)?;
        let mut gradient = vec![0.0; logits.data().len()];
        let found = loss.forward_backward(&logits, labels, &mut gradient)?;
        if !found.value.is_finite() {
            return Err(self.diagnose(images.data()));
        }
        self.backward(images.data(), &gradient);
        self.step += 1;
        Ok(StepResult { loss: found.value, correct: found.correct })
    }

    /// Returns the output of a batch `[N, C, H, W]` in eval mode.
    ///
    /// Batch norms use their running estimates, there is no dropout, and observers do not observe. In
    /// quantization-aware training it computes what the [converted](QatModel::convert) model will:
    /// biases are quantized too, and activations have all 8 bits even if training clamps them to 7
    /// (`reduce_range`).
    ///
    /// # Errors
    /// Returns an error if the pictures do not fit the network.
    pub fn evaluate_forward(&mut self, images: &Tensor) -> Result<Tensor> {
        let images = &*images.channels_last_or_copy();
        self.lay_out(images)?;
        self.forward(images.data(), Mode::Evaluate)?;
        self.output(images)
    }

    /// Plans the memory of a step for batches of the shape of `images`.
    fn lay_out(&mut self, images: &Tensor) -> Result<()> {
        let shape = images.shape4()?;
        if self.plan.as_ref().is_some_and(|plan| plan.pictures == shape) {
            return Ok(());
        }
        let inferred = self.fused.infer(&shape)?;
        self.limits.check_work(shape[0], &self.fused, &inferred)?;
        let plan = Plan::new(&self.net, &inferred, shape);
        let check = |scratch: usize, scratch_of: Option<NodeId>| {
            // A histogram observes a copy of a layer's values.
            let largest = plan.shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
            let floats = |floats| limits::bytes([[floats, size_of::<f32>(), 1]]);
            let values = floats(plan.total.saturating_add(largest));
            let threads = self.pool.threads();
            let (batch, scratch) = (shape[0], floats(scratch));
            let memory = Memory { batch, threads, values, scratch, scratch_of };
            self.limits.check_memory(memory, &self.fused, &inferred)
        };
        // The scratch memory is asked for only where the sizes of the values are known to be sane.
        check(0, None)?;
        let (mut convs, mut functions, mut scratch) = (Vec::new(), Vec::new(), 0);
        let mut scratch_of = None;
        for (index, layer) in self.net.layers.iter().enumerate() {
            let threads = self.pool.threads();
            let (mut conv, mut function, mut needed) = (None, None, 0);
            match &layer.core {
                Core::Product(product) => {
                    let input = plan.shapes[layer.inputs[0]];
                    let found = kernels::Conv2d::new(self.isa, product.conv.geometry(input.size));
                    needed = found.scratch_len(threads, input.batch, input.size);
                    conv = Some(found);
                }
                Core::Function(Function { op, .. }) => {
                    let packs = Packs::default();
                    let cx = FloatContext {
                        isa: self.isa,
                        parameter: &|_| None,
                        int8_weight: None,
                        packs: &packs,
                    };
                    let shapes = &plan.shapes_of_one[index];
                    function = op
                        .compute()
                        .float(&cx, shapes)
                        .map_err(|problem| Error::layer(&layer.name, problem))?;
                    if let Some(found) = &function {
                        let batch = plan.shapes[index].batch;
                        needed = found.scratch_len(threads, batch);
                    }
                }
                Core::Input | Core::Identity | Core::Dropout(_) => {}
            }
            if needed > scratch {
                (scratch, scratch_of) = (needed, Some(layer.node));
            }
            convs.push(conv);
            functions.push(function);
        }
        check(scratch, scratch_of)?;
        // Without memory there is no plan either.
        self.plan = None;
        self.arena.reserve(plan.total)?;
        self.scratch.reserve(scratch)?;
        (self.convs, self.functions) = (convs, functions);
        self.plan = Some(plan);
        Ok(())
    }

    /// Returns the output of the last forward pass.
    fn output(&self, images: &Tensor) -> Result<Tensor> {
        let plan = self.plan.as_ref().expect("a pass ran");
        let values = match &plan.output[self.net.output] {
            Output::Stored(Place::At(range)) => self.arena[range.clone()].to_vec(),
            _ => images.data().to_vec(),
        };
        match *plan.output_shape.as_slice() {
            [n, c, h, w] => Tensor::channels_last([n, c, h, w], values),
            _ => Tensor::new(plan.output_shape.clone(), values),
        }
    }

    /// Returns all parameters that are trained and their gradients, in PyTorch's order.
    pub fn trained(&mut self) -> impl Iterator<Item = TrainedMut<'_>> {
        let trained = self.net.parameters.iter_mut().filter(|parameter| !parameter.frozen);
        trained.map(|parameter| TrainedMut {
            name: &parameter.name,
            group: parameter.group,
            lr_factor: parameter.lr_factor,
            value: &mut parameter.value,
            gradient: &mut parameter.gradient,
        })
    }

    /// Makes all batch norms normalize with their running estimates in training, without updating
    /// them.
    pub fn freeze_bn_stats(&mut self) {
        self.set_bn_stats_frozen(true);
    }

    /// Makes batch norms normalize with the statistics of the batch in training, and update their
    /// running estimates, except for those of [frozen](Self::freeze) modules.
    pub fn update_bn_stats(&mut self) {
        self.set_bn_stats_frozen(false);
    }

    /// Returns whether all batch norms normalize with their running estimates in training.
    pub fn bn_stats_frozen(&self) -> bool {
        self.bn_stats_frozen
    }

    fn set_bn_stats_frozen(&mut self, frozen: bool) {
        self.bn_stats_frozen = frozen;
        if let Some(qat) = &mut self.qat {
            if frozen { qat.freeze_bn_stats() } else { qat.update_bn_stats() }
        }
    }

    /// Enables all observers, as [`QatModel::enable_observer`]. A float network has none.
    pub fn enable_observer(&mut self) {
        self.qat.iter_mut().for_each(QatModel::enable_observer);
    }

    /// Disables all observers, as [`QatModel::disable_observer`]. A float network has none.
    pub fn disable_observer(&mut self) {
        self.qat.iter_mut().for_each(QatModel::disable_observer);
    }

    /// Enables all fake quantization, as [`QatModel::enable_fake_quant`]. A float network has none.
    pub fn enable_fake_quant(&mut self) {
        self.qat.iter_mut().for_each(QatModel::enable_fake_quant);
    }

    /// Disables all fake quantization, as [`QatModel::disable_fake_quant`]. A float network has none.
    pub fn disable_fake_quant(&mut self) {
        self.qat.iter_mut().for_each(QatModel::disable_fake_quant);
    }

    /// Sets the seed of dropout.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Sets the step of dropout, which [`forward_backward`](Self::forward_backward) increases by 1.
    pub fn set_step(&mut self, step: u64) {
        self.step = step;
    }

    /// Returns the memory of all values and gradients of a step, with scratch memory, in bytes; 0
    /// before the first step.
    pub fn activation_bytes(&self) -> usize {
        4 * (self.arena.len() + self.scratch.len())
    }

    /// Returns the float model with the current parameters and running estimates.
    ///
    /// # Errors
    /// Returns the error of [`FloatModel::new`], which does not occur for the tensors of a network.
    pub fn float_model(&self) -> Result<FloatModel> {
        let parameters = self
            .tensors()
            .map(|Named { key, shape, values, .. }| {
                Ok((key, Arc::new(Tensor::new(shape, values.to_vec())?)))
            })
            .collect::<Result<_>>()?;
        FloatModel::new(self.model.graph().clone(), parameters)
    }

    /// Returns the quantization-aware model with the current parameters, for
    /// [conversion](QatModel::convert); `None` for a float network.
    ///
    /// # Errors
    /// Returns the error of [`Self::float_model`].
    pub fn qat_model(&self) -> Result<Option<QatModel>> {
        match &self.qat {
            Some(qat) => Ok(Some(qat.with_model(self.float_model()?))),
            None => Ok(None),
        }
    }

    /// Returns all parameters, followed by the running estimates.
    fn tensors(&self) -> impl Iterator<Item = Named<'_>> {
        let parameters = self.net.parameters.iter().map(|found| Named {
            key: found.key,
            name: &found.name,
            shape: found.shape.clone(),
            values: &found.value,
        });
        let running = self.net.running.iter().flat_map(|running| {
            [(Role::RunningMean, &running.mean), (Role::RunningVar, &running.var)].map(
                |(role, estimate)| Named {
                    key: (running.node, role),
                    name: &estimate.name,
                    shape: vec![estimate.value.len()],
                    values: &estimate.value,
                },
            )
        });
        parameters.chain(running)
    }
}

/// A parameter or a running estimate.
struct Named<'a> {
    key: ParameterKey,
    /// The name in a state dict.
    name: &'a str,
    shape: Vec<usize>,
    values: &'a [f32],
}

/// Returns the error of a layer whose output is not finite.
fn not_finite(layer: &str) -> Error {
    Error::layer(
        layer,
        "its output holds NaN or infinite values; lower the learning rate, or check the weights and \
         the preprocessing of the pictures",
    )
}
