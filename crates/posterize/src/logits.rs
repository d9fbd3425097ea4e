//! The logits of classifiers, as networks return them.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::ops::Op;
use crate::runtime::{Engine, Input};
use crate::tensor::Tensor;

/// Returns `[N, C]` for logits of that shape, or of `[N, C, 1, 1]` as convolutional heads return them.
pub(crate) fn shape(output: &[usize]) -> Option<[usize; 2]> {
    match *output {
        [n, classes] | [n, classes, 1, 1] => Some([n, classes]),
        _ => None,
    }
}

/// Runs a classifier and returns its logits as `[N, C]`: its output, or the logarithms of that if it ends
/// in a softmax, which the softmax of these turns into the same probabilities.
///
/// # Errors
/// Returns the errors of [`Engine::run`], [`Error::NotFinite`] if a logit is NaN or infinite, and an error
/// if the output has another shape.
pub(crate) fn run(engine: &mut Engine, input: Input<'_>) -> Result<Tensor> {
    let output = engine.run(input)?;
    let Some(shape) = shape(output.shape()) else {
        return Err(Error::shape("logits", format!("expected [N, C], found {:?}", output.shape())));
    };
    check_finite(engine, input, &output, shape[1])?;
    let mut values = output.into_data();
    if ends_in_softmax(engine.model().graph()) {
        // Probabilities that were rounded to 0 stay the smallest ones.
        for value in &mut values {
            *value = value.max(f32::MIN_POSITIVE).ln();
        }
    }
    Tensor::new(shape, values)
}

/// Returns whether the first output is a softmax, perhaps with its values in another shape.
fn ends_in_softmax(graph: &Graph) -> bool {
    let mut id = graph.output();
    loop {
        let node = graph.node(id);
        match (&node.op, &*node.inputs) {
            (Op::Softmax(_), _) => return true,
            (Op::Flatten(_) | Op::Reshape(_) | Op::DeQuantStub(_), &[input]) => id = input,
            _ => return false,
        }
    }
}

/// Checks that all logits `[N, classes]` of an input are finite. If they are not, the error names the
/// layer that was the first to return such a value.
///
/// # Errors
/// Returns [`Error::NotFinite`] if a logit is NaN or infinite.
fn check_finite(
    engine: &mut Engine,
    input: Input<'_>,
    logits: &Tensor,
    classes: usize,
) -> Result<()> {
    let Some(index) = logits.data().iter().position(|value| !value.is_finite()) else {
        return Ok(());
    };
    let mut first = None;
    engine.run_observed(input, &mut |node, values| {
        let found = values.iter().find(|value| !value.is_finite());
        first = first.or(found.map(|&value| (node, value)));
        Ok(())
    })?;
    let graph = engine.model().graph();
    let logit = logits.data()[index];
    let (layer, value) = match first {
        Some((node, value)) => (&graph.node(node).name, value),
        None => (&graph.outputs()[0].name, logit),
    };
    let classes = classes.max(1);
    Err(Error::not_finite(
        layer,
        format!(
            "its output has the value {value}, so the logit of class {} for picture {} of the batch is \
             {logit}; check the weights, which may be those of a training run that diverged, and the \
             preprocessing",
            index % classes,
            index / classes
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;
    use crate::nn::Sequential;
    use crate::ops::{AdaptiveAvgPool2d, Conv2d, Flatten, Softmax};
    use crate::runtime::{Options, compile};

    /// Returns the logits of a convolutional head for two pictures.
    fn logits(then: impl Fn(Sequential) -> Sequential) -> Result<Tensor> {
        let net = Sequential::new().then(Conv2d::new(3, 4, 3)).then(AdaptiveAvgPool2d::new([1, 1]));
        let mut model = Architecture::trace(&then(net))?.init(1);
        let weight = (0..4 * 3 * 9).map(|i| (i * 37 % 19) as f32 / 4.0 - 2.0).collect();
        let mut parameters = model.parameters().clone();
        let id = model.graph().find("0").unwrap();
        let weight = Tensor::new([4, 3, 3, 3], weight)?;
        parameters.insert((id, crate::ops::Role::Weight), weight.into());
        model = crate::FloatModel::new(model.graph().clone(), parameters)?;
        let x = (0..2 * 3 * 25).map(|i| (i * 7 % 23) as f32 / 23.0).collect();
        let x = Tensor::new([2, 3, 5, 5], x)?;
        run(&mut compile(&model, Options::new(1)?)?, (&x).into())
    }

    #[test]
    fn outputs_of_every_kind_of_head_become_logits_with_the_same_probabilities() {
        let plain = logits(|net| net.then(Flatten)).unwrap();
        assert_eq!(plain.shape(), [2, 4]);
        assert_eq!(logits(|net| net).unwrap(), plain);
        for found in [
            logits(|net| net.then(Softmax::new(1))).unwrap(),
            logits(|net| net.then(Flatten).then(Softmax::new(1))).unwrap(),
            logits(|net| net.then(Softmax::new(1)).then(Flatten)).unwrap(),
        ] {
            assert_eq!(found.shape(), [2, 4]);
            for (found, plain) in found.data().chunks(4).zip(plain.data().chunks(4)) {
                let [found, plain] = [found, plain].map(crate::metrics::softmax);
                assert!(plain.iter().all(|&p| (0.001..0.99).contains(&p)), "{plain:?}");
                for (found, plain) in found.iter().zip(plain) {
                    assert!((found - plain).abs() < 1e-5, "{found} {plain}");
                }
            }
        }
    }

    #[test]
    fn other_shapes_are_errors() {
        let head = |net: Sequential| net.then(AdaptiveAvgPool2d::new([2, 2]));
        let error = logits(head).unwrap_err().to_string();
        assert!(error.contains("expected [N, C], found [2, 4, 2, 2]"), "{error}");
    }
}
