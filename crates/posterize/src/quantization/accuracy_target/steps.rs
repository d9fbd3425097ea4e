//! The changes of a recipe that a search tries, in order.

use crate::quantization::{BiasCorrection, Equalization, ObserverSpec, Recipe, Rounding};

/// A part of the recipe that a search may change.
///
/// ```
/// use posterize::quantization::{AccuracyTarget, Varied};
///
/// let target = AccuracyTarget::new(1.0).keep(Varied::Ranges);
/// assert!(!target.varied.contains(&Varied::Ranges));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Varied {
    /// How the ranges of activations are chosen.
    Ranges,
    /// Whether channels are equalized.
    Equalization,
    /// How biases are corrected.
    BiasCorrection,
    /// How weights are rounded.
    Rounding,
}

impl Varied {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Ranges, Self::Equalization, Self::BiasCorrection, Self::Rounding];
}

/// A change of the recipe. It is kept if the network is then better.
pub(super) struct Step {
    pub(super) what: &'static str,
    pub(super) varied: Varied,
    pub(super) change: fn(&mut Recipe),
}

/// The steps, of which each starts from the best recipe so far.
pub(super) const STEPS: [Step; 6] = [
    Step {
        what: "ranges: smallest squared error",
        varied: Varied::Ranges,
        change: |recipe| set_observer(recipe, ObserverSpec::mse()),
    },
    Step {
        what: "ranges: percentile 99.99",
        varied: Varied::Ranges,
        change: |recipe| set_observer(recipe, ObserverSpec::percentile(0.9999)),
    },
    Step {
        what: "equalization",
        varied: Varied::Equalization,
        change: |recipe| recipe.passes.equalization = Equalization::IfBetter,
    },
    Step {
        what: "bias correction",
        varied: Varied::BiasCorrection,
        change: |recipe| recipe.passes.bias_correction = BiasCorrection::Empirical,
    },
    Step {
        what: "rounding: coordinate descent",
        varied: Varied::Rounding,
        change: |recipe| recipe.passes.rounding = Rounding::CoordinateDescent,
    },
    Step {
        what: "rounding: AdaRound",
        varied: Varied::Rounding,
        change: |recipe| recipe.passes.rounding = Rounding::AdaRound,
    },
];

/// Returns the recipe without the passes that the steps may add.
pub(super) fn plain(recipe: &Recipe, varied: &[Varied]) -> Recipe {
    let mut plain = recipe.clone();
    if varied.contains(&Varied::Equalization) {
        plain.passes.equalization = Equalization::Never;
    }
    if varied.contains(&Varied::BiasCorrection) {
        plain.passes.bias_correction = BiasCorrection::None;
    }
    if varied.contains(&Varied::Rounding) {
        plain.passes.rounding = Rounding::Nearest;
    }
    plain
}

/// Sets the observer of activations, with the integers of the one before.
fn set_observer(recipe: &mut Recipe, mut spec: ObserverSpec) {
    let activation = &mut recipe.qconfig.activation;
    spec.quant_range = activation.quant_range;
    spec.reduce_range = activation.reduce_range;
    *activation = spec;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantization::{PostTraining, QConfig};

    #[test]
    fn steps_change_what_they_say_and_keep_the_integers_of_a_preset() {
        let start = Recipe::new(QConfig::default_qconfig(), PostTraining::recommended());
        let start = plain(&start, &Varied::ALL);
        assert_eq!(start.passes, PostTraining::pytorch().float_outputs(true));
        let keeping = plain(&Recipe { passes: PostTraining::recommended(), ..start.clone() }, &[]);
        assert_eq!(keeping.passes, PostTraining::recommended());
        for step in &STEPS {
            let mut recipe = start.clone();
            (step.change)(&mut recipe);
            assert_ne!(recipe, start, "{}", step.what);
            let ranges = recipe.qconfig != start.qconfig;
            assert_eq!(ranges, step.varied == Varied::Ranges, "{}", step.what);
            let range = recipe.qconfig.activation.target().unwrap().quant_range();
            assert_eq!(range, (0, 127), "{}", step.what);
        }
    }
}
