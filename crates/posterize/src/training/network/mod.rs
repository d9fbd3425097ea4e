//! Reverse mode over the graph: forward in training mode, and the gradients of all parameters.
//!
//! The graph is cut into layers of a core (a convolution, an addition, a pooling) and an epilogue
//! over its every element (bias, batch norm, activation, fake quantization). Only what the core gives
//! is stored. Where convolutions alone read a layer's output, they compute its epilogue themselves,
//! block by block in the cache, forward and backward; no gradient behind a batch norm is stored
//! either. Everything lies in one arena, planned by when it is needed.

mod backward;
mod dropout;
mod forward;
mod grid;
mod integers;
mod layers;
mod mode;
mod norm;
mod plan;
mod state;
mod units;

use std::sync::Arc;

use posterize_kernels::Pool;
use posterize_kernels::f32::training as kernels;

pub use self::state::{NetworkState, NetworkValues};

use self::layers::{Core, Function, Program};
use self::mode::Mode;
use self::plan::{Output, Place, Plan};
use self::units::Units;
use super::{Criterion, TrainedMut};
use crate::error::{Error, Result};
use crate::graph::{Graph, ParameterKey};
use crate::model::FloatModel;
use crate::ops::Role;
use crate::ops::kernel::{FloatContext, Kernel, Packs};
use crate::quantization::{Blocks, QatModel};
use crate::runtime::Options;
use crate::runtime::aligned::Aligned;
use crate::tensor::Tensor;

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// The mean loss of the batch.
    pub loss: f32,
    /// Pictures whose label has the highest logit.
    pub correct: usize,
}

/// A network in training: its parameters, their gradients, and the memory of a step.
///
/// A step is a [`forward_backward`](Self::forward_backward), which fills the gradients, and what an
/// optimiser makes of [`trained`](Self::trained). Batch norms normalize by the batch and move their
/// running estimates, as PyTorch's do in training mode. The same bits come out for any number of
/// threads.
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
    /// The model that training began with; its graph is what counts.
    model: FloatModel,
    qat: Option<QatModel>,
    fused: Graph,
    net: Program,
    bn_stats_frozen: bool,
    seed: u64,
    step: u64,
    isa: posterize_kernels::Isa,
    pool: Pool,
    /// What each layer computed in the last pass.
    states: Vec<State>,
    /// The sums of each layer's gradient.
    sums: Vec<kernels::ChannelSums>,
    plan: Option<Plan>,
    /// In what each layer computed in the last pass.
    units: Vec<Units>,
    /// The convolutions of the plan.
    convs: Vec<Option<kernels::Conv2d>>,
    /// The kernels of its functions; none where the output is the input as it lies in memory.
    functions: Vec<Option<Box<dyn Kernel<f32>>>>,
    arena: Aligned<f32>,
    scratch: Aligned<f32>,
}

/// What a layer computed in the last forward pass, and needs to go back.
#[derive(Debug, Default)]
struct State {
    /// The epilogue as one map of each channel.
    scale: Vec<f32>,
    shift: Vec<f32>,
    /// In place of the epilogue's own bounds, where it rounds to integers.
    clamp: Option<posterize_kernels::f32::Clamp>,
    fake_quant: Option<kernels::FakeQuant>,
    stats: kernels::ChannelStats,
    channels: Vec<norm::Channel>,
    /// What the weights of each output channel were scaled by before they were rounded.
    factor: Vec<f32>,
    /// The weights as they were rounded.
    weight: Vec<f32>,
    /// Of the gradient.
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Network {
    /// A float network. The model should not be fused: its batch norms are trained.
    ///
    /// # Errors
    /// A parameter is missing; a layer cannot be trained; the network has several inputs or outputs.
    pub fn float(model: &FloatModel, options: Options) -> Result<Self> {
        let blocks = Blocks::of(model)?;
        let net = Program::new(model, &blocks, None)?;
        Ok(Self::new(model.clone(), None, blocks.fused, net, options))
    }

    /// A network whose weights and activations are rounded as `model` says.
    ///
    /// # Errors
    /// A parameter is missing; a layer cannot be trained; the network has several inputs or outputs.
    pub fn qat(model: QatModel, options: Options) -> Result<Self> {
        let net = Program::new(model.model(), model.blocks(), Some(&model))?;
        let fused = model.blocks().fused.clone();
        Ok(Self::new(model.model().clone(), Some(model), fused, net, options))
    }

    fn new(
        model: FloatModel,
        qat: Option<QatModel>,
        fused: Graph,
        net: Program,
        options: Options,
    ) -> Self {
        let layers = net.layers.len();
        Self {
            bn_stats_frozen: qat.as_ref().is_some_and(QatModel::bn_stats_frozen),
            model,
            qat,
            fused,
            net,
            seed: 0,
            step: 0,
            isa: options.isa.kernels(),
            pool: Pool::new(options.threads),
            states: (0..layers).map(|_| State::default()).collect(),
            sums: vec![kernels::ChannelSums::default(); layers],
            plan: None,
            units: Vec::new(),
            convs: Vec::new(),
            functions: Vec::new(),
            arena: Aligned::default(),
            scratch: Aligned::default(),
        }
    }

    /// Runs a batch `[N, C, H, W]` forward in training mode and fills the gradients of all
    /// parameters. Observers and running estimates see the batch, as far as they are switched on.
    ///
    /// # Errors
    /// The pictures or labels do not fit the network. A loss that is not finite: the error names the
    /// first layer whose output is not; gradients are then of no use.
    pub fn forward_backward(
        &mut self,
        images: &Tensor,
        labels: &[usize],
        loss: &dyn Criterion,
    ) -> Result<StepResult> {
        let images = &*images.channels_last_or_copy();
        self.lay_out(images)?;
        if let Err(error) = self.forward(images.data(), Mode::Train) {
            // What stopped it may come from a layer before.
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

    /// The output for a batch `[N, C, H, W]` in eval mode: batch norms by their running estimates,
    /// no dropout, and in quantization-aware training values rounded with the scales so far, biases
    /// as well: what the [converted](QatModel::convert) model will say. Where training cuts values off
    /// at a range of 7 bits (`reduce_range`), this keeps those of all 8, as int8 does. Nothing is
    /// observed.
    ///
    /// # Errors
    /// The pictures do not fit the network.
    pub fn evaluate_forward(&mut self, images: &Tensor) -> Result<Tensor> {
        let images = &*images.channels_last_or_copy();
        self.lay_out(images)?;
        self.forward(images.data(), Mode::Evaluate)?;
        self.output(images)
    }

    /// Plans the memory for batches of that shape.
    fn lay_out(&mut self, images: &Tensor) -> Result<()> {
        let shape = images.shape4()?;
        if self.plan.as_ref().is_some_and(|plan| plan.pictures == shape) {
            return Ok(());
        }
        let plan = Plan::new(&self.net, &self.fused, shape)?;
        let (mut convs, mut functions, mut scratch) = (Vec::new(), Vec::new(), 0);
        for (index, layer) in self.net.layers.iter().enumerate() {
            let threads = self.pool.threads();
            let (mut conv, mut function) = (None, None);
            match &layer.core {
                Core::Product(product) => {
                    let input = plan.shapes[layer.inputs[0]];
                    let found = kernels::Conv2d::new(self.isa, product.conv.geometry(input.size));
                    scratch = scratch.max(found.scratch_len(threads, input.batch, input.size));
                    conv = Some(found);
                }
                Core::Function(Function { op, .. }) => {
                    let packs = Packs::default();
                    let cx = FloatContext { isa: self.isa, parameter: &|_| None, packs: &packs };
                    let shapes = &plan.shapes_of_one[index];
                    function = op
                        .compute()
                        .float(&cx, shapes)
                        .map_err(|problem| Error::layer(&layer.name, problem))?;
                    if let Some(found) = &function {
                        let batch = plan.shapes[index].batch;
                        scratch = scratch.max(found.scratch_len(threads, batch));
                    }
                }
                Core::Input | Core::Identity | Core::Dropout(_) => {}
            }
            convs.push(conv);
            functions.push(function);
        }
        (self.convs, self.functions) = (convs, functions);
        self.arena.reserve(plan.total);
        self.scratch.reserve(scratch);
        self.plan = Some(plan);
        Ok(())
    }

    /// What the forward pass gave.
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

    /// Everything that is trained, in PyTorch's order.
    pub fn trained(&mut self) -> impl Iterator<Item = TrainedMut<'_>> {
        self.net.parameters.iter_mut().map(|parameter| TrainedMut {
            name: &parameter.name,
            group: parameter.group,
            value: &mut parameter.value,
            gradient: &mut parameter.gradient,
        })
    }

    /// Batch norms normalize by their running estimates from now on, which stay as they are.
    pub fn freeze_bn_stats(&mut self) {
        self.set_bn_stats_frozen(true);
    }

    /// Batch norms normalize by the batch from now on, and their running estimates follow.
    pub fn update_bn_stats(&mut self) {
        self.set_bn_stats_frozen(false);
    }

    /// Whether batch norms normalize by their running estimates in training.
    pub fn bn_stats_frozen(&self) -> bool {
        self.bn_stats_frozen
    }

    fn set_bn_stats_frozen(&mut self, frozen: bool) {
        self.bn_stats_frozen = frozen;
        if let Some(qat) = &mut self.qat {
            if frozen { qat.freeze_bn_stats() } else { qat.update_bn_stats() }
        }
    }

    /// As [`QatModel::enable_observer`]; nothing in a float network.
    pub fn enable_observer(&mut self) {
        self.qat.iter_mut().for_each(QatModel::enable_observer);
    }

    /// As [`QatModel::disable_observer`]; nothing in a float network.
    pub fn disable_observer(&mut self) {
        self.qat.iter_mut().for_each(QatModel::disable_observer);
    }

    /// As [`QatModel::enable_fake_quant`]; nothing in a float network.
    pub fn enable_fake_quant(&mut self) {
        self.qat.iter_mut().for_each(QatModel::enable_fake_quant);
    }

    /// As [`QatModel::disable_fake_quant`]; nothing in a float network.
    pub fn disable_fake_quant(&mut self) {
        self.qat.iter_mut().for_each(QatModel::disable_fake_quant);
    }

    /// The seed of dropout.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// The step of dropout, which counts up with every [`forward_backward`](Self::forward_backward).
    pub fn set_step(&mut self, step: u64) {
        self.step = step;
    }

    /// Bytes of all values and gradients of a step together, scratch memory included; 0 before the
    /// first.
    pub fn activation_bytes(&self) -> usize {
        4 * (self.arena.len() + self.scratch.len())
    }

    /// The float model with the parameters and running estimates so far.
    ///
    /// # Errors
    /// None that training can cause.
    pub fn float_model(&self) -> Result<FloatModel> {
        let parameters = self
            .tensors()
            .map(|Named { key, shape, values, .. }| {
                Ok((key, Arc::new(Tensor::new(shape, values.to_vec())?)))
            })
            .collect::<Result<_>>()?;
        FloatModel::new(self.model.graph().clone(), parameters)
    }

    /// The quantization-aware model as it is now, to look at or to
    /// [convert](QatModel::convert); none of a float network.
    ///
    /// # Errors
    /// None that training can cause.
    pub fn qat_model(&self) -> Result<Option<QatModel>> {
        match &self.qat {
            Some(qat) => Ok(Some(qat.with_model(self.float_model()?))),
            None => Ok(None),
        }
    }

    /// Parameters, then running estimates.
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
    /// In a state dict.
    name: &'a str,
    shape: Vec<usize>,
    values: &'a [f32],
}

/// An output that is not finite.
fn not_finite(layer: &str) -> Error {
    Error::layer(
        layer,
        "its output holds NaN or infinite values: lower the learning rate, or look at the weights \
         and pictures it was given",
    )
}
