//! The predictions of a float and an int8 network on the same pictures.

use std::cmp::Reverse;

use serde::Serialize;

use super::outcomes::{Outcome, Outcomes};
use crate::data::{Batch, BatchImages};
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::metrics;
use crate::runtime::{Engine, Input};

/// Number of classes that are kept of a changed prediction.
const TOP: usize = 3;

/// A class that a network predicts, and its probability.
///
/// ```
/// use posterize::report::TopClass;
/// let TopClass { class, probability } = TopClass { class: 281, probability: 0.5 };
/// assert_eq!(format!("{class}: {:.1} %", 100.0 * probability), "281: 50.0 %");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TopClass {
    /// The number of the class.
    pub class: usize,
    /// Its probability, from 0 to 1: the softmax of the logits.
    pub probability: f64,
}

/// A picture for which the two networks predict different classes.
///
/// ```
/// use posterize::report::{ChangedPrediction, Outcome, TopClass};
///
/// let [right, wrong] = [(3, 0.6), (5, 0.4)].map(|(class, probability)| TopClass { class, probability });
/// let changed = ChangedPrediction {
///     sample: 17,
///     label: 3,
///     outcome: Outcome::OnlyFloat,
///     float: vec![right, wrong],
///     int8: vec![wrong, right],
/// };
/// assert_eq!(Outcome::of(changed.float[0].class, changed.int8[0].class, 3), changed.outcome);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedPrediction {
    /// The index of the picture in its data set.
    pub sample: usize,
    /// The number of its class.
    pub label: usize,
    /// Which network is right.
    pub outcome: Outcome,
    /// The three most probable classes in the float network, most probable first.
    pub float: Vec<TopClass>,
    /// The same in the int8 network.
    pub int8: Vec<TopClass>,
}

/// The accuracy of a float and an int8 network on the same pictures, and the predictions that differ.
///
/// [`compare_predictions`] computes it.
///
/// ```
/// use posterize::report::PredictionComparison;
///
/// /// Returns a line for a table.
/// fn line(found: &PredictionComparison) -> String {
///     let (float, int8) = (found.float.top1(), found.int8.top1());
///     format!("float {float:.2} %, int8 {int8:.2} %, logits {:.1} dB", found.logits_sqnr())
/// }
/// # let _ = line;
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PredictionComparison {
    /// The float network's accuracy.
    pub float: Evaluation,
    /// The int8 network's accuracy.
    pub int8: Evaluation,
    /// Which of them is right how often.
    pub outcomes: Outcomes,
    /// Sum of the squares of the float network's logits.
    pub signal: f64,
    /// Sum of the squares of the differences between the logits of both networks.
    pub noise: f64,
    /// The pictures with different predictions. First those about which only the float network is right,
    /// then those about which only the int8 network is, then those about which neither is; each sorted by
    /// the probability of the prediction that is right, or else of the float network's, highest first.
    pub changed: Vec<ChangedPrediction>,
}

impl PredictionComparison {
    /// Returns the signal-to-quantization-noise ratio of the logits in decibels, as
    /// [`LayerError::sqnr`](crate::LayerError::sqnr).
    pub fn logits_sqnr(&self) -> f64 {
        metrics::sqnr(self.signal, self.noise)
    }
}

/// Runs every batch through both networks and compares their predictions.
///
/// `seen` is called after each batch with the number of pictures so far and the accuracies of both.
///
/// ```
/// use posterize::data::Batch;
/// use posterize::ops::Linear;
/// use posterize::quantization::{QConfig, QConfigMapping};
/// use posterize::report::compare_predictions;
/// use posterize::runtime::{Options, compile};
/// use posterize::{Architecture, Tensor};
///
/// let float = Architecture::trace(&Linear::new(4, 3))?.init(0);
/// let images = Tensor::new([2, 4], vec![-1.0, 0.0, 0.5, 1.0, 1.0, 0.3, 0.2, -1.0])?;
/// let mut observed = float.prepare(&QConfigMapping::global(QConfig::recommended()))?;
/// observed.forward(&images)?;
/// let options = Options::new(1)?;
/// let (mut float, mut int8) = (compile(&float, options)?, compile(&observed.convert()?, options)?);
///
/// let batch = Batch { images, labels: vec![0, 1], indices: vec![0, 1] };
/// let found = compare_predictions(&mut float, &mut int8, [Ok(batch)], &mut |_, _| ())?;
/// assert_eq!(found.outcomes.images(), 2);
/// assert!(found.changed.is_empty() && found.logits_sqnr() > 30.0);
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// Returns an error if a batch cannot be read or run, if a logit is NaN or infinite, if a label is not a
/// class of the networks, if they have different numbers of classes, or if there is no picture.
pub fn compare_predictions<T: BatchImages>(
    float: &mut Engine,
    int8: &mut Engine,
    batches: impl IntoIterator<Item = Result<Batch<T>>>,
    seen: &mut dyn FnMut(&Evaluation, &Evaluation),
) -> Result<PredictionComparison>
where
    for<'a> Input<'a>: From<&'a T>,
{
    let mut found = PredictionComparison {
        float: Evaluation::default(),
        int8: Evaluation::default(),
        outcomes: Outcomes::default(),
        signal: 0.0,
        noise: 0.0,
        changed: Vec::new(),
    };
    for batch in batches {
        let batch = batch?;
        let logits = [found.float.add(float, &batch)?, found.int8.add(int8, &batch)?];
        let [first, second] = &logits;
        if first.shape() != second.shape() {
            return Err(Error::Argument(format!(
                "the float network has {} classes and the int8 one {}; compare with the float network \
                 that the int8 one was made from",
                first.shape()[1],
                second.shape()[1]
            )));
        }
        metrics::add_noise(&mut found.signal, &mut found.noise, first.data(), second.data());
        let classes = first.shape()[1];
        let rows = first.data().chunks_exact(classes).zip(second.data().chunks_exact(classes));
        for (((x, y), &label), &sample) in rows.zip(&batch.labels).zip(&batch.indices) {
            let predicted = [x, y].map(|row| metrics::topk(row, 1)[0].0);
            let outcome = Outcome::of(predicted[0], predicted[1], label);
            found.outcomes.add(outcome);
            if predicted[0] != predicted[1] {
                let [float, int8] = [x, y].map(top);
                found.changed.push(ChangedPrediction { sample, label, outcome, float, int8 });
            }
        }
        seen(&found.float, &found.int8);
    }
    if found.float.images == 0 {
        return Err(Error::Argument(
            "found no picture to evaluate on; expected at least one".into(),
        ));
    }
    found.changed.sort_by_key(|changed| {
        let telling = match changed.outcome {
            Outcome::OnlyInt8 => &changed.int8,
            _ => &changed.float,
        };
        // Probabilities are not negative, so their bits are in the same order.
        (changed.outcome, Reverse(telling[0].probability.to_bits()), changed.sample)
    });
    Ok(found)
}

/// Returns the most probable classes of a row of logits.
fn top(row: &[f32]) -> Vec<TopClass> {
    let probabilities = metrics::softmax(row);
    let class = |(class, _)| TopClass { class, probability: probabilities[class] };
    metrics::topk(row, TOP).into_iter().map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Sequential;
    use crate::ops::Linear;
    use crate::runtime::{Options, compile};
    use crate::{Architecture, Tensor, checkpoint::StateTensor};

    /// A network whose logits are its inputs, multiplied by a factor each.
    fn engine(factors: [f32; 3]) -> Engine {
        let net = Architecture::trace(&Sequential::new().then(Linear::new(3, 3))).unwrap();
        let mut state = net.clone().init(0).state_dict();
        let mut weight = vec![0.0; 9];
        (0..3).for_each(|class| weight[4 * class] = factors[class]);
        let weight = Tensor::new([3, 3], weight).unwrap();
        state.insert("0.weight", StateTensor::Float(weight));
        state.insert("0.bias", StateTensor::Float(Tensor::zeros([3])));
        compile(net.load(&state).unwrap(), Options::new(1).unwrap()).unwrap()
    }

    #[test]
    fn the_most_telling_changes_come_first() {
        let rows = [
            ([2.0, 3.0, 0.0], 0, 10), // from class 1 to class 0, which is right
            ([2.0, 3.0, 0.0], 1, 11), // from class 1, which is right, to class 0
            ([2.0, 3.9, 0.0], 1, 12), // the same, of which the first network is more certain
            ([2.0, 3.0, 0.0], 2, 13), // both are wrong
            ([9.0, 3.0, 0.0], 0, 14), // not changed
        ];
        let batches = rows.chunks(2).map(|rows| {
            let images = rows.iter().flat_map(|row| row.0).collect();
            Ok(Batch {
                images: Tensor::new([rows.len(), 3], images).unwrap(),
                labels: rows.iter().map(|row| row.1).collect(),
                indices: rows.iter().map(|row| row.2).collect(),
            })
        });
        let (mut first, mut second) = (engine([1.0, 1.0, 1.0]), engine([2.0, 1.0, 1.0]));
        let mut accuracies = Vec::new();
        let found = compare_predictions(&mut first, &mut second, batches, &mut |float, int8| {
            accuracies.push((float.correct1, int8.correct1));
        });
        let found = found.unwrap();
        assert_eq!(accuracies, [(1, 1), (2, 1), (3, 2)]);
        let outcomes = Outcomes { both: 1, only_float: 2, only_int8: 1, neither: 1 };
        assert_eq!(found.outcomes, outcomes);
        let samples: Vec<usize> = found.changed.iter().map(|changed| changed.sample).collect();
        assert_eq!(samples, [12, 11, 10, 13]);
        let changed = &found.changed[1];
        assert_eq!((changed.label, changed.outcome), (1, Outcome::OnlyFloat));
        let classes = |top: &[TopClass]| top.iter().map(|top| top.class).collect::<Vec<_>>();
        assert_eq!(
            (classes(&changed.float), classes(&changed.int8)),
            (vec![1, 0, 2], vec![0, 1, 2])
        );
        let expected = 3_f64.exp() / (3_f64.exp() + 2_f64.exp() + 1.0);
        assert!((changed.float[0].probability - expected).abs() < 1e-6);
        // The logits of class 0 are twice as large.
        let noise = 4.0 * 4.0 + 81.0;
        let signal = 3.0 * 13.0 + 4.0 + 3.9_f64.powi(2) + 90.0;
        assert!((found.logits_sqnr() - 10.0 * (signal / noise).log10()).abs() < 1e-5);
    }
}
