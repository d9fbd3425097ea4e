//! Describes the options of a training run in a sentence.

use std::fmt::Write;

use posterize::training::{Freeze, LrFactor, OptimizerOptions, Schedule, TrainOptions};

/// Describes what a run of epochs of `steps` batches was trained with.
pub(super) fn describe(options: &TrainOptions, steps: usize) -> String {
    let TrainOptions { epochs, batch_size, lr, .. } = options;
    let optimizer = match options.optimizer {
        OptimizerOptions::Sgd(sgd) if sgd.momentum > 0.0 => {
            format!("SGD with momentum {}", sgd.momentum)
        }
        OptimizerOptions::Sgd(_) => "SGD".to_owned(),
        OptimizerOptions::Adam(_) => "Adam".to_owned(),
        OptimizerOptions::AdamW(adamw) => format!("AdamW with weight decay {}", adamw.weight_decay),
        _ => options.optimizer.name().to_owned(),
    };
    let course = match options.schedule {
        Schedule::Constant => "",
        Schedule::Step { .. } => " in steps",
        Schedule::Cosine { .. } => " along a cosine",
    };
    let frozen: Vec<String> = options.frozen.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "{epochs} epochs of {steps} batches of {batch_size}; {optimizer}, learning rate {lr}{course}"
    );
    // Writing to a string cannot fail.
    for LrFactor { modules, factor } in &options.lr_factors {
        let _ = write!(text, ", {factor} times in {modules}");
    }
    if !frozen.is_empty() {
        let _ = write!(text, "; {} frozen", frozen.join(", "));
    }
    match options.freeze_bn {
        Freeze::Never => {}
        Freeze::Start => text += "; statistics of batch norms frozen from the start",
        Freeze::After(epoch) => {
            let _ = write!(text, "; statistics of batch norms frozen after epoch {epoch}");
        }
    }
    if let Some(batches) = options.reestimate_bn {
        let _ = write!(text, "; re-estimated from {batches} batches for validation");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_described() {
        let options = TrainOptions::fine_tuning(["classifier.1"]).unwrap();
        let options = TrainOptions {
            epochs: 3,
            lr: 1e-3,
            frozen: vec!["features.0".parse().unwrap()],
            ..options
        };
        assert_eq!(
            describe(&options, 7),
            "3 epochs of 7 batches of 30; AdamW with weight decay 0.01, learning rate 0.001 along a \
             cosine, 10 times in classifier.1; features.0 frozen; statistics of batch norms frozen from \
             the start"
        );
        assert_eq!(
            describe(&TrainOptions::default(), 20),
            "8 epochs of 20 batches of 30; SGD, learning rate 0.0001; statistics of batch norms frozen \
             after epoch 3"
        );
    }
}
