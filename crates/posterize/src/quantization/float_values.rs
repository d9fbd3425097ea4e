//! Quantization that leaves the values between layers in float and needs no calibration: of weights alone,
//! and dynamic quantization.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::qconfig::{QConfig, QConfigMapping};
use super::quantized_model::QuantizedModel;
use super::quantized_weight::QuantizedWeight;
use crate::error::{Error, Result};
use crate::graph::{Node, NodeId, Rewriter};
use crate::model::{FloatModel, Parameters};
use crate::ops::{DynamicQuantizedLinear, Op, Role};

impl FloatModel {
    /// Quantizes the weights of convolutions and linear layers to int8 and nothing else: the network's file
    /// has about a quarter of the size, and it is computed in float as fast as before.
    ///
    /// The weight observers of `mapping` choose the scales. Batch norms and activations are fused. Engines
    /// dequantize the weights once, when they are made.
    ///
    /// ```
    /// use posterize::ops::Linear;
    /// use posterize::quantization::{QConfig, QConfigMapping};
    /// use posterize::{Architecture, Tensor};
    ///
    /// let model = Architecture::trace(&Linear::new(40, 20))?.init(0);
    /// let int8 = model.quantize_weights(&QConfigMapping::global(QConfig::recommended()))?;
    /// // A byte for each weight, four for each scale and bias.
    /// assert_eq!(int8.bytes(), 800 + 4 * 20 + 4 * 20);
    /// let x = Tensor::new([1, 40], (0..40).map(|i| i as f32 / 40.0).collect())?;
    /// let difference = int8.forward(&x)?.data()[0] - model.forward(&x)?.data()[0];
    /// assert!(difference.abs() < 1e-3);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`Self::fuse`] and of the mapping, and an error if no layer has a qconfig and a
    /// weight, or if a weight holds NaN or infinite values.
    pub fn quantize_weights(&self, mapping: &QConfigMapping) -> Result<QuantizedModel> {
        let quantized =
            |node: &Node| matches!(node.op, Op::Conv2d(_) | Op::Linear(_)).then(|| node.op.clone());
        self.quantize_float_values(mapping, &quantized, "convolution or linear layer")
    }

    /// Quantizes linear layers dynamically; `torch.ao.quantization.quantize_dynamic` for `torch.nn.Linear`.
    ///
    /// Their weights become int8 with the scales of the weight observers of `mapping`, and each row of their
    /// inputs is quantized when it runs, see [`DynamicQuantizedLinear`]. All other layers stay in float.
    /// Batch norms and activations are fused.
    ///
    /// ```
    /// use posterize::nn::Sequential;
    /// use posterize::ops::{Activation, Linear};
    /// use posterize::quantization::{QConfig, QConfigMapping};
    /// use posterize::{Architecture, Tensor};
    ///
    /// let net = Sequential::new().then(Linear::new(40, 20)).then(Activation::ReLU);
    /// let model = Architecture::trace(&net)?.init(0);
    /// let int8 = model.quantize_dynamic(&QConfigMapping::global(QConfig::recommended()))?;
    /// assert_eq!(int8.graph().nodes()[1].op.kind(), "DynamicQuantizedLinearReLU");
    /// let x = Tensor::new([1, 40], (0..40).map(|i| i as f32 / 40.0).collect())?;
    /// let difference = int8.forward(&x)?.data()[0] - model.forward(&x)?.data()[0];
    /// assert!(difference.abs() < 1e-3);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`Self::fuse`] and of the mapping, and an error if no linear layer has a
    /// qconfig, or if a weight holds NaN or infinite values.
    pub fn quantize_dynamic(&self, mapping: &QConfigMapping) -> Result<QuantizedModel> {
        let quantized = |node: &Node| match &node.op {
            Op::Linear(linear) => Some(DynamicQuantizedLinear::new(linear.clone()).into()),
            _ => None,
        };
        self.quantize_float_values(mapping, &quantized, "linear layer")
    }

    /// Quantizes the weights of the nodes for which `quantized` returns an operator, which replaces theirs.
    /// `what` says what they are.
    fn quantize_float_values(
        &self,
        mapping: &QConfigMapping,
        quantized: &dyn Fn(&Node) -> Option<Op>,
        what: &str,
    ) -> Result<QuantizedModel> {
        let float = self.fuse()?;
        let graph = float.graph();
        mapping.check_names(graph)?;
        let mut rewriter = Rewriter::new(graph);
        let (mut weights, mut parameters) = (BTreeMap::new(), Parameters::new());
        for (id, node) in graph.iter() {
            let qconfig = mapping.get(&node.name, &node.op.kind());
            let op = qconfig.zip(quantized(node));
            let node = Node {
                op: op.as_ref().map_or_else(|| node.op.clone(), |(_, op)| op.clone()),
                ..node.clone()
            };
            let new = rewriter.keep(id, &node);
            for found in graph.parameters_of(id) {
                let tensor = &float.parameters()[&found.key];
                match &op {
                    Some((qconfig, _)) if found.parameter.role == Role::Weight => {
                        check_weight(&node, qconfig)?;
                        let weight = QuantizedWeight::new(&node.name, tensor, &qconfig.weight)?;
                        weights.insert(new, weight);
                    }
                    _ => {
                        check_finite(&found.name, tensor.data())?;
                        parameters.insert((new, found.parameter.role), Arc::clone(tensor));
                    }
                }
            }
        }
        if weights.is_empty() {
            return Err(Error::Argument(format!(
                "the network has no {what} that the qconfig mapping would quantize"
            )));
        }
        let graph = rewriter.finish(graph)?;
        let qparams = vec![None; graph.nodes().len()];
        let weights: BTreeMap<NodeId, QuantizedWeight> = weights;
        let parts = (BTreeMap::new(), weights);
        QuantizedModel::with_weights(graph, qparams, parts, parameters, mapping.clone())
    }
}

/// Checks that the weight of a qconfig is one that kernels have.
fn check_weight(node: &Node, qconfig: &QConfig) -> Result<()> {
    qconfig.check_weight().map_err(|problem| {
        Error::layer(&node.name, format!("no int8 kernel supports its qconfig: {problem}"))
    })
}

/// Checks the values of a parameter that stays in float.
pub(super) fn check_finite(name: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => {
            let found = values[index];
            Err(Error::layer(name, format!("value {index} is {found}; weights must be finite")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Sequential;
    use crate::ops::{Activation, BatchNorm, Conv2d, Flatten, Linear, Padding};
    use crate::quantization::ObserverSpec;
    use crate::runtime::{Options, compile};
    use crate::{Architecture, Tensor};

    fn net() -> FloatModel {
        let net = Sequential::new()
            .then(Conv2d::new(3, 8, 3).padding(Padding::all(1)).bias(false))
            .then(BatchNorm::two_d(8))
            .then(Activation::ReLU6)
            .then(Conv2d::new(8, 8, 3).groups(8))
            .then(Flatten)
            .then(Linear::new(8 * 16, 12))
            .then(Activation::ReLU)
            .then(Linear::new(12, 5).bias(false));
        Architecture::trace(&net).unwrap().init(3)
    }

    fn images(count: usize) -> Tensor {
        let values = (0..count * 3 * 36).map(|i| ((i * 37) % 101) as f32 / 40.0 - 1.0).collect();
        Tensor::new([count, 3, 6, 6], values).unwrap()
    }

    fn mapping() -> QConfigMapping {
        QConfigMapping::global(QConfig::recommended())
    }

    #[test]
    fn quantized_weights_compute_what_the_dequantized_ones_compute() {
        let model = net();
        let int8 = model.quantize_weights(&mapping()).unwrap();
        assert_eq!((int8.weights().len(), int8.layers().len()), (4, 0));
        assert_eq!(int8.float_layers(), []);
        // The float network with the dequantized weights.
        let fused = model.fuse().unwrap();
        let mut parameters = fused.parameters().clone();
        for (id, weight) in int8.weights() {
            let tensor = Tensor::new(weight.shape.clone(), weight.dequantize()).unwrap();
            let difference = tensor.data().iter().zip(parameters[&(*id, Role::Weight)].data());
            let largest = difference.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let scale = weight.scales().into_iter().fold(0.0, f32::max);
            assert!(largest > 0.0 && largest <= scale * 0.5001, "{largest}, {scale}");
            parameters.insert((*id, Role::Weight), Arc::new(tensor));
        }
        let expected = FloatModel::new(fused.graph().clone(), parameters).unwrap();
        assert_eq!(int8.forward(&images(2)).unwrap(), expected.forward(&images(2)).unwrap());
        let tree = int8.module("").unwrap().to_string();
        let layer = "(7): Linear(in_features=12, out_features=5, bias=False, \
                     weight_dtype=torch.qint8, qscheme=torch.per_channel_affine)";
        assert!(tree.contains(layer), "{tree}");
    }

    #[test]
    fn linear_layers_are_quantized_dynamically() {
        let model = net();
        let int8 = model.quantize_dynamic(&mapping()).unwrap();
        let kinds: Vec<_> = int8.graph().nodes().iter().map(|node| node.op.kind()).collect();
        let dynamic = ["DynamicQuantizedLinearReLU", "DynamicQuantizedLinear"];
        assert_eq!(kinds[4..], dynamic);
        let tree = int8.module("").unwrap().to_string();
        let layer = "(7): DynamicQuantizedLinear(in_features=12, out_features=5, \
                     dtype=torch.qint8, qscheme=torch.per_channel_affine)";
        assert!(tree.contains(layer), "{tree}");
        let (found, expected) =
            (int8.forward(&images(3)).unwrap(), model.forward(&images(3)).unwrap());
        let error = found.data().iter().zip(expected.data()).map(|(a, b)| (a - b).abs());
        let largest = expected.data().iter().fold(0.0f32, |a, b| a.max(b.abs()));
        let error = error.fold(0.0, f32::max);
        assert!(error > 0.0 && error < 0.03 * largest, "{error} of {largest}");
        // A picture has the same result in any batch and on any number of threads.
        let mut engine = compile(&int8, Options::new(2).unwrap()).unwrap();
        let all = engine.run(&images(3)).unwrap();
        let first = engine.run(&images(1)).unwrap();
        assert_eq!(first.data(), &all.data()[..5]);
        assert_eq!(all, found);
    }

    #[test]
    fn layers_without_a_qconfig_stay_in_float() {
        let model = net();
        let skipped = mapping().set_module_name("5", None);
        let int8 = model.quantize_dynamic(&skipped).unwrap();
        let float: Vec<_> =
            int8.float_layers().into_iter().map(|layer| (layer.name, layer.reason)).collect();
        let expected = [
            ("0", "only linear layers are quantized dynamically"),
            ("3", "only linear layers are quantized dynamically"),
            ("5", "it has no qconfig"),
        ];
        assert_eq!(float, expected.map(|(name, reason)| (name.to_owned(), reason)));
        let none = QConfigMapping::new().set_object_type("Conv2d", QConfig::recommended());
        let error = model.quantize_dynamic(&none).unwrap_err().to_string();
        assert!(error.contains("no linear layer that the qconfig mapping"), "{error}");
        let unknown = mapping().set_module_name("classifier", None);
        let error = model.quantize_weights(&unknown).unwrap_err().to_string();
        assert!(error.contains("match no layer: classifier"), "{error}");
        let weight = ObserverSpec::min_max();
        let unsigned = QConfigMapping::global(QConfig { weight, ..QConfig::recommended() });
        let error = model.quantize_weights(&unsigned).unwrap_err().to_string();
        assert!(error.contains("weights must be symmetric qint8"), "{error}");
    }

    #[test]
    fn weights_that_are_not_finite_are_errors() {
        for (name, expected) in [("5.weight", "5.weight"), ("5.bias", "5.bias: value 1 is NaN")] {
            let model = net();
            let mut parameters = model.parameters().clone();
            let found = model.graph().parameters().into_iter().find(|p| p.name == name).unwrap();
            let tensor = Arc::make_mut(parameters.get_mut(&found.key).unwrap());
            tensor.data_mut()[1] = f32::NAN;
            let model = FloatModel::new(model.graph().clone(), parameters).unwrap();
            let error = model.quantize_dynamic(&mapping()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
