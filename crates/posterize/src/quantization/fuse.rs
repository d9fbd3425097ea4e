//! Fusion: batch norms folded into the weights before them, activations into the kernels before them.
//!
//! Eval mode only (`torch.ao.quantization.fuse_modules`). The fused layer keeps the first member's
//! name; the others leave the graph, so that no `Identity` stays behind.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::{BatchNorm, Graph, Node, NodeId, Op, Rewriter};
use crate::model::{FloatModel, Parameters};
use crate::tensor::Tensor;

/// How the nodes of a graph join into those of its fused graph.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    /// The fused graph.
    pub(crate) fused: Graph,
    /// For every node of it, the nodes that it is made of, in execution order.
    pub(crate) members: Vec<Vec<NodeId>>,
}

impl Blocks {
    /// The blocks that [`FloatModel::fuse`] makes of `model`'s graph.
    ///
    /// # Errors
    /// As [`FloatModel::fuse`].
    pub(crate) fn of(model: &FloatModel) -> Result<Self> {
        let graph = model.graph();
        let fused = model.fuse()?.graph().clone();
        let consumers = graph.consumers();
        let members = fused.nodes().iter().map(|node| {
            let first =
                graph.find(&node.name).expect("a fused layer keeps its first member's name");
            chain_from(graph, &consumers, first)
        });
        let members = members.collect();
        Ok(Self { fused, members })
    }
}

impl FloatModel {
    /// Fuses every Conv+BN, Conv+BN+ReLU/ReLU6, Conv+ReLU/ReLU6, Linear(+BN)(+ReLU/ReLU6) and
    /// Add+ReLU/ReLU6 of the graph. A model that is fused already stays as it is.
    ///
    /// # Errors
    /// A parameter is missing.
    pub fn fuse(&self) -> Result<Self> {
        let graph = self.graph();
        let consumers = graph.consumers();
        let chains = graph
            .iter()
            .map(|(id, _)| chain_from(graph, &consumers, id))
            .filter(|chain| chain.len() > 1)
            .collect::<Vec<_>>();
        self.fuse_chains(&chains)
    }

    /// Fuses the layers named, as `torch.ao.quantization.fuse_modules`: each list names two or three
    /// layers that follow one another (`["features.0.0", "features.0.1", "features.0.2"]`).
    ///
    /// # Errors
    /// A name is no layer, the layers do not follow one another, another layer takes a value
    /// between them, or their types have no fused form.
    pub fn fuse_modules(&self, lists: &[&[&str]]) -> Result<Self> {
        let graph = self.graph();
        let consumers = graph.consumers();
        let mut chains: Vec<Vec<NodeId>> = Vec::with_capacity(lists.len());
        for names in lists {
            let ids = names
                .iter()
                .map(|name| {
                    graph.find(name).ok_or_else(|| Error::layer(*name, "there is no such layer"))
                })
                .collect::<Result<Vec<_>>>()?;
            let Some(&first) = ids.first() else { continue };
            let longest = chain_from(graph, &consumers, first);
            if ids.len() < 2 || !longest.starts_with(&ids) {
                let found: Vec<String> =
                    longest.iter().map(|id| name_and_kind(graph, *id)).collect();
                return Err(Error::layer(
                    names[0],
                    format!(
                        "cannot fuse {}: from there the graph can fuse {}",
                        ids.iter()
                            .map(|id| name_and_kind(graph, *id))
                            .collect::<Vec<_>>()
                            .join(" + "),
                        if found.len() < 2 { "nothing".to_owned() } else { found.join(" + ") }
                    ),
                ));
            }
            if let Some(twice) =
                ids.iter().find(|id| chains.iter().flatten().any(|known| known == *id))
            {
                return Err(Error::layer(graph.node(*twice).name.clone(), "named in two lists"));
            }
            chains.push(ids);
        }
        self.fuse_chains(&chains)
    }

    fn fuse_chains(&self, chains: &[Vec<NodeId>]) -> Result<Self> {
        let graph = self.graph();
        let mut parameters = self.parameters().clone();
        let mut rewriter = Rewriter::new(graph);
        for (id, node) in graph.iter() {
            if let Some(chain) = chains.iter().find(|chain| chain[0] == id) {
                let mut fused = node.clone();
                fused.inputs = node.inputs.iter().map(|&input| rewriter.moved(input)).collect();
                for member in &chain[1..] {
                    let member = graph.node(*member);
                    match &member.op {
                        Op::BatchNorm(bn) => fold(&mut parameters, &mut fused, bn, &member.name)?,
                        Op::Activation(activation) => match &mut fused.op {
                            Op::Conv2d(_, slot) | Op::Linear(_, slot) | Op::Add(slot) => {
                                *slot = Some(*activation);
                            }
                            _ => unreachable!("chains begin with one of these"),
                        },
                        _ => unreachable!("chains hold batch norms and activations"),
                    }
                }
                let new = rewriter.push(fused);
                for member in chain {
                    rewriter.replace(*member, new);
                }
            } else if !chains.iter().any(|chain| chain[1..].contains(&id)) {
                rewriter.keep(id, node);
            }
        }
        Self::new(rewriter.finish(graph)?, parameters)
    }
}

fn name_and_kind(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    format!("{} ({})", node.name, node.op.kind())
}

/// The longest run of nodes from `start` that one kernel can compute.
fn chain_from(graph: &Graph, consumers: &[Vec<NodeId>], start: NodeId) -> Vec<NodeId> {
    let (mut may_norm, may_activate) = match &graph.node(start).op {
        Op::Conv2d(_, None) => (Some(2), true),
        Op::Linear(_, None) => (Some(1), true),
        Op::Add(None) => (None, true),
        _ => (None, false),
    };
    let mut chain = vec![start];
    let mut last = start;
    while let &[next] = consumers[last.0].as_slice() {
        if last == graph.output() {
            break;
        }
        match &graph.node(next).op {
            Op::BatchNorm(bn) if may_norm == Some(bn.dimensions) => may_norm = None,
            Op::Activation(_) if may_activate => {
                chain.push(next);
                break;
            }
            _ => break,
        }
        chain.push(next);
        last = next;
    }
    chain
}

/// Folds a batch norm into the weights before it:
/// `w' = w · gamma / sqrt(var + eps)`, `b' = (b - mean) · gamma / sqrt(var + eps) + beta`
/// (`torch.nn.utils.fusion.fuse_conv_bn_weights`).
fn fold(
    parameters: &mut Parameters,
    layer: &mut Node,
    bn: &BatchNorm,
    bn_name: &str,
) -> Result<()> {
    let mut take = |owner: &str, name: &str| {
        let name = format!("{owner}.{name}");
        parameters
            .remove(&name)
            .ok_or_else(|| Error::layer(name, "the model has no such parameter"))
    };
    let gamma = take(bn_name, "weight")?;
    let beta = take(bn_name, "bias")?;
    let mean = take(bn_name, "running_mean")?;
    let var = take(bn_name, "running_var")?;
    let mut weight = take(&layer.name, "weight")?;
    let has_bias = match &mut layer.op {
        Op::Conv2d(conv, _) => std::mem::replace(&mut conv.bias, true),
        Op::Linear(linear, _) => std::mem::replace(&mut linear.bias, true),
        _ => unreachable!("only convolutions and linear layers take a batch norm"),
    };
    let mut bias = if has_bias {
        take(&layer.name, "bias")?
    } else {
        Arc::new(Tensor::zeros([bn.num_features]))
    };

    let weights = Arc::make_mut(&mut weight).data_mut();
    let per_channel = weights.len() / bn.num_features;
    let biases = Arc::make_mut(&mut bias).data_mut();
    for channel in 0..bn.num_features {
        let factor = gamma.data()[channel] / (var.data()[channel] + bn.eps).sqrt();
        for w in &mut weights[channel * per_channel..][..per_channel] {
            *w *= factor;
        }
        biases[channel] =
            folded_bias(biases[channel], mean.data()[channel], factor, beta.data()[channel]);
    }
    parameters.insert(format!("{}.weight", layer.name), weight);
    parameters.insert(format!("{}.bias", layer.name), bias);
    Ok(())
}

/// A bias with a batch norm folded into it, where `factor` is `gamma / sqrt(var + eps)`.
pub(crate) fn folded_bias(bias: f32, mean: f32, factor: f32, beta: f32) -> f32 {
    (bias - mean) * factor + beta
}

#[cfg(test)]
mod tests {
    use crate::graph::{Activation, BatchNorm, Conv2d, Linear, Padding};
    use crate::model::{Architecture, FloatModel};
    use crate::nn::{Module, Sequential, Tracer, Value};

    struct Residual(Sequential);

    impl Module for Residual {
        fn kind(&self) -> &'static str {
            "Residual"
        }

        fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
            let y = cx.call("conv", &self.0, x);
            let y = cx.add(x, y);
            let y = cx.call("relu", &Activation::ReLU, y);
            cx.mean(y)
        }
    }

    fn block() -> FloatModel {
        let conv =
            |groups| Conv2d::new(8, 8, 3).padding(Padding::all(1)).groups(groups).bias(false);
        let body = Sequential::new()
            .then(conv(1))
            .then(BatchNorm::two_d(8))
            .then(Activation::ReLU6)
            .then(conv(8))
            .then(BatchNorm::two_d(8));
        Architecture::trace(&Residual(body)).unwrap().init(1)
    }

    #[test]
    fn patterns_are_found_and_the_tree_shows_them() {
        let fused = block().fuse().unwrap();
        let names: Vec<_> = fused.graph().nodes().iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["input", "conv.0", "conv.3", "add", "mean"]);
        let expected = "\
Residual(
  (conv): Sequential(
    (0): ConvReLU6_2d(
      (0): Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (1): ReLU6()
    )
    (3): Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=8)
  )
)";
        assert_eq!(fused.module("").unwrap().to_string(), expected);
        assert_eq!(fused.fuse().unwrap().graph(), fused.graph());
    }

    #[test]
    fn named_layers_fuse_and_others_are_left() {
        let fused = block().fuse_modules(&[&["conv.3", "conv.4"]]).unwrap();
        assert!(fused.graph().find("conv.1").is_some());
        assert!(fused.graph().find("conv.4").is_none());
        assert!(fused.parameter("conv.3", "bias").is_some());
    }

    #[test]
    fn lists_that_cannot_be_fused_say_why() {
        let error = |names: &[&str]| block().fuse_modules(&[names]).unwrap_err().to_string();
        assert_eq!(error(&["conv.9", "conv.1"]), "conv.9: there is no such layer");
        assert_eq!(
            error(&["conv.0", "conv.2"]),
            "conv.0: cannot fuse conv.0 (Conv2d) + conv.2 (ReLU6): from there the graph can fuse \
             conv.0 (Conv2d) + conv.1 (BatchNorm2d) + conv.2 (ReLU6)"
        );
        let twice = block().fuse_modules(&[&["conv.0", "conv.1"], &["conv.0", "conv.1"]]);
        assert_eq!(twice.unwrap_err().to_string(), "conv.0: named in two lists");
    }

    #[test]
    fn linear_layers_fold_a_batch_norm_of_one_dimension() {
        let mut net = Sequential::new();
        net.push(Linear::new(4, 3));
        net.push(BatchNorm::one_d(3));
        net.push(Activation::ReLU);
        let fused = Architecture::trace(&net).unwrap().init(0).fuse().unwrap();
        assert_eq!(fused.graph().nodes().len(), 2);
        assert_eq!(fused.graph().nodes()[1].op.kind(), "LinearReLU");
    }
}
