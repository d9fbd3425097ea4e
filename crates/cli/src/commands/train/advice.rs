//! Advice for a training run that does not seem to learn.

use posterize::training::{Stagnation, TrainOptions};

use crate::ui::percent;

/// Describes the problem, and says what to try.
pub(super) fn advice(problem: Stagnation, options: &TrainOptions) -> String {
    let lr = options.lr;
    let more =
        if options.batches.is_some() { "more --epochs or --batches all" } else { "more --epochs" };
    match problem {
        Stagnation::Flat { first, last } => format!(
            "the training loss does not fall: {first:.4} at the beginning, {last:.4} at the end; try a \
             higher learning rate (--lr {}, it is {lr}), --optimizer adamw, or {more}",
            times(lr, 10.0)
        ),
        Stagnation::Rising { first, last } => format!(
            "the training loss rises: {first:.4} at the beginning, {last:.4} at the end; try a lower \
             learning rate (--lr {}, it is {lr}), --warmup 20, or --clip 5",
            times(lr, 0.1)
        ),
        Stagnation::Guessing { top1, chance } => format!(
            "the best validation top-1 is {}, hardly more than the {} of guessing; try another learning \
             rate (--lr {} or {}, it is {lr}), --weights of a trained model, or {more}, and check that the \
             folders of --data and --val are the same classes",
            percent(top1),
            percent(chance),
            times(lr, 10.0),
            times(lr, 0.1)
        ),
    }
}

/// Returns the product with two significant digits.
fn times(lr: f64, factor: f64) -> f64 {
    let product = format!("{:.1e}", lr * factor);
    product.parse().expect("a formatted number is a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_options_to_change() {
        let options = TrainOptions { lr: 3e-4, batches: Some(20), ..TrainOptions::default() };
        let flat = advice(Stagnation::Flat { first: 2.31, last: 2.3 }, &options);
        assert!(
            flat.contains("--lr 0.003, it is 0.0003") && flat.contains("--batches all"),
            "{flat}"
        );
        let options = TrainOptions { batches: None, ..options };
        let rising = advice(Stagnation::Rising { first: 2.31, last: 3.3 }, &options);
        assert!(rising.contains("--lr 0.00003, it is"), "{rising}");
        let guessing = advice(Stagnation::Guessing { top1: 12.5, chance: 10.0 }, &options);
        assert!(guessing.contains("12.50 %") && guessing.contains("10.00 %"), "{guessing}");
        assert!(!guessing.contains("--batches all"), "{guessing}");
    }
}
