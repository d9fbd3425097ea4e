//! Fusion of layers in eval mode; `torch.ao.quantization.fuse_modules`.
//!
//! Batch norms are folded into the weights before them, and activations are fused into the operators
//! before them. A fused layer has the name of its first layer. The others are removed from the
//! graph, where PyTorch leaves an `Identity`.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeId, Rewriter};
use crate::model::{FloatModel, Parameters};
use crate::ops::{BatchNorm, Op, Role};
use crate::tensor::Tensor;

/// The parameters of a fused layer.
type Folded = Vec<(Role, Arc<Tensor>)>;

/// A fused graph and the nodes of the original graph that each of its nodes was fused from.
#[cfg(feature = "training")]
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    /// The fused graph.
    pub(crate) fused: Graph,
    /// For each of its nodes, the nodes of the original graph, in execution order.
    pub(crate) members: Vec<Vec<NodeId>>,
}

#[cfg(feature = "training")]
impl Blocks {
    /// Finds the blocks of `model`'s graph that [`FloatModel::fuse`] fuses.
    ///
    /// # Errors
    /// Returns the error of [`FloatModel::fuse`].
    pub(crate) fn of(model: &FloatModel) -> Result<Self> {
        let graph = model.graph();
        let fused = model.fuse()?.graph().clone();
        let consumers = graph.consumers();
        let members = fused.nodes().iter().map(|node| {
            let first =
                graph.find(&node.name).expect("a fused layer has the name of its first layer");
            chain_from(graph, &consumers, first)
        });
        let members = members.collect();
        Ok(Self { fused, members })
    }
}

impl FloatModel {
    /// Fuses all layers that can be fused: a convolution or linear layer with the batch norm and the
    /// ReLU or ReLU6 after it, and an addition with the ReLU or ReLU6 after it.
    ///
    /// A model that is already fused is returned unchanged.
    ///
    /// ```
    /// use posterize::Architecture;
    /// use posterize::nn::Sequential;
    /// use posterize::ops::{Activation, BatchNorm, Conv2d};
    ///
    /// let net = Sequential::new()
    ///     .then(Conv2d::new(3, 8, 3).bias(false))
    ///     .then(BatchNorm::two_d(8))
    ///     .then(Activation::ReLU);
    /// let fused = Architecture::trace(&net)?.init(0).fuse()?;
    /// let kinds: Vec<_> = fused.graph().nodes().iter().map(|node| node.op.kind()).collect();
    /// assert_eq!(kinds, ["Input", "ConvReLU2d"]);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if a parameter is missing or a batch norm has another number of channels
    /// than the layer before it.
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

    /// Fuses the named layers; `torch.ao.quantization.fuse_modules`.
    ///
    /// Each list names two or three consecutive layers, such as `["features.0.0", "features.0.1",
    /// "features.0.2"]`.
    ///
    /// # Errors
    /// Returns an error if there is no layer of a name, if the layers are not consecutive, if another
    /// layer uses the output of a layer that is not the last of its list, or if the operators cannot
    /// be fused.
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
                        "cannot fuse {}; the layers that can be fused from there: {}",
                        ids.iter()
                            .map(|id| name_and_kind(graph, *id))
                            .collect::<Vec<_>>()
                            .join(" + "),
                        if found.len() < 2 { "none".to_owned() } else { found.join(" + ") }
                    ),
                ));
            }
            if let Some(twice) =
                ids.iter().find(|id| chains.iter().flatten().any(|known| known == *id))
            {
                return Err(Error::layer(
                    graph.node(*twice).name.clone(),
                    "it is named in two of the lists to fuse",
                ));
            }
            chains.push(ids);
        }
        self.fuse_chains(&chains)
    }

    fn fuse_chains(&self, chains: &[Vec<NodeId>]) -> Result<Self> {
        let graph = self.graph();
        let mut rewriter = Rewriter::new(graph);
        let mut parameters = Parameters::new();
        for (id, node) in graph.iter() {
            if let Some(chain) = chains.iter().find(|chain| chain[0] == id) {
                let (op, folded) = self.fuse_chain(chain)?;
                let inputs = node.inputs.iter().map(|&input| rewriter.moved(input)).collect();
                let new = rewriter.push(Node { op, inputs, ..node.clone() });
                for &member in chain {
                    rewriter.replace(member, new);
                }
                parameters.extend(folded.into_iter().map(|(role, tensor)| ((new, role), tensor)));
            } else if !chains.iter().any(|chain| chain[1..].contains(&id)) {
                let new = rewriter.keep(id, node);
                for found in graph.parameters_of(id) {
                    let tensor = Arc::clone(self.shared_parameter(id, found.key.1)?);
                    parameters.insert((new, found.key.1), tensor);
                }
            }
        }
        Self::new(rewriter.finish(graph)?, parameters)
    }

    /// Returns the operator that a chain is fused to, and its parameters.
    fn fuse_chain(&self, chain: &[NodeId]) -> Result<(Op, Folded)> {
        let first = self.graph().node(chain[0]);
        let mut op = first.op.clone();
        let mut folded = Vec::new();
        for parameter in op.parameters() {
            let tensor = self.shared_parameter(chain[0], parameter.role)?;
            folded.push((parameter.role, Arc::clone(tensor)));
        }
        for &member in &chain[1..] {
            let next = &self.graph().node(member).op;
            if let Op::BatchNorm(norm) = next {
                folded = self.fold(&folded, member, norm)?;
            }
            op = fused(&op, next).ok_or_else(|| {
                Error::layer(&first.name, format!("it cannot be fused with a {}", next.kind()))
            })?;
        }
        Ok((op, folded))
    }

    fn shared_parameter(&self, id: NodeId, role: Role) -> Result<&Arc<Tensor>> {
        self.parameters().get(&(id, role)).ok_or_else(|| {
            let name = self.graph().parameter_name((id, role));
            Error::layer(name, "the model has no such parameter")
        })
    }

    /// Folds a batch norm into the weight and bias before it.
    ///
    /// `w' = w · gamma / sqrt(var + eps)`, `b' = (b − mean) · gamma / sqrt(var + eps) + beta`
    /// (`torch.nn.utils.fusion.fuse_conv_bn_weights`).
    fn fold(&self, before: &[(Role, Arc<Tensor>)], id: NodeId, norm: &BatchNorm) -> Result<Folded> {
        let of_norm = |role| self.shared_parameter(id, role).map(|tensor| tensor.data());
        let (gamma, beta) = (of_norm(Role::Weight)?, of_norm(Role::Bias)?);
        let (mean, var) = (of_norm(Role::RunningMean)?, of_norm(Role::RunningVar)?);
        let find = |role| before.iter().find(|found| found.0 == role).map(|(_, tensor)| tensor);
        let name = &self.graph().node(id).name;
        let missing = || Error::layer(name, "the layer before it has no weight to fold it into");
        let mut weight = Arc::clone(find(Role::Weight).ok_or_else(missing)?);
        let channels = weight.shape()[0];
        if channels != norm.num_features {
            return Err(Error::shape(
                name,
                format!(
                    "expected {} channels from the layer before it, found {channels}",
                    norm.num_features
                ),
            ));
        }
        let mut bias =
            find(Role::Bias).map_or_else(|| Arc::new(Tensor::zeros([channels])), Arc::clone);
        let weights = Arc::make_mut(&mut weight).data_mut();
        let per_channel = weights.len() / channels;
        let biases = Arc::make_mut(&mut bias).data_mut();
        for channel in 0..channels {
            let factor = gamma[channel] / (var[channel] + norm.eps).sqrt();
            for w in &mut weights[channel * per_channel..][..per_channel] {
                *w *= factor;
            }
            biases[channel] = folded_bias(biases[channel], mean[channel], factor, beta[channel]);
        }
        Ok(vec![(Role::Weight, weight), (Role::Bias, bias)])
    }
}

/// Returns `op` with the operator `next` after it fused into it; `None` if they cannot be fused.
fn fused(op: &Op, next: &Op) -> Option<Op> {
    match next {
        Op::BatchNorm(norm) => op.with_batch_norm(norm.dimensions),
        Op::Activation(activation) => op.with_activation(*activation),
        _ => None,
    }
}

fn name_and_kind(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    format!("{} ({})", node.name, node.op.kind())
}

/// Returns the longest chain of nodes from `start` that can be fused: at most one batch norm,
/// followed by at most one activation.
pub(super) fn chain_from(graph: &Graph, consumers: &[Vec<NodeId>], start: NodeId) -> Vec<NodeId> {
    let mut chain = vec![start];
    let mut op = graph.node(start).op.clone();
    let mut normalized = false;
    loop {
        let last = chain[chain.len() - 1];
        let &[next] = consumers[last.0].as_slice() else { break };
        let following = &graph.node(next).op;
        let norm = matches!(following, Op::BatchNorm(_));
        let Some(fused) = fused(&op, following) else { break };
        if graph.is_output(last) || norm && normalized {
            break;
        }
        op = fused;
        normalized |= norm;
        chain.push(next);
    }
    chain
}

/// Returns a bias with a batch norm folded into it; `factor` is `gamma / sqrt(var + eps)`.
pub(crate) fn folded_bias(bias: f32, mean: f32, factor: f32, beta: f32) -> f32 {
    (bias - mean) * factor + beta
}

#[cfg(test)]
mod tests {
    use crate::model::{Architecture, FloatModel};
    use crate::nn::{Module, Sequential, Tracer, Value};
    use crate::ops::{Activation, BatchNorm, Conv2d, Linear, Padding};

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
    fn fused_layers_show_in_the_module_tree() {
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
    fn only_the_named_layers_are_fused() {
        let fused = block().fuse_modules(&[&["conv.3", "conv.4"]]).unwrap();
        assert!(fused.graph().find("conv.1").is_some());
        assert!(fused.graph().find("conv.4").is_none());
        assert!(fused.parameter_named("conv.3.bias").is_some());
        let fused = block().fuse_modules(&[&["conv.0", "conv.1", "conv.2"]]).unwrap();
        assert!(fused.graph().find("conv.2").is_none());
    }

    #[test]
    fn errors_name_the_layers_that_cannot_be_fused() {
        let error = |names: &[&str]| block().fuse_modules(&[names]).unwrap_err().to_string();
        assert_eq!(error(&["conv.9", "conv.1"]), "conv.9: there is no such layer");
        assert_eq!(
            error(&["conv.0", "conv.2"]),
            "conv.0: cannot fuse conv.0 (Conv2d) + conv.2 (ReLU6); the layers that can be fused \
             from there: conv.0 (Conv2d) + conv.1 (BatchNorm2d) + conv.2 (ReLU6)"
        );
        assert_eq!(
            error(&["conv.3"]),
            "conv.3: cannot fuse conv.3 (Conv2d); the layers that can be fused from there: conv.3 \
             (Conv2d) + conv.4 (BatchNorm2d)"
        );
        let twice = block().fuse_modules(&[&["conv.0", "conv.1"], &["conv.0", "conv.1"]]);
        let error = twice.unwrap_err().to_string();
        assert_eq!(error, "conv.0: it is named in two of the lists to fuse");
    }

    #[test]
    fn batch_norm_1d_is_folded_into_a_linear_layer() {
        let mut net = Sequential::new();
        net.push(Linear::new(4, 3));
        net.push(BatchNorm::one_d(3));
        net.push(Activation::ReLU);
        let fused = Architecture::trace(&net).unwrap().init(0).fuse().unwrap();
        assert_eq!(fused.graph().nodes().len(), 2);
        assert_eq!(fused.graph().nodes()[1].op.kind(), "LinearReLU");
    }
}
