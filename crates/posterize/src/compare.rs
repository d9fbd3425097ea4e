//! Comparison of an int8 network with its float network, layer by layer.

mod equalized;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use self::equalized::Equalized;
use crate::error::{Error, Result};
use crate::graph::{Node, NodeId};
use crate::metrics;
use crate::model::FloatModel;
use crate::ops::{Op, Role};
use crate::quantization::{QuantizedModel, channel_scaling};
use crate::runtime::{Options, Shown, compile};
use crate::tensor::Tensor;

/// The difference between a layer's outputs in the float and the int8 network, over all pictures.
///
/// ```
/// use posterize::LayerError;
///
/// let layer = LayerError {
///     name: "features.0.0".into(),
///     kind: "ConvReLU6_2d".into(),
///     signal: 1000.0,
///     noise: 1.0,
/// };
/// assert!((layer.sqnr() - 30.0).abs() < 1e-9);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerError {
    /// The layer's name.
    pub name: String,
    /// Its operator in the int8 network: `ConvReLU6_2d`.
    pub kind: String,
    /// Sum of the squares of the float outputs.
    pub signal: f64,
    /// Sum of the squares of the differences between the float and the int8 outputs.
    pub noise: f64,
}

impl LayerError {
    /// Creates the error of a layer without outputs.
    pub(crate) fn new(node: &Node) -> Self {
        Self { name: node.name.clone(), kind: node.op.kind(), signal: 0.0, noise: 0.0 }
    }

    /// Adds float outputs and the int8 outputs in their places.
    pub(crate) fn add(&mut self, float: &[f32], int8: &[f32]) {
        metrics::add_noise(&mut self.signal, &mut self.noise, float, int8);
    }

    /// Returns the signal-to-quantization-noise ratio in decibels, `10 · log10(signal / noise)`.
    ///
    /// Each bit of precision adds about 6 dB. The ratio is infinite if the outputs are equal.
    pub fn sqnr(&self) -> f64 {
        metrics::sqnr(self.signal, self.noise)
    }
}

/// Runs every batch through both networks and compares the outputs of the layers that both have.
///
/// Batches have the shape `[N, C, H, W]`. The float network must be the one that was quantized,
/// fused in the same way. The results are in the order of the int8 network's layers. `seen` is
/// called after each batch with the number of pictures so far. If channels were equalized before
/// quantization, they are scaled back; the factors are recovered from the weights.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::{Activation, Conv2d};
/// use posterize::quantization::{QConfig, QConfigMapping};
/// use posterize::runtime::Options;
/// use posterize::{Architecture, Tensor, compare};
///
/// let net = Sequential::new().then(Conv2d::new(3, 8, 3)).then(Activation::ReLU);
/// let float = Architecture::trace(&net)?.init(0).fuse()?;
/// let values = (0..3 * 8 * 8).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
/// let images = Tensor::new([1, 3, 8, 8], values)?;
/// let mut observed = float.prepare(&QConfigMapping::global(QConfig::recommended()))?;
/// observed.forward(&images)?;
/// let int8 = observed.convert()?;
///
/// let layers = compare(&float, &int8, Options::new(1)?, [Ok(images)], &mut |_| ())?;
/// assert_eq!((layers[0].name.as_str(), layers[0].kind.as_str()), ("0", "ConvReLU2d"));
/// assert!(layers[0].sqnr() > 25.0);
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// Returns an error if layers of the same name have different operators, if the networks have no
/// layer in common, if a batch cannot be read or run, or if there is no picture.
pub fn compare(
    float: &FloatModel,
    int8: &QuantizedModel,
    options: Options,
    batches: impl IntoIterator<Item = Result<Tensor>>,
    seen: &mut dyn FnMut(usize),
) -> Result<Vec<LayerError>> {
    let counterparts = counterparts(float, int8)?;
    let error = |&id: &NodeId| (id, LayerError::new(int8.graph().node(id)));
    let mut layers: BTreeMap<NodeId, LayerError> = counterparts.keys().map(error).collect();
    run_both((float, int8), &counterparts, options, batches, seen, &mut |id, outputs| {
        if let Some(layer) = layers.get_mut(&id) {
            layer.add(outputs.float, outputs.int8);
        }
    })?;
    Ok(layers.into_values().collect())
}

/// What an int8 network's layer is in the float network.
#[derive(Debug)]
pub(crate) struct Counterpart {
    /// The float network's node.
    pub(crate) float: NodeId,
    /// The float weight that was quantized, which is the float network's after equalization; `None` if it has
    /// none.
    pub(crate) weight: Option<Tensor>,
    /// What each output channel was divided by in equalization; `None` if it was not.
    pub(crate) factors: Option<Vec<f32>>,
}

/// Returns the nodes of the int8 network that the float network has too. Inputs are left out, because both
/// networks get the same.
///
/// # Errors
/// As [`compare`].
pub(crate) fn counterparts(
    float: &FloatModel,
    int8: &QuantizedModel,
) -> Result<BTreeMap<NodeId, Counterpart>> {
    let mut found = Vec::new();
    for (id, node) in int8.graph().iter() {
        let Some(other) = float.graph().find(&node.name) else { continue };
        let expected = float.graph().node(other);
        if expected.op != node.op.float_form() {
            return Err(Error::layer(
                &node.name,
                format!(
                    "the int8 network has {}({}) here and the float network {}({}); compare with \
                     the fused float network that the int8 one was made from",
                    node.op.kind(),
                    node.op.python(),
                    expected.op.kind(),
                    expected.op.python()
                ),
            ));
        }
        if !matches!(node.op, Op::Input(_)) {
            found.push((id, other));
        }
    }
    if found.is_empty() {
        return Err(Error::Argument(
            "the int8 and the float network have no layer of the same name; compare with the fused \
             float network that the int8 one was made from"
                .into(),
        ));
    }
    let nodes = found.iter().map(|&(id, float)| (float, id)).collect();
    let mut equalized = Equalized::find(float, int8, &nodes);
    let counterpart = |(id, float)| {
        let weight = equalized.weights.remove(&float);
        (id, Counterpart { float, weight, factors: equalized.factors.remove(&float) })
    };
    Ok(found.into_iter().map(counterpart).collect())
}

/// Returns the fused float network with the weights and biases that were quantized, which are those after
/// equalization, and whether any channels were equalized.
///
/// # Errors
/// As [`compare`].
pub(crate) fn before_rounding(
    float: &FloatModel,
    int8: &QuantizedModel,
) -> Result<(FloatModel, bool)> {
    let mut parameters = float.parameters().clone();
    let mut equalized = false;
    for Counterpart { float: id, weight, factors } in counterparts(float, int8)?.into_values() {
        let Some(weight) = weight else { continue };
        parameters.insert((id, Role::Weight), Arc::new(weight));
        if let Some(factors) = factors {
            equalized = true;
            if let Some(bias) = parameters.get_mut(&(id, Role::Bias)) {
                channel_scaling::divide_outputs(Arc::make_mut(bias), &factors);
            }
        }
    }
    Ok((FloatModel::new(float.graph().clone(), parameters)?, equalized))
}

/// The outputs of a layer in both networks, as they lie in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outputs<'a> {
    /// The float network's.
    pub(crate) float: &'a [f32],
    /// The int8 network's in f32, with equalized channels scaled back.
    pub(crate) int8: &'a [f32],
    /// The int8 network's as integers; `None` if the layer stays in float.
    pub(crate) integers: Option<&'a [u8]>,
}

/// Runs every batch through both networks, and shows `see` the outputs of the int8 network's nodes that
/// have counterparts.
///
/// # Errors
/// As [`compare`].
pub(crate) fn run_both(
    (float, int8): (&FloatModel, &QuantizedModel),
    counterparts: &BTreeMap<NodeId, Counterpart>,
    options: Options,
    batches: impl IntoIterator<Item = Result<Tensor>>,
    seen: &mut dyn FnMut(usize),
    see: &mut dyn FnMut(NodeId, Outputs<'_>),
) -> Result<()> {
    let mut float_engine = compile(float, options)?;
    let mut int8_engine = compile(int8, options)?;
    let wanted: BTreeSet<NodeId> = counterparts.values().map(|found| found.float).collect();
    let mut pictures = 0;
    for images in batches {
        let images = images?;
        let mut outputs = BTreeMap::new();
        float_engine.run_observed(&images, &mut |id, values| {
            if wanted.contains(&id) {
                outputs.insert(id, values.to_vec());
            }
            Ok(())
        })?;
        int8_engine.run_all_shown(&[(&images).into()], &mut |id, shown| {
            let Some(counterpart) = counterparts.get(&id) else { return Ok(()) };
            let Some(float) = outputs.get(&counterpart.float) else { return Ok(()) };
            let mut int8 = shown.dequantized()?;
            if let Some(factors) = &counterpart.factors {
                for pixel in int8.to_mut().chunks_exact_mut(factors.len()) {
                    pixel.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
                }
            }
            let integers = match shown {
                Shown::Int8(integers, _) => Some(integers),
                Shown::Float(_) => None,
            };
            see(id, Outputs { float, int8: &int8, integers });
            Ok(())
        })?;
        pictures += images.shape()[0];
        seen(pictures);
    }
    if pictures == 0 {
        return Err(Error::Argument(
            "found no picture to compare on; expected at least one".into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Architecture;
    use crate::nn::Sequential;
    use crate::ops::{Activation, Conv2d};
    use crate::quantization::{QConfig, QConfigMapping};

    #[test]
    fn signal_and_noise_are_summed_over_all_batches() {
        let net = |activation| {
            let net = Sequential::new().then(Conv2d::new(3, 4, 3)).then(activation);
            Architecture::trace(&net.then(Conv2d::new(4, 2, 1))).unwrap().init(2).fuse().unwrap()
        };
        let float = net(Activation::ReLU);
        let values = (0..2 * 3 * 36).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0);
        let images = Tensor::new([2, 3, 6, 6], values.collect()).unwrap();
        let mut observed = float.prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
        observed.forward(&images).unwrap();
        let int8 = observed.convert().unwrap();
        let options = Options::new(1).unwrap();
        let run = |float: &FloatModel| {
            let images = [Ok(images.clone()), Ok(images.clone())];
            let mut pictures = Vec::new();
            let layers = compare(float, &int8, options, images, &mut |n| pictures.push(n));
            layers.inspect(|_| assert_eq!(pictures, [2, 4]))
        };
        let layers = run(&float).unwrap();
        let names: Vec<_> = layers.iter().map(|l| (l.name.as_str(), l.kind.as_str())).collect();
        assert_eq!(names, [("0", "ConvReLU2d"), ("2", "Conv2d")]);
        let (x, y) = (float.forward(&images).unwrap(), int8.forward(&images).unwrap());
        let noise: f64 = x.data().iter().zip(y.data()).map(|(x, y)| f64::from(x - y).powi(2)).sum();
        assert!((layers[1].noise / (2.0 * noise) - 1.0).abs() < 1e-9);
        assert!(layers.iter().all(|layer| (25.0..60.0).contains(&layer.sqnr())), "{layers:?}");

        let error = run(&net(Activation::ReLU6)).unwrap_err().to_string();
        assert!(error.starts_with("0: the int8 network has ConvReLU2d(3, 4, "), "{error}");
        assert!(error.contains("here and the float network ConvReLU6_2d(3, 4, "), "{error}");
    }
}
