//! Times two models alternately, and computes the ratio of their times.

use std::fmt;

use posterize::runtime::{Engine, Input};
use serde::Serialize;

use super::times::Times;
use crate::{error::Result, timing, ui::Ui};

/// Number of timed runs in a turn. Their median is the time of the turn.
const RUNS_PER_TURN: u32 = 5;
/// With fewer turns, the quartiles of the ratios would say little.
const MIN_TURNS: u32 = 5;

/// A model timed alternately with another.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) other: Times,
    /// The first model's time divided by the other's, for each pair of turns.
    pub(crate) ratio: Ratio,
}

/// Statistics of the ratios of two models' times.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) lower_quartile: f64,
    pub(crate) upper_quartile: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) pairs: usize,
}

/// Times both engines alternately, of which the second is called `other`. Returns the times
/// of the first in milliseconds per picture, and the comparison.
pub(crate) fn compare(
    engines: &mut [Engine; 2],
    inputs: &[Input<'_>; 2],
    (other, precision): (&str, &'static str),
    runs: u32,
    ui: &Ui,
) -> Result<(Vec<f64>, Comparison)> {
    let turns = (runs / RUNS_PER_TURN).max(MIN_TURNS);
    let mut times = timing::times_in_turns(engines, inputs, turns, RUNS_PER_TURN, ui)?;
    let ratio = Ratio::new(&times[0], &times[1]);
    let others = times.pop().unwrap_or_default();
    let own = times.pop().unwrap_or_default();
    Ok((own, Comparison { other: Times::new(other, precision, others), ratio }))
}

impl Ratio {
    fn new(own: &[f64], others: &[f64]) -> Self {
        let runs = RUNS_PER_TURN as usize;
        let turns = own.chunks(runs).zip(others.chunks(runs));
        let median = |turn: &[f64]| timing::percentile(&mut turn.to_vec(), 0.5);
        let mut ratios: Vec<f64> = turns.map(|(own, other)| median(own) / median(other)).collect();
        let mut at = |share| timing::percentile(&mut ratios, share);
        let (median, lower_quartile, upper_quartile) = (at(0.5), at(0.25), at(0.75));
        let (min, max) = (at(0.0), at(1.0));
        Self { median, lower_quartile, upper_quartile, min, max, pairs: ratios.len() }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ratio { median, lower_quartile, upper_quartile, min, max, pairs } = &self.ratio;
        write!(
            f,
            "{median:.3} times as long as {} ({}): median of {pairs} pairs of alternating \
             measurements; quartiles {lower_quartile:.3} and {upper_quartile:.3}, minimum {min:.3}, \
             maximum {max:.3}",
            self.other.model, self.other.precision
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Ratio;

    #[test]
    fn ratios_are_taken_between_medians_of_turns() {
        // Turns of five runs. The outlier of 9 does not change the median of its turn.
        let own = [1.0, 1.0, 1.0, 1.0, 9.0, 3.0, 3.0, 3.0, 3.0, 3.0];
        let others = [2.0, 2.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0];
        let expected = Ratio {
            median: 0.5,
            lower_quartile: 0.5,
            upper_quartile: 0.75,
            min: 0.5,
            max: 0.75,
            pairs: 2,
        };
        assert_eq!(Ratio::new(&own, &others), expected);
    }
}
