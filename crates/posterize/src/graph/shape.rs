//! Shape inference: what every node puts out for an input of a given shape, and at what cost.

use super::{Graph, Node, NodeId, Op};
use crate::error::{Error, Result};

/// A node's output and cost for one input shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// The output: `[N, C, H, W]` or `[N, C]`.
    pub shape: Vec<usize>,
    /// Multiply-adds of convolutions and linear layers for the whole batch; 0 for the rest.
    pub multiply_adds: u64,
}

impl Graph {
    /// What every node puts out for an input of shape `[N, C, H, W]`, in the order of the nodes.
    ///
    /// # Errors
    /// A layer that such an input does not fit, by its name.
    pub fn infer(&self, input: &[usize]) -> Result<Vec<LayerShape>> {
        let mut layers: Vec<LayerShape> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let inputs: Vec<&[usize]> =
                node.inputs.iter().map(|id: &NodeId| layers[id.0].shape.as_slice()).collect();
            let shape = if matches!(node.op, Op::Input) {
                if input.contains(&0) {
                    return Err(Error::shape("input", format!("{input:?} has an empty axis")));
                }
                input.to_vec()
            } else {
                output_shape(node, &inputs)
                    .map_err(|problem| Error::shape(node.name.clone(), problem))?
            };
            // Every later product of sizes then fits.
            let values = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
            if values.is_none_or(|values| values > isize::MAX as usize / 8) {
                return Err(Error::shape(node.name.clone(), format!("{shape:?} is too large")));
            }
            let multiply_adds = multiply_adds(&node.op, &shape);
            layers.push(LayerShape { shape, multiply_adds });
        }
        Ok(layers)
    }
}

fn multiply_adds(op: &Op, output: &[usize]) -> u64 {
    let outputs = output.iter().map(|&size| size as u64).fold(1, u64::saturating_mul);
    match op {
        Op::Conv2d(conv, _) => {
            outputs.saturating_mul(conv.geometry([1, 1]).taps_per_output() as u64)
        }
        Op::Linear(linear, _) => outputs.saturating_mul(linear.in_features as u64),
        _ => 0,
    }
}

fn picture(shape: &[usize]) -> Result<[usize; 4], String> {
    shape.try_into().map_err(|_| format!("expected an input [N, C, H, W], found {shape:?}"))
}

fn expect_channels(expected: usize, found: usize, shape: &[usize]) -> Result<(), String> {
    if expected == found {
        Ok(())
    } else {
        Err(format!("expected {expected} channels, found {found} in an input of {shape:?}"))
    }
}

fn output_shape(node: &Node, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    let first = inputs.first().copied().unwrap_or_default();
    match &node.op {
        Op::Conv2d(conv, _) => {
            let [n, c, h, w] = picture(first)?;
            expect_channels(conv.in_channels, c, first)?;
            let geometry = conv.geometry([h, w]);
            let [oh, ow] = geometry.output_size([h, w]).ok_or_else(|| {
                format!(
                    "a window of {:?} (dilation {:?}) does not fit into an input of {first:?}",
                    conv.kernel_size, conv.dilation
                )
            })?;
            Ok(vec![n, conv.out_channels, oh, ow])
        }
        Op::BatchNorm(bn) => {
            let rank = if bn.dimensions == 2 { 4 } else { 2 };
            if first.len() != rank {
                return Err(format!("expected an input of {rank} dimensions, found {first:?}"));
            }
            expect_channels(bn.num_features, first[1], first)?;
            Ok(first.to_vec())
        }
        Op::Add(_) | Op::Mul => {
            if inputs[0] != inputs[1] {
                return Err(format!("its inputs differ: {:?} and {:?}", inputs[0], inputs[1]));
            }
            Ok(first.to_vec())
        }
        Op::Cat => {
            let mut shape = first.to_vec();
            if shape.len() < 2 {
                return Err(format!("expected an input with channels, found {first:?}"));
            }
            for other in &inputs[1..] {
                let alike = other.len() == shape.len()
                    && (0..shape.len()).all(|axis| axis == 1 || other[axis] == shape[axis]);
                if !alike {
                    return Err(format!("cannot concatenate {other:?} to {first:?}"));
                }
                // Saturated, it is found too large below.
                shape[1] = shape[1].saturating_add(other[1]);
            }
            Ok(shape)
        }
        Op::MaxPool2d(pool) => {
            let [n, c, h, w] = picture(first)?;
            let [oh, ow] = pool
                .geometry()
                .output_size([h, w])
                .ok_or_else(|| format!("the window does not fit into an input of {first:?}"))?;
            Ok(vec![n, c, oh, ow])
        }
        Op::AdaptiveAvgPool2d(pool) => {
            let [n, c, _, _] = picture(first)?;
            Ok(vec![n, c, pool.output_size[0], pool.output_size[1]])
        }
        Op::Mean => {
            let [n, c, _, _] = picture(first)?;
            Ok(vec![n, c])
        }
        Op::Flatten => match first {
            [n, rest @ ..] => Ok(vec![*n, rest.iter().product()]),
            [] => Err("expected an input with a batch axis".into()),
        },
        Op::Linear(linear, _) => match first {
            &[n, features] if features == linear.in_features => Ok(vec![n, linear.out_features]),
            _ => Err(format!("expected an input [N, {}], found {first:?}", linear.in_features)),
        },
        Op::ZeroPad2d(pad) => {
            let [n, c, h, w] = picture(first)?;
            Ok(vec![n, c, h + pad.top + pad.bottom, w + pad.left + pad.right])
        }
        Op::Input | Op::Activation(_) | Op::Dropout(_) | Op::QuantStub | Op::DeQuantStub => {
            Ok(first.to_vec())
        }
    }
}
