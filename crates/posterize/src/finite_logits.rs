//! Checks logits for values that are NaN or infinite.

use crate::error::{Error, Result};
use crate::runtime::{Engine, Input};
use crate::tensor::Tensor;

/// Checks that all logits `[N, classes]` of an input are finite. If they are not, the error names the
/// layer that was the first to return such a value.
///
/// # Errors
/// Returns [`Error::NotFinite`] if a logit is NaN or infinite.
pub(crate) fn check_logits(engine: &mut Engine, input: Input<'_>, logits: &Tensor) -> Result<()> {
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
    let classes = logits.shape().last().copied().unwrap_or(1).max(1);
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
