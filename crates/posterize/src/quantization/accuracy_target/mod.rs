//! The search for a recipe whose int8 network loses no more than it may.

mod attempt;
mod steps;

pub use attempt::{Attempt, GivenBack, Half, Measured, SearchEvent, SearchResult};
pub use steps::Varied;

use steps::{STEPS, plain};

use super::calibration_data::CalibrationData;
use super::post_training::PostTrainingResult;
use super::recipe::Recipe;
use super::sensitivity::{Pictures, Ranked, first_pictures, milliseconds, sources_first};
use crate::error::{Error, Result};
use crate::model::FloatModel;
use crate::runtime::{Engine, Options, compile};
use crate::tensor::Tensor;

/// The number of calibration pictures on which layers are ranked.
const RANKING_PICTURES: usize = 60;

/// What an int8 network must reach.
///
/// ```
/// use posterize::quantization::{AccuracyTarget, Varied};
///
/// let target = AccuracyTarget::new(0.5).budget_ms(2.0);
/// assert_eq!(target.varied, Varied::ALL);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AccuracyTarget {
    /// The largest difference between the metric of the float and of the int8 network.
    pub max_drop: f64,
    /// The largest time for one picture in milliseconds; `None` if it does not matter.
    pub budget_ms: Option<f64>,
    /// The parts of the recipe that may be changed.
    pub varied: Vec<Varied>,
}

impl AccuracyTarget {
    /// Creates a target without a limit of the time, for which everything may be changed.
    pub fn new(max_drop: f64) -> Self {
        Self { max_drop, budget_ms: None, varied: Varied::ALL.into() }
    }

    /// Sets the largest time for one picture in milliseconds.
    #[must_use]
    pub fn budget_ms(mut self, budget_ms: impl Into<Option<f64>>) -> Self {
        self.budget_ms = budget_ms.into();
        self
    }

    /// Keeps a part of the recipe as it is.
    #[must_use]
    pub fn keep(mut self, part: Varied) -> Self {
        self.varied.retain(|&varied| varied != part);
        self
    }
}

impl FloatModel {
    /// Quantizes the model so that a metric falls by no more than the target says.
    ///
    /// It starts from a recipe without passes and adds the ranges, equalization, bias correction and rounding,
    /// in this order, each of which is kept if the metric is then higher. If the target is still missed, it ranks
    /// the layers by their [sensitivity](PostTrainingResult::sensitivity) on calibration pictures and gives
    /// back the first ones to float: 1, 2, 4 and so on until the target is met, then as few as meet it. A
    /// network above the budget or, without one, slower than the float network is of no use and ends this.
    /// Layers whose sensitivities differ by less than a decibel are given back in the order of the time
    /// that they cost.
    ///
    /// `metric` runs an engine on a half of the labelled pictures and returns a number that is higher for
    /// better networks, such as the top-1 accuracy in percent. A network that meets the target on
    /// [`Half::Search`] is measured on [`Half::Confirmation`] and must meet it there too. The engines are
    /// compiled with `options`. `event` is called after each attempt.
    ///
    /// Times are measured, so layers of similar sensitivity may be given back in another order the next
    /// time. The recipe repeats the result.
    ///
    /// ```
    /// use posterize::nn::Sequential;
    /// use posterize::ops::{Activation, Flatten, Linear};
    /// use posterize::quantization::{AccuracyTarget, PostTraining, QConfig, Recipe};
    /// use posterize::runtime::{Engine, Options};
    /// use posterize::{Architecture, Tensor};
    ///
    /// let net = Sequential::new().then(Linear::new(4, 8)).then(Activation::ReLU).then(Linear::new(8, 2));
    /// let model = Architecture::trace(&net)?.init(0);
    /// let images = Tensor::new([2, 4], vec![-1.0, 0.0, 0.5, 1.0, 0.2, -0.1, 0.3, 0.9])?;
    /// let expected = model.forward(&images)?;
    ///
    /// // The negative of the mean absolute error.
    /// let mut metric = |engine: &mut Engine, _| {
    ///     let outputs = engine.run(&images)?;
    ///     let errors = outputs.data().iter().zip(expected.data()).map(|(x, y)| f64::from(x - y).abs());
    ///     Ok(-errors.sum::<f64>() / 4.0)
    /// };
    /// let start = Recipe::new(QConfig::recommended(), PostTraining::recommended());
    /// let (target, options) = (AccuracyTarget::new(0.01), Options::new(1)?);
    /// let mut data = vec![images.clone()];
    /// let found =
    ///     model.quantize_to_target(&start, &target, options, &mut data, &mut metric, &mut |_| ())?;
    /// assert!(found.met && found.attempts[found.chosen].drop.search < 0.01);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`Self::quantize`], and the first error of `metric`.
    pub fn quantize_to_target(
        &self,
        start: &Recipe,
        target: &AccuracyTarget,
        options: Options,
        data: &mut dyn CalibrationData,
        metric: &mut dyn FnMut(&mut Engine, Half) -> Result<f64>,
        event: &mut dyn FnMut(SearchEvent<'_>),
    ) -> Result<SearchResult> {
        if !target.max_drop.is_finite() {
            return Err(Error::Argument(format!(
                "the largest drop must be a number, found {}",
                target.max_drop
            )));
        }
        let mut batches = Vec::new();
        let mut pictures = 0;
        for inputs in data.batches("reading pictures") {
            let inputs = inputs?;
            pictures += inputs.first().map_or(0, |input| input.shape()[0]);
            batches.push(inputs);
            if pictures >= RANKING_PICTURES {
                break;
            }
        }
        let Some(one) = first_pictures(&batches, 1, 1)?.pop() else {
            return Err(Error::Argument(
                "found no calibration picture; expected at least one".into(),
            ));
        };
        let fused = self.fuse()?;
        let mut engine = compile(&fused, options)?;
        let float_metric =
            Measured { search: metric(&mut engine, Half::Search)?, confirmation: None };
        let float = Attempt {
            what: "float".into(),
            metric: float_metric,
            drop: Measured { search: 0.0, confirmation: None },
            sqnr_db: f64::INFINITY,
            ms: milliseconds([&mut engine], &one)?[0],
            bytes: fused.graph().nodes().iter().map(|node| node.op.float_bytes()).sum(),
            kept: false,
            met: false,
        };
        let ranking = first_pictures(&batches, RANKING_PICTURES, BATCH)?;
        let mut search = Search {
            pictures: Pictures::new(&fused, &ranking, None, options)?,
            fused: &fused,
            target,
            options,
            data,
            metric,
            event,
            one,
            float_engine: engine,
            float,
            attempts: Vec::new(),
            best: None,
        };
        if !search.change_recipe(start)? {
            search.give_back()?;
        }
        search.finish()
    }
}

/// The number of pictures in a batch when layers are ranked.
const BATCH: usize = 10;

/// The state of a search.
struct Search<'a> {
    fused: &'a FloatModel,
    target: &'a AccuracyTarget,
    options: Options,
    data: &'a mut dyn CalibrationData,
    metric: &'a mut dyn FnMut(&mut Engine, Half) -> Result<f64>,
    event: &'a mut dyn FnMut(SearchEvent<'_>),
    /// A picture on which networks are timed.
    one: Vec<Tensor>,
    /// Some calibration pictures, on which outputs are compared.
    pictures: Pictures<'a>,
    float_engine: Engine,
    float: Attempt,
    attempts: Vec<Attempt>,
    best: Option<Candidate>,
}

/// What an attempt found.
#[derive(Clone, Copy, Debug)]
struct Tried {
    /// Whether the network meets the target.
    met: bool,
    /// Whether it is fast enough.
    in_time: bool,
}

/// The network of an attempt.
struct Candidate {
    attempt: usize,
    in_time: bool,
    recipe: Recipe,
    quantized: PostTrainingResult,
    given_back: Vec<GivenBack>,
}

impl Search<'_> {
    /// Tries the recipe and its changes; returns whether the target is met.
    fn change_recipe(&mut self, start: &Recipe) -> Result<bool> {
        let varied = &self.target.varied;
        let mut recipe = plain(start, varied);
        let mut what = "ranges: as in the qconfig";
        let mut steps = STEPS.iter().filter(|step| varied.contains(&step.varied));
        loop {
            let quantized =
                self.fused.quantize(&recipe.mapping()?, &recipe.passes, self.options, self.data)?;
            // What was decided need not be decided again, and may be what the best network has.
            recipe.passes.equalization = quantized.equalization;
            let known = self.best.as_ref().is_some_and(|best| best.recipe == recipe);
            if !known && self.attempt(what.into(), recipe, quantized, Vec::new())?.met {
                return Ok(true);
            }
            let Some(best) = &self.best else { return Ok(false) };
            let next = steps.find_map(|step| {
                let mut changed = best.recipe.clone();
                (step.change)(&mut changed);
                (changed != best.recipe).then_some((step.what, changed))
            });
            match next {
                Some((next, changed)) => (what, recipe) = (next, changed),
                None => return Ok(false),
            }
        }
    }

    /// Gives back the most sensitive layers of the best network to float.
    fn give_back(&mut self) -> Result<()> {
        let Some(base) = self.best.take() else { return Ok(()) };
        if !base.in_time {
            self.best = Some(base);
            return Ok(());
        }
        let event = &mut *self.event;
        let ranked = base.quantized.rank(&self.pictures, self.options, &mut |done, total| {
            event(SearchEvent::Ranking { done, total });
        })?;
        let ranked = in_order(ranked);
        // A network without any int8 layer is no result.
        let mut counts = Counts { missed: 0, upper: None, most: ranked.len().saturating_sub(1) };
        while let Some(count) = counts.next() {
            let given_back = ranked[..count].to_vec();
            let mut recipe = base.recipe.clone();
            recipe.float_layers.extend(given_back.iter().map(|layer| layer.name.clone()));
            let quantized =
                base.quantized.with_mapping(&recipe.mapping()?, self.options, self.data)?;
            let layers = if count == 1 { "layer" } else { "layers" };
            let what = format!("{count} {layers} in float");
            let tried = self.attempt(what, recipe, quantized, given_back)?;
            if tried.met || !tried.in_time {
                counts.upper = Some(count);
            } else {
                counts.missed = count;
            }
        }
        self.best = match self.best.take() {
            Some(best) if self.attempts[best.attempt].met || self.is_better(&best, &base) => {
                Some(best)
            }
            _ => Some(base),
        };
        Ok(())
    }

    /// Measures a network. It becomes the best one if it meets the target, or if none does and it is better.
    fn attempt(
        &mut self,
        what: String,
        recipe: Recipe,
        quantized: PostTrainingResult,
        given_back: Vec<GivenBack>,
    ) -> Result<Tried> {
        let mut engine = compile(&quantized.model, self.options)?;
        // Both take turns, so that other work on the machine makes both slower.
        let [ms, float_ms] = milliseconds([&mut engine, &mut self.float_engine], &self.one)?;
        self.float.ms = self.float.ms.zip(float_ms).map(|(known, ms)| known.min(ms));
        let search = (self.metric)(&mut engine, Half::Search)?;
        let mut metric = Measured { search, confirmation: None };
        let mut drop = Measured { search: self.float.metric.search - search, confirmation: None };
        let of_recipe = given_back.is_empty();
        let faster = ms.zip(float_ms).is_none_or(|(ms, float)| ms < float);
        // With layers in float, a network that is not faster than the float one is of no use.
        let in_time =
            self.within_budget(ms) && (of_recipe || self.target.budget_ms.is_some() || faster);
        let mut met = in_time && drop.search <= self.target.max_drop;
        if met {
            let float = self.float_confirmation()?;
            let found = (self.metric)(&mut engine, Half::Confirmation)?;
            metric.confirmation = Some(found);
            drop.confirmation = Some(float - found);
            met = float - found <= self.target.max_drop;
        }
        let bytes = quantized.model.bytes();
        let sqnr_db = self.pictures.quality(&mut engine)?.sqnr_db;
        let attempt = self.attempts.len();
        let kept = false;
        self.attempts.push(Attempt { what, metric, drop, sqnr_db, ms, bytes, kept, met });
        let candidate = Candidate { attempt, in_time, recipe, quantized, given_back };
        let better =
            |best: &Candidate| !self.attempts[best.attempt].met && self.is_better(&candidate, best);
        if met || self.best.as_ref().is_none_or(better) {
            self.attempts[attempt].kept = met || of_recipe;
            self.best = Some(candidate);
        }
        (self.event)(SearchEvent::Tried(&self.attempts[attempt]));
        Ok(Tried { met, in_time })
    }

    /// Whether a network is better than another: within the budget, then by the metric on the half of the
    /// search, then by the SQNR of the outputs.
    fn is_better(&self, a: &Candidate, b: &Candidate) -> bool {
        let [x, y] = [a, b].map(|candidate| &self.attempts[candidate.attempt]);
        let (in_time, other_in_time) = (a.in_time, b.in_time);
        let (metric, other) = (x.metric.search, y.metric.search);
        (in_time, metric) > (other_in_time, other)
            || (in_time, metric) == (other_in_time, other) && x.sqnr_db > y.sqnr_db
    }

    fn within_budget(&self, ms: Option<f64>) -> bool {
        let budget = self.target.budget_ms;
        budget.zip(ms).is_none_or(|(budget, ms)| ms <= budget)
    }

    /// Returns the metric of the float network on the half of the confirmation, which is measured once.
    fn float_confirmation(&mut self) -> Result<f64> {
        if let Some(known) = self.float.metric.confirmation {
            return Ok(known);
        }
        let found = (self.metric)(&mut self.float_engine, Half::Confirmation)?;
        self.float.metric.confirmation = Some(found);
        self.float.drop.confirmation = Some(0.0);
        Ok(found)
    }

    fn finish(self) -> Result<SearchResult> {
        let Some(Candidate { attempt, recipe, quantized, given_back, .. }) = self.best else {
            return Err(Error::Argument("the network was not quantized".into()));
        };
        Ok(SearchResult {
            met: self.attempts[attempt].met,
            float: self.float,
            attempts: self.attempts,
            chosen: attempt,
            recipe,
            quantized,
            given_back,
        })
    }
}

/// The numbers of layers to give back: each twice the one before until one is enough or too many, then the
/// middle of those that are still possible.
struct Counts {
    /// The largest number that is known to be too small.
    missed: usize,
    /// The smallest number that is known to be enough, or too many to be fast.
    upper: Option<usize>,
    most: usize,
}

impl Counts {
    fn next(&self) -> Option<usize> {
        let next = match self.upper {
            Some(upper) => self.missed.midpoint(upper),
            None => (2 * self.missed).max(1).min(self.most),
        };
        (next > self.missed).then_some(next)
    }
}

/// Returns the layers in the order in which they are given back: by the decibels of their sensitivity, of
/// equal ones the fastest first; and layers that have the noise of a value after the one that computes it.
fn in_order(mut layers: Vec<Ranked>) -> Vec<GivenBack> {
    layers.sort_by(|a, b| {
        let decibels = |layer: &Ranked| layer.only_int8.sqnr_db.floor();
        let ms = |layer: &Ranked| layer.extra_ms.unwrap_or_default();
        decibels(a).total_cmp(&decibels(b)).then(ms(a).total_cmp(&ms(b)))
    });
    sources_first(&mut layers, |layer| {
        (&layer.name, layer.only_int8.sqnr_db, layer.source.as_deref())
    });
    let given_back = layers.into_iter().map(|layer| GivenBack {
        name: layer.name,
        kind: layer.kind,
        sqnr_db: layer.only_int8.sqnr_db,
        extra_ms: layer.extra_ms,
        extra_bytes: layer.extra_bytes,
    });
    given_back.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_number_of_layers_is_found_in_few_attempts() {
        for most in 0..40 {
            for enough in 1..45 {
                for too_many in [None, Some(7), Some(30)] {
                    let mut counts = Counts { missed: 0, upper: None, most };
                    let (mut met, mut tried) = (None, 0);
                    while let Some(count) = counts.next() {
                        tried += 1;
                        let too_slow = too_many.is_some_and(|limit| count >= limit);
                        if count >= enough && !too_slow {
                            met = Some(count);
                        }
                        if count >= enough || too_slow {
                            counts.upper = Some(count);
                        } else {
                            counts.missed = count;
                        }
                    }
                    let possible = enough <= most && too_many.is_none_or(|limit| enough < limit);
                    assert_eq!(met, possible.then_some(enough), "{most} {enough} {too_many:?}");
                    assert!(tried <= 11, "{tried}");
                }
            }
        }
    }
}
