//! Finds the distributions of all values of a network from those of its input and its batch norms.
//!
//! Behind a batch norm, a channel has the mean `beta` and the standard deviation `|gamma|`, whatever comes
//! before it. Everywhere else, distributions follow from those of the inputs, whose channels count as
//! independent.

use posterize_kernels::f32::Unary;

use super::distribution::{Distribution, Moments, Quantiles};
use crate::error::{Error, Result};
use crate::graph::{Node, NodeId};
use crate::model::FloatModel;
use crate::ops::{BatchNorm, Op, Role};
use crate::tensor::{MemoryFormat, Tensor};

/// Returns the distribution of each channel of every node of a network whose batch norms are not folded yet.
/// `input` is that of the channels of its input.
///
/// # Errors
/// Returns an error if there is no batch norm, or at an operator whose distribution is not known.
pub(crate) fn distributions(
    model: &FloatModel,
    input: &[Distribution],
    quantiles: &Quantiles,
) -> Result<Vec<Vec<Distribution>>> {
    let graph = model.graph();
    if !graph.nodes().iter().any(|node| matches!(node.op, Op::BatchNorm(_))) {
        return Err(Error::Argument(
            "the network has no batch norms, from whose statistics the ranges of its values would be \
             found (or they are folded into its weights already); quantize it with calibration pictures"
                .into(),
        ));
    }
    let mut known: Vec<Vec<Distribution>> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.iter() {
        let inputs: Vec<&[Distribution]> =
            node.inputs.iter().map(|input| known[input.0].as_slice()).collect();
        let found = of_node(model, (id, node), &inputs, input, quantiles)
            .map_err(|problem| Error::layer(&node.name, problem))?;
        known.push(found);
    }
    Ok(known)
}

fn of_node(
    model: &FloatModel,
    (id, node): (NodeId, &Node),
    inputs: &[&[Distribution]],
    input: &[Distribution],
    quantiles: &Quantiles,
) -> Result<Vec<Distribution>, String> {
    let first = || inputs.first().copied().unwrap_or_default();
    let map = |function: &dyn Fn(f64) -> f64| {
        Ok(first().iter().map(|&of| quantiles.map(of, function)).collect())
    };
    let unary = |unary: Unary| map(&|x| f64::from(unary.apply(x as f32)));
    let moments = |of: &[Distribution]| -> Vec<Moments> {
        of.iter().map(|&of| quantiles.moments(of, |x| x)).collect()
    };
    let found = match &node.op {
        Op::Input(_) => Ok(input.to_vec()),
        Op::BatchNorm(norm) => of_batch_norm(model, id, norm),
        Op::Conv2d(conv) => {
            let taps = conv.kernel_size.iter().product();
            product(model, id, (conv.groups, taps), &moments(first()))
        }
        Op::Linear(linear) => {
            // A picture that was flattened has its channels one after the other.
            let channels = moments(first());
            let each = linear.in_features / channels.len().max(1);
            let features = channels.iter().flat_map(|of| std::iter::repeat_n(*of, each));
            product(model, id, (1, 1), &features.collect::<Vec<_>>())
        }
        Op::Add(_) => both(inputs, |a, b| {
            let ([x, y], [min, max]) = (of(quantiles, [a, b]), [a.min + b.min, a.max + b.max]);
            let sum = Moments { mean: x.mean + y.mean, variance: x.variance + y.variance };
            Distribution::of_moments(sum, [min, max])
        }),
        Op::Sub(_) => both(inputs, |a, b| {
            let ([x, y], [min, max]) = (of(quantiles, [a, b]), [a.min - b.max, a.max - b.min]);
            let difference = Moments { mean: x.mean - y.mean, variance: x.variance + y.variance };
            Distribution::of_moments(difference, [min, max])
        }),
        Op::Mul(_) => both(inputs, |a, b| {
            let [x, y] = of(quantiles, [a, b]);
            let ends = [a.min * b.min, a.min * b.max, a.max * b.min, a.max * b.max];
            let min = ends.into_iter().fold(f64::INFINITY, f64::min);
            let max = ends.into_iter().fold(f64::NEG_INFINITY, f64::max);
            let variance =
                x.variance * y.variance + x.variance * y.mean.powi(2) + y.variance * x.mean.powi(2);
            Distribution::of_moments(Moments { mean: x.mean * y.mean, variance }, [min, max])
        }),
        Op::Sigmoid(_) => unary(Unary::Sigmoid),
        Op::SiLU(_) => unary(Unary::SiLU),
        Op::Hardswish(_) => unary(Unary::HardSwish),
        Op::Cat(cat) if cat.dim == 1 => Ok(inputs.concat()),
        Op::Cat(_) => both(inputs, |a, b| {
            let (min, max) = (a.min.min(b.min), a.max.max(b.max));
            Distribution { mean: f64::midpoint(a.mean, b.mean), std: a.std.max(b.std), min, max }
        }),
        Op::ChannelShuffle(shuffle) => {
            let (of, groups) = (first(), shuffle.groups);
            let in_group = of.len() / groups.max(1);
            Ok((0..of.len()).map(|to| of[to % groups * in_group + to / groups]).collect())
        }
        Op::Slice(slice) if slice.dim == 1 => {
            let channels = first().get(slice.start..slice.end.min(first().len()));
            Ok(channels.unwrap_or_default().iter().step_by(slice.step.max(1)).copied().collect())
        }
        // Pooling does not leave the range of its input.
        Op::Activation(_)
        | Op::AdaptiveAvgPool2d(_)
        | Op::DeQuantStub(_)
        | Op::Dropout(_)
        | Op::Flatten(_)
        | Op::MaxPool2d(_)
        | Op::Mean(_)
        | Op::QuantStub(_)
        | Op::Slice(_)
        | Op::ZeroPad2d(_) => Ok(first().to_vec()),
        _ => Err(format!(
            "the distribution of the output of a {} is not known without pictures; quantize the \
             network with calibration pictures",
            node.op.kind()
        )),
    }?;
    Ok(match node.op.activation() {
        None => found,
        Some(activation) => {
            let bounds = activation.bounds().map(f64::from);
            found.into_iter().map(|of| of.clamped(bounds)).collect()
        }
    })
}

fn of<const N: usize>(quantiles: &Quantiles, of: [Distribution; N]) -> [Moments; N] {
    of.map(|of| quantiles.moments(of, |x| x))
}

/// Returns the distributions of a function of several inputs, one after the other, each with as many channels
/// or one.
fn both(
    inputs: &[&[Distribution]],
    function: impl Fn(Distribution, Distribution) -> Distribution,
) -> Result<Vec<Distribution>, String> {
    let Some((first, others)) = inputs.split_first() else { return Ok(Vec::new()) };
    let mut found = first.to_vec();
    for other in others {
        let channels = found.len().max(other.len());
        if [found.len(), other.len()].iter().any(|&len| len != channels && len != 1) {
            return Err(format!(
                "its inputs have {} and {} channels, whose distributions cannot be combined; \
                 quantize the network with calibration pictures",
                found.len(),
                other.len()
            ));
        }
        let at = |of: &[Distribution], channel: usize| of[channel.min(of.len() - 1)];
        found = (0..channels).map(|c| function(at(&found, c), at(other, c))).collect();
    }
    Ok(found)
}

/// Returns the distributions behind a batch norm: mean `beta`, standard deviation `|gamma|`.
fn of_batch_norm(
    model: &FloatModel,
    id: NodeId,
    norm: &BatchNorm,
) -> Result<Vec<Distribution>, String> {
    let parameter = |role| {
        let found = model.parameter(id, role).map(Tensor::data);
        found
            .filter(|values| values.iter().all(|value| value.is_finite()))
            .ok_or_else(|| format!("its {role} is missing or has NaN or infinite values"))
    };
    let (gamma, beta) = (parameter(Role::Weight)?, parameter(Role::Bias)?);
    let var = parameter(Role::RunningVar)?;
    // Of a channel with almost no variance, `eps` is most of the divisor.
    let of = |((&gamma, &beta), &var): ((&f32, &f32), &f32)| {
        let var = f64::from(var).max(0.0);
        let part = (var / (var + f64::from(norm.eps)).max(f64::MIN_POSITIVE)).sqrt();
        Distribution::normal(beta.into(), f64::from(gamma).abs() * part)
    };
    Ok(gamma.iter().zip(beta).zip(var).map(of).collect())
}

/// Returns the distributions of the output of a layer with weights. The values under the taps of a kernel
/// count as equal, because neighbouring pixels mostly are.
fn product(
    model: &FloatModel,
    id: NodeId,
    (groups, taps): (usize, usize),
    inputs: &[Moments],
) -> Result<Vec<Distribution>, String> {
    let weight = model.parameter(id, Role::Weight).ok_or("it has no weight")?;
    let bias = model.parameter(id, Role::Bias).map(Tensor::data);
    let weight = weight.to_format(MemoryFormat::Contiguous);
    let outputs = weight.shape()[0];
    let (of_group, outputs_of_group) = (inputs.len() / groups, (outputs / groups).max(1));
    if of_group == 0 || weight.data().len() != outputs * of_group * taps {
        return Err(format!(
            "expected an input of as many channels as its weight {:?} has, found {}",
            weight.shape(),
            inputs.len()
        ));
    }
    let channels = weight.data().chunks_exact(of_group * taps).enumerate();
    let found = channels.map(|(output, weight)| {
        let first = output / outputs_of_group * of_group;
        let mut mean = bias.map_or(0.0, |bias| f64::from(bias[output]));
        let mut variance = 0.0;
        for (weights, input) in weight.chunks_exact(taps).zip(&inputs[first..]) {
            let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            mean += sum * input.mean;
            variance += sum * sum * input.variance;
        }
        Distribution::normal(mean, variance.sqrt())
    });
    let found: Vec<Distribution> = found.collect();
    if found.iter().all(|of| of.min.is_finite() && of.max.is_finite()) {
        Ok(found)
    } else {
        Err("its weights have NaN or infinite values".into())
    }
}
