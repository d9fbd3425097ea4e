//! Counts of values in bins that do not depend on the values, and ranges that are chosen from them.

use posterize_kernels::Pool;
use serde::{Deserialize, Serialize};

use super::entropy::{self, least_divergent_part};
use super::error::ObserveError;
use super::extremes::PARALLEL;
use super::range::Range;
use crate::quantization::qparams::QuantizationTarget;

/// The number of bins: one for each sign, exponent and the upper 7 bits of the fraction of an f32.
const BINS: usize = 1 << 16;

/// Counts of values with the same upper 16 bits, a histogram whose bins are 1/128 to 1/256 of their
/// values wide.
///
/// Unlike bins between the smallest and the largest value, they need not be moved when a batch has a
/// larger value, so counts are exact, do not depend on the order or the size of batches, and can be
/// added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "SavedCounts", try_from = "SavedCounts")]
pub(super) struct Counts {
    counts: Vec<u64>,
    /// The smallest and the largest value; `None` without data.
    pub(super) range: Option<Range>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { counts: vec![0; BINS], range: None }
    }
}

impl Counts {
    /// Adds the values of a batch, which is not empty.
    pub(super) fn update(&mut self, pool: &Pool, values: &[f32]) -> Result<(), ObserveError> {
        let Some(found) = Range::of_on(pool, values)? else { return Ok(()) };
        self.range = Some(self.range.map_or(Ok(found), |old| old.union(found).checked())?);
        let parts = if values.len() > PARALLEL { pool.threads() } else { 1 };
        let part = values.len().div_ceil(parts);
        let counted = pool.map(parts, &|index| {
            let start = (index * part).min(values.len());
            count(&values[start..values.len().min(start + part)])
        });
        for part in counted {
            for (sum, count) in self.counts.iter_mut().zip(part) {
                *sum += count;
            }
        }
        Ok(())
    }

    /// Adds the counts of another observer.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), ObserveError> {
        let Some(range) = other.range else { return Ok(()) };
        self.range = Some(self.range.map_or(Ok(range), |old| old.union(range).checked())?);
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        Ok(())
    }

    /// Returns the bins that have values, from the smallest to the largest: the edges and the count.
    fn bins(&self) -> impl DoubleEndedIterator<Item = Bin> {
        let negative = (BINS / 2..BINS).rev();
        negative.chain(0..BINS / 2).filter(|&bin| self.counts[bin] > 0).map(|bin| {
            let edge = |bin: usize| f32::from_bits((bin as u32) << 16);
            let (inner, outer) = (edge(bin), edge(bin + 1).abs().min(f32::MAX));
            let outer = if bin + 1 == BINS { f32::MAX } else { outer };
            let [low, high] = if bin < BINS / 2 { [inner, outer] } else { [-outer, inner] };
            Bin { low, high, count: self.counts[bin] as f64 }
        })
    }

    /// Returns the range without the part `1 − percentile` of the values at either end; `None` without
    /// data.
    ///
    /// Values within a bin count as distributed uniformly.
    pub(super) fn percentile(&self, percentile: f64) -> Option<Range> {
        let range = self.range?;
        let total: f64 = self.bins().map(|bin| bin.count).sum();
        let cut = (1.0 - percentile) * total;
        let at = |bin: Bin, below: f64| {
            let part = ((cut - below) / bin.count).clamp(0.0, 1.0) as f32;
            (bin, part)
        };
        let find = |bins: &mut dyn Iterator<Item = Bin>| {
            let mut below = 0.0;
            for bin in bins {
                if below + bin.count > cut {
                    return Some(at(bin, below));
                }
                below += bin.count;
            }
            None
        };
        let (low, low_part) = find(&mut self.bins())?;
        let (high, high_part) = find(&mut self.bins().rev())?;
        let min = low.low + low_part * (low.high - low.low);
        let max = high.high - high_part * (high.high - high.low);
        let min = min.clamp(range.min, range.max);
        Some(Range { min, max: max.clamp(min, range.max) })
    }

    /// Returns the range with the smallest expected squared error of the values that are quantized with
    /// it; `None` without data.
    ///
    /// Each end in turn is moved inwards in steps of 1/128 of its distance to 0.
    pub(super) fn min_error(&self, target: &QuantizationTarget) -> Option<Range> {
        let range = self.range?;
        let bins: Vec<Bin> = self.bins().collect();
        let error = |range: Range| {
            let qparams = target.calculate_qparams(range.min, range.max);
            let (quant_min, quant_max) = target.quant_range();
            let low = qparams.dequantize(quant_min);
            let high = qparams.dequantize(quant_max);
            bins.iter().map(|bin| bin.error(qparams.scale, low, high)).sum::<f64>()
        };
        let mut best = Range { min: range.min.min(0.0), max: range.max.max(0.0) };
        let mut smallest = error(best);
        for _ in 0..2 {
            let whole = best;
            for step in 1..STEPS {
                let factor = 1.0 - step as f32 / STEPS as f32;
                for narrowed in [
                    Range { max: range.max.max(0.0) * factor, ..whole },
                    Range { min: range.min.min(0.0) * factor, ..whole },
                ] {
                    let found = error(narrowed);
                    if found < smallest {
                        (best, smallest) = (narrowed, found);
                    }
                }
            }
        }
        Some(best)
    }

    /// Returns the range with the smallest Kullback-Leibler divergence; `None` without data.
    pub(super) fn least_divergent(&self) -> Option<Range> {
        let range = self.range?;
        let end = range.max.max(-range.min);
        let width = 2.0 * f64::from(end) / entropy::BINS as f64;
        let [low, high] = least_divergent_part(&self.linear(end), entropy::LEVELS)
            .map(|edge| (edge as f64 * width - f64::from(end)) as f32);
        Some(Range { min: low.max(range.min), max: high.min(range.max) })
    }

    /// Returns a histogram of equally wide bins from `−end` to `end`. Values within a bin count as
    /// distributed uniformly.
    fn linear(&self, end: f32) -> Vec<u64> {
        let end = f64::from(end);
        let at = |x: f32| (f64::from(x) + end) / (2.0 * end) * entropy::BINS as f64;
        let mut counts = vec![0.0; entropy::BINS];
        for bin in self.bins() {
            // The values of the outermost bins end at `end`.
            let [low, high] = [bin.low, bin.high].map(|x| at(x).clamp(0.0, entropy::BINS as f64));
            let first = (low as usize).min(entropy::BINS - 1);
            let last = (high as usize).min(entropy::BINS - 1);
            if high <= low {
                counts[first] += bin.count;
                continue;
            }
            for (place, count) in counts.iter_mut().enumerate().take(last + 1).skip(first) {
                let inside = high.min(place as f64 + 1.0) - low.max(place as f64);
                *count += bin.count * inside / (high - low);
            }
        }
        // Rounds the sums up to each bin, so that the whole keeps its number of values.
        let mut sum = 0.0;
        let mut before = 0;
        let rounded = counts.into_iter().map(|count| {
            sum += count;
            let up_to = (sum + 0.5) as u64;
            up_to - std::mem::replace(&mut before, up_to)
        });
        rounded.collect()
    }

    /// Returns whether statistics, which may come from a file, fit together.
    pub(super) fn is_valid(&self) -> bool {
        self.range.is_some() == self.counts.iter().any(|&count| count > 0)
    }
}

/// The number of steps from an end of the range to 0.
const STEPS: usize = 128;

/// A bin from `low` to `high`, and the number of its values.
#[derive(Clone, Copy)]
struct Bin {
    low: f32,
    high: f32,
    count: f64,
}

impl Bin {
    /// Returns the sum of the squared errors of its values, which are rounded to multiples of `scale`
    /// from `low` to `high`.
    fn error(self, scale: f32, low: f32, high: f32) -> f64 {
        let middle = 0.5 * (self.low + self.high);
        let error = if middle < low {
            f64::from(low - middle).powi(2)
        } else if middle > high {
            f64::from(middle - high).powi(2)
        } else if self.high - self.low < 0.125 * scale {
            f64::from(middle - round_ties_even(middle / scale) * scale).powi(2)
        } else {
            // Uniformly distributed over steps.
            f64::from(scale).powi(2) / 12.0
        };
        error * self.count
    }
}

/// Rounds a number whose magnitude is below 2²². Unlike the function of the standard library, it needs no
/// call on processors without SSE4.1.
fn round_ties_even(x: f32) -> f32 {
    const MAGIC: f32 = 1.5 * (1 << 23) as f32;
    debug_assert!(x.abs() < (1 << 22) as f32);
    (x + MAGIC) - MAGIC
}

/// Counts values by their upper 16 bits.
fn count(values: &[f32]) -> Vec<u64> {
    // Equal values that follow each other would wait for one counter.
    let mut counts = [vec![0u32; BINS], vec![0u32; BINS]];
    let mut sums = vec![0u64; BINS];
    for part in values.chunks(u32::MAX as usize) {
        let [even, odd] = &mut counts;
        let (pairs, rest) = part.as_chunks::<2>();
        let bin = |x: f32| (x.to_bits() >> 16) as usize;
        for &[a, b] in pairs {
            even[bin(a)] += 1;
            odd[bin(b)] += 1;
        }
        for &x in rest {
            even[bin(x)] += 1;
        }
        for (index, sum) in sums.iter_mut().enumerate() {
            *sum += u64::from(std::mem::take(&mut even[index]));
            *sum += u64::from(std::mem::take(&mut odd[index]));
        }
    }
    sums
}

/// The serialized form: only the bins that have values.
#[derive(Serialize, Deserialize)]
struct SavedCounts {
    bins: Vec<(u16, u64)>,
    range: Option<Range>,
}

impl From<Counts> for SavedCounts {
    fn from(counts: Counts) -> Self {
        let bins = counts.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        Self { bins: bins.map(|(bin, &count)| (bin as u16, count)).collect(), range: counts.range }
    }
}

impl TryFrom<SavedCounts> for Counts {
    type Error = String;

    fn try_from(saved: SavedCounts) -> Result<Self, String> {
        let mut counts = Self { range: saved.range, ..Self::default() };
        let mut total = 0u64;
        for (bin, count) in saved.bins {
            total = total.checked_add(count).ok_or("the counts of an observer overflow")?;
            counts.counts[usize::from(bin)] = count;
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantization::{Dtype, QScheme};

    fn counts(batches: &[&[f32]]) -> Counts {
        let mut counts = Counts::default();
        for batch in batches {
            counts.update(&Pool::new(2), batch).unwrap();
        }
        counts
    }

    /// A bell curve of numbers that look random, with a few far away.
    fn values() -> Vec<f32> {
        let mut values: Vec<f32> = (0..200_000u32)
            .map(|i| {
                let part = |shift: u32| (i.wrapping_mul(2_654_435_761) >> shift & 0xff) as f32;
                (part(0) + part(8) + part(16) + part(24)) / 256.0 - 1.9
            })
            .collect();
        values.extend([-30.0, -8.0, 11.0, 60.0]);
        values
    }

    #[test]
    fn counts_do_not_depend_on_the_batches() {
        let values = values();
        let at_once = counts(&[&values]);
        assert_eq!(counts(&[&values[..7], &values[7..150_000], &values[150_000..]]), at_once);
        assert_eq!(at_once.bins().map(|bin| bin.count).sum::<f64>(), values.len() as f64);
        for (bin, next) in at_once.bins().zip(at_once.bins().skip(1)) {
            assert!(bin.low < bin.high && bin.high <= next.low);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values_up_to_the_width_of_a_bin() {
        let values = values();
        let counts = counts(&[&values]);
        let mut sorted = values;
        sorted.sort_by(f32::total_cmp);
        for percentile in [0.6, 0.9, 0.99, 0.999, 0.9999] {
            // What `torch.quantile` returns without interpolation.
            let at = ((sorted.len() - 1) as f64 * percentile).round() as usize;
            let expected = [sorted[sorted.len() - 1 - at], sorted[at]];
            let found = counts.percentile(percentile).unwrap();
            for (found, expected) in [found.min, found.max].into_iter().zip(expected) {
                let error = (found - expected).abs();
                assert!(error <= expected.abs() / 100.0 + 1e-3, "{found}, {expected}");
            }
        }
        assert_eq!(counts.percentile(1.0), Some(Range { min: -30.0, max: 60.0 }));
    }

    #[test]
    fn the_chosen_range_has_a_smaller_error_than_the_whole_one_and_its_neighbors() {
        let values = values();
        let target =
            QuantizationTarget::new(Dtype::Quint8, QScheme::PerTensorAffine, None, false, 1e-9);
        let target = target.unwrap();
        let error = |range: Range| {
            let qparams = target.calculate_qparams(range.min, range.max);
            let of = |x: &f32| {
                let rounded = qparams.dequantize(qparams.quantize(*x, Dtype::Quint8));
                f64::from(x - rounded).powi(2)
            };
            values.iter().map(of).sum::<f64>()
        };
        let found = counts(&[&values]).min_error(&target).unwrap();
        let smallest = error(found);
        assert!(smallest < 0.8 * error(Range { min: -30.0, max: 60.0 }), "{found:?}");
        for factor in [0.8, 1.25] {
            for neighbor in [
                Range { max: found.max * factor, ..found },
                Range { min: found.min * factor, ..found },
            ] {
                // The error of a bin is that of its middle, and ends are found in steps.
                assert!(smallest < 1.02 * error(neighbor), "{found:?}, {neighbor:?}");
            }
        }
    }
}
