//! How often each of two networks is right on the same pictures.

use serde::Serialize;

use super::proportion::{Interval, Z};

/// Which of two networks is right about a picture.
///
/// ```
/// use posterize::report::Outcome;
/// assert_eq!(Outcome::of(3, 3, 3), Outcome::Both);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Only the float network is right.
    OnlyFloat,
    /// Only the int8 network is right.
    OnlyInt8,
    /// Neither is right.
    Neither,
    /// Both are right.
    Both,
}

impl Outcome {
    /// Returns the outcome of two predicted classes for a picture of class `label`.
    ///
    /// ```
    /// use posterize::report::Outcome;
    /// assert_eq!(Outcome::of(3, 5, 3), Outcome::OnlyFloat);
    /// ```
    pub fn of(float: usize, int8: usize, label: usize) -> Self {
        match (float == label, int8 == label) {
            (true, true) => Self::Both,
            (true, false) => Self::OnlyFloat,
            (false, true) => Self::OnlyInt8,
            (false, false) => Self::Neither,
        }
    }
}

/// The numbers of pictures with each [`Outcome`].
///
/// ```
/// use posterize::report::Outcomes;
///
/// let outcomes = Outcomes { both: 820, only_float: 25, only_int8: 11, neither: 144 };
/// assert!((outcomes.difference() - 0.014).abs() < 1e-12);
/// // 36 pictures are too uneven for chance.
/// assert!(outcomes.p_value() < 0.05);
/// let interval = outcomes.difference_interval();
/// assert!(interval.low > 0.0 && interval.high < 0.026);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// Number of pictures about which both networks are right.
    pub both: usize,
    /// Number of pictures about which only the float network is right.
    pub only_float: usize,
    /// Number of pictures about which only the int8 network is right.
    pub only_int8: usize,
    /// Number of pictures about which neither is right.
    pub neither: usize,
}

impl Outcomes {
    /// Counts a picture.
    pub fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Both => &mut self.both,
            Outcome::OnlyFloat => &mut self.only_float,
            Outcome::OnlyInt8 => &mut self.only_int8,
            Outcome::Neither => &mut self.neither,
        } += 1;
    }

    /// Returns the number of pictures.
    pub fn images(&self) -> usize {
        self.both + self.only_float + self.only_int8 + self.neither
    }

    /// Returns the float network's top-1 accuracy minus that of the int8 network, from -1 to 1; 0
    /// without pictures.
    pub fn difference(&self) -> f64 {
        (self.only_float as f64 - self.only_int8 as f64) / self.images().max(1) as f64
    }

    /// Computes the 95 % confidence interval of [`Self::difference`].
    ///
    /// It is Wald's interval for matched pairs, after half a picture was added to each of the four
    /// numbers; with `b` and `c` the numbers of pictures about which only one network is right, and `n`
    /// all pictures, each with these additions:
    ///
    /// `(b − c) / n ± 1.96 · sqrt(b + c − (b − c)² / n) / n`
    ///
    /// Source: Agresti and Min 2005, [Simple improved confidence intervals for comparing matched
    /// proportions](https://doi.org/10.1002/sim.1781).
    pub fn difference_interval(&self) -> Interval {
        let n = self.images() as f64 + 2.0;
        let (b, c) = (self.only_float as f64 + 0.5, self.only_int8 as f64 + 0.5);
        let center = (b - c) / n;
        let half = Z * (b + c - (b - c).powi(2) / n).sqrt() / n;
        Interval { low: (center - half).max(-1.0), high: (center + half).min(1.0) }
    }

    /// Computes the p-value of McNemar's test: the probability of numbers of pictures about which only
    /// one network is right that are at least this uneven, if both networks were equally accurate.
    ///
    /// It is the exact two-sided test, whatever the number of pictures: with `n` such pictures, and `k`
    /// the smaller of the two numbers, `min(1, 2 · Σ C(n, i) / 2ⁿ)` over `i` from 0 to `k`. This is
    /// `mcnemar(…, exact=True)` in statsmodels.
    ///
    /// Source: McNemar 1947, [Note on the sampling error of the difference between correlated
    /// proportions or percentages](https://doi.org/10.1007/BF02295996).
    pub fn p_value(&self) -> f64 {
        let n = self.only_float + self.only_int8;
        let k = self.only_float.min(self.only_int8);
        // The logarithm of C(n, i) / 2ⁿ, which would be 0 in f64 for n above 1,074.
        let mut log = -(n as f64) * std::f64::consts::LN_2;
        let mut sum = log.exp();
        for i in 1..=k {
            log += ((n - i + 1) as f64 / i as f64).ln();
            sum += log.exp();
        }
        (2.0 * sum).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(only_float: usize, only_int8: usize, images: usize) -> Outcomes {
        Outcomes { only_float, only_int8, both: images - only_float - only_int8, neither: 0 }
    }

    #[test]
    fn p_values_equal_those_of_statsmodels() {
        // `mcnemar([[10, b], [c, 3]], exact=True)` of statsmodels 0.15.
        for (b, c, expected) in [
            (1, 0, 1.0),
            (12, 10, 0.831_811_904_907_226_6),
            (25, 11, 0.028_816_719_655_878_845),
            (5, 0, 0.0625),
            (7, 7, 1.0),
            (3000, 2800, 0.008_969_436_001_193_57),
            (400, 200, 2.392_577_698_770_859_3e-16),
        ] {
            let found = outcomes(b, c, b + c).p_value();
            assert!((found / expected - 1.0).abs() < 1e-9, "{b}, {c}: {found}");
            assert_eq!(found, outcomes(c, b, b + c).p_value());
        }
        assert_eq!(Outcomes::default().p_value(), 1.0);
    }

    #[test]
    fn intervals_of_differences_equal_those_of_agresti_and_min() {
        // `diffpropci(b, c, n, 0.95)` of Agresti's R code, computed in Python.
        for (b, c, n, low, high) in [
            (12, 10, 1000, -0.007_384_073_149_892_634, 0.011_376_089_117_956_505),
            (25, 11, 1000, 0.002_105_349_725_705_615, 0.025_838_762_050_741_49),
            (0, 0, 20, -0.089_089_272_024_547_92, 0.089_089_272_024_547_92),
            (5, 0, 5, 0.277_945_247_706_086_3, 1.0),
        ] {
            let found = outcomes(b, c, n).difference_interval();
            assert!((found.low - low).abs() < 1e-12, "{b}, {c}, {n}: {found:?}");
            assert!((found.high - high).abs() < 1e-12, "{b}, {c}, {n}: {found:?}");
        }
    }

    #[test]
    fn pictures_are_counted_by_outcome() {
        let mut found = Outcomes::default();
        for (float, int8) in [(1, 1), (1, 0), (0, 1), (0, 2), (1, 1)] {
            found.add(Outcome::of(float, int8, 1));
        }
        assert_eq!(found, Outcomes { both: 2, only_float: 1, only_int8: 1, neither: 1 });
        assert_eq!((found.images(), found.difference()), (5, 0.0));
    }
}
