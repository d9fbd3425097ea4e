//! Folding of the normalization at a network's beginning into the preprocessing of its pictures.

use std::sync::Arc;

use crate::data::Preprocessing;
use crate::error::Result;
use crate::graph::{NodeId, Rewriter};
use crate::model::{FloatModel, Parameters};
use crate::ops::{BatchNorm, Op, Role};
use crate::tensor::Tensor;

/// The normalization `(x - mean) / std` of a network's own input, for each channel.
///
/// ```
/// use posterize::Architecture;
/// use posterize::nn::Sequential;
/// use posterize::ops::{BatchNorm, Conv2d};
///
/// let net = Sequential::new().then(BatchNorm::two_d(3).eps(0.0)).then(Conv2d::new(3, 8, 3));
/// let model = Architecture::trace(&net)?.init(0);
/// let found = model.input_normalization().unwrap();
/// assert_eq!((found.mean, found.std), ([0.0; 3], [1.0; 3]));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputNormalization {
    /// The mean of each channel, in the units of the network's input. It is subtracted.
    pub mean: [f32; 3],
    /// The standard deviation of each channel, by which the difference is divided.
    pub std: [f32; 3],
}

/// The batch norms at a network's beginning, and what they do together.
struct Leading {
    nodes: Vec<NodeId>,
    /// `scale · x + shift` of each channel.
    scale: [f64; 3],
    shift: [f64; 3],
}

impl FloatModel {
    /// Returns the normalization that the network begins with: the product of the batch norms between
    /// its only input, of three channels, and the first other layer. `None` if there is none.
    pub fn input_normalization(&self) -> Option<InputNormalization> {
        let Leading { scale, shift, .. } = self.leading_norms()?;
        let each = |of: fn(f64, f64) -> f64| {
            std::array::from_fn(|channel| of(scale[channel], shift[channel]) as f32)
        };
        Some(InputNormalization {
            mean: each(|scale, shift| -shift / scale),
            std: each(|scale, _| 1.0 / scale),
        })
    }

    /// Folds the normalization that the network begins with into the preprocessing of its pictures:
    /// the returned network with the returned preprocessing computes what this one does with
    /// `preprocessing`.
    ///
    /// An int8 network then quantizes the pixels themselves. A network that begins with no
    /// normalization is returned unchanged.
    ///
    /// ```
    /// use posterize::Architecture;
    /// use posterize::data::Preprocessing;
    /// use posterize::nn::Sequential;
    /// use posterize::ops::{BatchNorm, Conv2d};
    ///
    /// let net = Sequential::new().then(BatchNorm::two_d(3)).then(Conv2d::new(3, 8, 3));
    /// let model = Architecture::trace(&net)?.init(0);
    /// let (folded, preprocessing) = model.fold_normalization(&Preprocessing::imagenet())?;
    /// let kinds: Vec<_> = folded.graph().nodes().iter().map(|node| node.op.kind()).collect();
    /// assert_eq!(kinds, ["Input", "Conv2d"]);
    /// assert!((preprocessing.std[0] - 0.229).abs() < 1e-5);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`FloatModel::new`] and [`Preprocessing::validate`].
    pub fn fold_normalization(
        &self,
        preprocessing: &Preprocessing,
    ) -> Result<(Self, Preprocessing)> {
        let Some(Leading { nodes, scale, shift }) = self.leading_norms() else {
            return Ok((self.clone(), preprocessing.clone()));
        };
        let mut folded = preprocessing.clone();
        for channel in 0..3 {
            let (mean, std) = (f64::from(folded.mean[channel]), f64::from(folded.std[channel]));
            folded.mean[channel] = (mean - shift[channel] * std / scale[channel]) as f32;
            folded.std[channel] = (std / scale[channel]) as f32;
        }
        folded.validate()?;
        let graph = self.graph();
        let mut rewriter = Rewriter::new(graph);
        let mut parameters = Parameters::new();
        for (id, node) in graph.iter() {
            if nodes.contains(&id) {
                rewriter.replace(id, rewriter.moved(node.inputs[0]));
                continue;
            }
            let new = rewriter.keep(id, node);
            for found in graph.parameters_of(id) {
                if let Some(tensor) = self.parameters().get(&(id, found.key.1)) {
                    parameters.insert((new, found.key.1), Arc::clone(tensor));
                }
            }
        }
        Ok((Self::new(rewriter.finish(graph)?, parameters)?, folded))
    }

    /// Finds the batch norms at the network's beginning, which nothing else takes the input of. Only
    /// those count whose factors are positive and finite.
    fn leading_norms(&self) -> Option<Leading> {
        let graph = self.graph();
        let mut inputs = graph.inputs();
        let (Some((input, _)), None) = (inputs.next(), inputs.next()) else { return None };
        let consumers = graph.consumers();
        let mut leading = Leading { nodes: Vec::new(), scale: [1.0; 3], shift: [0.0; 3] };
        let mut last = input;
        while let &[next] = consumers[last.0].as_slice()
            && !graph.is_output(last)
            && let Op::BatchNorm(norm) = &graph.node(next).op
            && !graph.is_output(next)
            && let Some((scale, shift)) = self.scale_and_shift(next, norm)
        {
            for channel in 0..3 {
                leading.scale[channel] *= scale[channel];
                leading.shift[channel] = leading.shift[channel] * scale[channel] + shift[channel];
            }
            leading.nodes.push(next);
            last = next;
        }
        let usable = leading.scale.iter().all(|scale| (1e-20..1e20).contains(scale))
            && leading.shift.iter().all(|shift| shift.abs() < 1e20);
        (usable && !leading.nodes.is_empty()).then_some(leading)
    }

    /// Returns the factors and summands of a batch norm of three channels whose factors are positive.
    fn scale_and_shift(&self, id: NodeId, norm: &BatchNorm) -> Option<([f64; 3], [f64; 3])> {
        let of = |role| self.parameter(id, role).map(Tensor::data);
        let (gamma, beta) = (of(Role::Weight)?, of(Role::Bias)?);
        let (mean, var) = (of(Role::RunningMean)?, of(Role::RunningVar)?);
        let three = |values: Vec<f32>| Some(<[f32; 3]>::try_from(values).ok()?.map(f64::from));
        let [scale, shift] = norm.scale_and_shift(gamma, beta, mean, var);
        let (scale, shift) = (three(scale)?, three(shift)?);
        scale.iter().all(|&scale| scale > 0.0).then_some((scale, shift))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Picture;
    use crate::model::Architecture;
    use crate::nn::Sequential;
    use crate::ops::{Activation, Conv2d, Padding};

    /// Returns a network whose first layers are batch norms with these factors and summands.
    fn network(norms: &[([f32; 3], [f32; 3])]) -> FloatModel {
        let mut net = Sequential::new();
        for _ in norms {
            net = net.then(BatchNorm::two_d(3).eps(0.0));
        }
        let net = net.then(Conv2d::new(3, 4, 3).padding(Padding::all(1)));
        let model = Architecture::trace(&net.then(Activation::ReLU)).unwrap().init(3);
        let mut parameters = model.parameters().clone();
        for (index, (scale, shift)) in norms.iter().enumerate() {
            let id = model.graph().find(&index.to_string()).unwrap();
            for (role, values) in [(Role::Weight, scale), (Role::Bias, shift)] {
                let tensor = Tensor::new([3], values.to_vec()).unwrap();
                parameters.insert((id, role), Arc::new(tensor));
            }
        }
        FloatModel::new(model.graph().clone(), parameters).unwrap()
    }

    #[test]
    fn several_norms_are_one_normalization() {
        // Division by 255, then torchvision's normalization as a subtraction and a division.
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let model = network(&[
            ([1.0 / 255.0; 3], [0.0; 3]),
            ([1.0; 3], mean.map(|mean: f32| -mean)),
            (std.map(|std: f32| 1.0 / std), [0.0; 3]),
        ]);
        let found = model.input_normalization().unwrap();
        for channel in 0..3 {
            assert!((found.mean[channel] - 255.0 * mean[channel]).abs() < 1e-4, "{found:?}");
            assert!((found.std[channel] - 255.0 * std[channel]).abs() < 1e-4, "{found:?}");
        }
        let pixels =
            Preprocessing { mean: [0.0; 3], std: [1.0 / 255.0; 3], ..Preprocessing::imagenet() };
        let (folded, preprocessing) = model.fold_normalization(&pixels).unwrap();
        assert_eq!(folded.graph().nodes().len(), model.graph().nodes().len() - 3);
        assert!((preprocessing.mean[1] - 0.456).abs() < 1e-6, "{preprocessing}");
        assert!((preprocessing.std[2] - 0.225).abs() < 1e-6, "{preprocessing}");

        let data = (0..7 * 5 * 3).map(|i| (i * 37 % 256) as u8).collect();
        let picture = [Picture::new(7, 5, data).unwrap()];
        let expected = model.forward(&pixels.tensor(&picture).unwrap()).unwrap();
        let found = folded.forward(&preprocessing.tensor(&picture).unwrap()).unwrap();
        assert!(expected.data().iter().any(|value| *value > 0.1));
        for (found, expected) in found.data().iter().zip(expected.data()) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }

    #[test]
    fn other_beginnings_are_left_alone() {
        let imagenet = Preprocessing::imagenet();
        for norms in [&[][..], &[([1.0, -1.0, 1.0], [0.0; 3])], &[([0.0; 3], [1.0; 3])]] {
            let model = network(norms);
            assert_eq!(model.input_normalization(), None);
            assert_eq!(model.fold_normalization(&imagenet).unwrap(), (model, imagenet.clone()));
        }
        // The norm is the output.
        let norm = Architecture::trace(&BatchNorm::two_d(3)).unwrap().init(0);
        assert_eq!(norm.input_normalization(), None);
    }
}
