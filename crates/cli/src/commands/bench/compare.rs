//! Two networks timed in turns, and the ratios of their times.

use std::fmt;

use posterize::runtime::{Engine, Input};
use serde::Serialize;

use super::times::Times;
use crate::{error::Result, model::Loaded, timing, ui::Ui};

/// Timed runs of each network's turn; a turn counts with their median.
const TURN: u32 = 5;
/// Fewer pairs of turns would have no spread to speak of.
const FEWEST_TURNS: u32 = 5;

#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) other: Times,
    /// The first network's time over the other's, pair by pair.
    ratio: Ratio,
}

#[derive(Debug, PartialEq, Serialize)]
struct Ratio {
    median: f64,
    lower_quartile: f64,
    upper_quartile: f64,
    min: f64,
    max: f64,
    pairs: usize,
}

/// Times both engines in turns, and returns the first one's times, in milliseconds per picture.
pub(super) fn run(
    engines: &mut [Engine; 2],
    inputs: &[Input<'_>; 2],
    other: &Loaded,
    runs: u32,
    ui: &Ui,
) -> Result<(Vec<f64>, Comparison)> {
    let turns = (runs / TURN).max(FEWEST_TURNS);
    let mut times = timing::times_in_turns(engines, inputs, turns, TURN, ui)?;
    let ratio = Ratio::new(&times[0], &times[1]);
    let others = times.pop().unwrap_or_default();
    let own = times.pop().unwrap_or_default();
    Ok((own, Comparison { other: Times::new(other, others), ratio }))
}

impl Ratio {
    fn new(own: &[f64], others: &[f64]) -> Self {
        let turns = own.chunks(TURN as usize).zip(others.chunks(TURN as usize));
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
            "{median:.3} of the time of {} ({}): the median of {pairs} pairs, measured in turns; half \
             of them lie from {lower_quartile:.3} to {upper_quartile:.3}, all from {min:.3} to \
             {max:.3}",
            self.other.model, self.other.precision
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Ratio;

    #[test]
    fn a_pair_is_a_turn_of_each() {
        // Turns of five; the second turn of both was disturbed alike.
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
