//! Pictures on which networks are compared, and what the float network makes of them.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::logits;
use crate::metrics;
use crate::model::FloatModel;
use crate::runtime::{Engine, Input, Options, compile};
use crate::tensor::{MemoryFormat, Tensor};

/// How close the outputs of a network are to those of the float network.
///
/// ```
/// use posterize::quantization::OutputQuality;
///
/// let quality = OutputQuality { sqnr_db: 20.0, top1: Some(82.5) };
/// assert_eq!(quality, quality.clone());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OutputQuality {
    /// The signal-to-quantization-noise ratio of the outputs in dB, `10 · log10(Σ x² / Σ (x − x̂)²)`;
    /// infinite (in JSON: null) if they are equal.
    pub sqnr_db: f64,
    /// The percentage of pictures whose class is the one with the largest output; `None` if the first
    /// output is not of shape `[N, C]`.
    pub top1: Option<f64>,
}

/// Batches of pictures, with the outputs of the float network and the classes that count as correct.
pub(in crate::quantization) struct Pictures<'a> {
    batches: &'a [Vec<Tensor>],
    outputs: Vec<Vec<Tensor>>,
    /// The classes of each batch; `None` if the first output is not of shape `[N, C]`.
    classes: Option<Vec<Vec<usize>>>,
    /// Whether the classes are labels, and not those that the float network predicts.
    pub(super) labelled: bool,
    /// The number of pictures.
    pub(super) count: usize,
}

impl<'a> Pictures<'a> {
    /// Runs the float network over the pictures. Without labels, the classes that it predicts count as
    /// correct.
    pub(in crate::quantization) fn new(
        float: &FloatModel,
        batches: &'a [Vec<Tensor>],
        labels: Option<&[usize]>,
        options: Options,
    ) -> Result<Self> {
        let sizes = batches.iter().map(|inputs| inputs.first().map_or(0, |x| x.shape()[0]));
        let sizes: Vec<usize> = sizes.collect();
        let count = sizes.iter().sum();
        if count == 0 {
            return Err(Error::Argument(
                "found no picture to measure the sensitivity on; expected at least one".into(),
            ));
        }
        if let Some(labels) = labels.filter(|labels| labels.len() != count) {
            return Err(Error::Argument(format!(
                "expected a label for each of the {count} pictures, found {}",
                labels.len()
            )));
        }
        let mut engine = compile(float, options)?;
        let outputs = batches.iter().map(|inputs| run_batch(&mut engine, inputs));
        let outputs: Vec<Vec<Tensor>> = outputs.collect::<Result<_>>()?;
        let mut rest = labels.unwrap_or_default();
        let classes = outputs.iter().zip(&sizes).map(|(outputs, &size)| {
            let [_, classes] = logits::shape(outputs.first()?.shape())?;
            if labels.is_some() {
                let (these, others) = rest.split_at(size);
                rest = others;
                return Some(these.to_vec());
            }
            let rows = outputs[0].data().chunks_exact(classes);
            Some(rows.map(|row| metrics::topk(row, 1)[0].0).collect())
        });
        let classes = classes.collect();
        Ok(Self { batches, outputs, classes, labelled: labels.is_some(), count })
    }

    /// Compares the outputs of a network with those of the float network.
    pub(in crate::quantization) fn quality(&self, engine: &mut Engine) -> Result<OutputQuality> {
        let (mut signal, mut noise, mut correct) = (0.0, 0.0, 0);
        for (index, inputs) in self.batches.iter().enumerate() {
            let outputs = run_batch(engine, inputs)?;
            for (x, y) in self.outputs[index].iter().zip(&outputs) {
                metrics::add_noise(&mut signal, &mut noise, x.data(), y.data());
            }
            correct += self.correct(index, &outputs)?;
        }
        let sqnr_db = metrics::sqnr(signal, noise);
        Ok(OutputQuality { sqnr_db, top1: self.top1(correct) })
    }

    /// Returns all batches.
    pub(super) fn batches(&self) -> &[Vec<Tensor>] {
        self.batches
    }

    /// Returns the sum of the squared errors of outputs of that quality.
    pub(super) fn noise(&self, quality: OutputQuality) -> f64 {
        let outputs = self.outputs.iter().flatten().flat_map(Tensor::data);
        let signal: f64 = outputs.map(|&x| f64::from(x).powi(2)).sum();
        signal * 10f64.powf(-quality.sqnr_db / 10.0)
    }

    /// Returns the part of the pictures in percent for which the float network predicts the class.
    pub(super) fn float_top1(&self) -> Result<Option<f64>> {
        let outputs = self.outputs.iter().enumerate();
        let correct = outputs.map(|(index, outputs)| self.correct(index, outputs));
        Ok(self.top1(correct.sum::<Result<usize>>()?))
    }

    /// Returns the number of pictures of a batch for which a network with these outputs predicts the class.
    fn correct(&self, index: usize, outputs: &[Tensor]) -> Result<usize> {
        let Some(classes) = &self.classes else { return Ok(0) };
        let [first] = metrics::correct(&outputs[0], &classes[index], [1])?;
        Ok(first)
    }

    fn top1(&self, correct: usize) -> Option<f64> {
        self.classes.is_some().then(|| 100.0 * correct as f64 / self.count as f64)
    }

    /// Returns the first `pictures`, in batches of at most `batch`.
    pub(super) fn first(&self, pictures: usize, batch: usize) -> Result<Vec<Vec<Tensor>>> {
        first_pictures(self.batches, pictures, batch)
    }
}

/// Returns the first `pictures` of some batches, in batches of at most `batch`.
pub(in crate::quantization) fn first_pictures(
    batches: &[Vec<Tensor>],
    pictures: usize,
    batch: usize,
) -> Result<Vec<Vec<Tensor>>> {
    let mut parts = Vec::new();
    let mut rest = pictures;
    for inputs in batches {
        let size = inputs.first().map_or(0, |x| x.shape()[0]).min(rest);
        for start in (0..size).step_by(batch) {
            let end = size.min(start + batch);
            let part = inputs.iter().map(|input| slice(input, start, end));
            parts.push(part.collect::<Result<Vec<_>>>()?);
        }
        rest -= size;
    }
    Ok(parts)
}

/// Runs a network on a batch, a tensor for every input.
pub(in crate::quantization) fn run_batch(
    engine: &mut Engine,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>> {
    let given: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
    engine.run_all(&given)
}

/// Returns some pictures of a batch.
fn slice(input: &Tensor, start: usize, end: usize) -> Result<Tensor> {
    let mut shape = input.shape().to_vec();
    let picture: usize = shape[1..].iter().product();
    shape[0] = end - start;
    let values = input.data()[start * picture..end * picture].to_vec();
    match (input.format(), &*shape) {
        (MemoryFormat::ChannelsLast, &[n, c, h, w]) => Tensor::channels_last([n, c, h, w], values),
        _ => Tensor::new(shape, values),
    }
}
