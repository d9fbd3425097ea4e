//! The settings of a training run that must not change when it is resumed.

use sha2::{Digest, Sha256};

use super::checkpoint::Settings;
use super::{OptimizerOptions, TrainOptions};
use crate::data::{Loader, Transform};
use crate::model::FloatModel;
use crate::quantization::{QConfigMapping, QatModel};
use crate::short_digest::short_digest;

/// Describes a transform. The default filter and channels are left out, and a square has one number, as it
/// is in checkpoints of versions that had nothing else.
fn transform_text(transform: &Transform) -> String {
    let text = format!("{transform:?}")
        .replace(", interpolation: Bilinear", "")
        .replace(", channels: Rgb", "");
    let crop @ [height, width] = transform.crop();
    let square = format!("crop: {crop:?}");
    if height == width { text.replace(&square, &format!("crop: {height}")) } else { text }
}

/// Describes a qconfig mapping. The default percentile, and outputs that are int8, are left out, as they are in
/// checkpoints of versions that had nothing else.
fn qconfig_text(mapping: &QConfigMapping) -> String {
    format!("{mapping:?}")
        .replace(", percentile: 0.99999", "")
        .replace(", float_outputs: false", "")
}

/// Returns the settings that must not change when the run is resumed.
pub(super) fn settings(
    model: &FloatModel,
    qat: Option<&QatModel>,
    train: &Loader,
    val: &Loader,
    options: &TrainOptions,
) -> Settings {
    let TrainOptions { batch_size, lr, schedule, warmup, loss, clip, seed, .. } = options;
    let distillation = options.distillation.map_or("none".to_owned(), |distillation| {
        format!("{distillation:?} from {}", model.digest())
    });
    let all = |n: Option<usize>| n.map_or("all".to_owned(), |n| n.to_string());
    let qconfig = qat.map(|qat| qconfig_text(qat.mapping()));
    let list = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join(", "));
    // Runs without them have no such settings, as those of earlier versions.
    let optional = [
        ("batch norms re-estimated from", options.reestimate_bn.map(|n| format!("{n} batches"))),
        ("frozen modules", list(options.frozen.iter().map(ToString::to_string).collect())),
        (
            "learning rate factors",
            list(options.lr_factors.iter().map(ToString::to_string).collect()),
        ),
    ];
    let optional = optional.into_iter().filter_map(|(name, text)| Some((name, text?)));
    [
        ("network", model.graph().kind().to_owned()),
        ("qconfig", qconfig.unwrap_or_else(|| "float".into())),
        ("batches", all(options.batches)),
        ("batch size", batch_size.to_string()),
        ("learning rate", lr.to_string()),
        ("schedule", format!("{schedule:?}")),
        ("warm-up", warmup.to_string()),
        ("optimiser", optimizer_text(&options.optimizer)),
        ("label smoothing", loss.label_smoothing.to_string()),
        ("distillation", distillation),
        ("clip", clip.map_or("never".to_owned(), |clip| clip.to_string())),
        ("observers frozen after", options.freeze_observer.to_string()),
        ("batch norms frozen after", options.freeze_bn.to_string()),
        ("seed", seed.to_string()),
        ("training pictures", fingerprint(train)),
        ("augmentation", transform_text(train.transform())),
        ("validation pictures", fingerprint(val)),
        ("preprocessing", transform_text(val.transform())),
    ]
    .into_iter()
    .chain(optional)
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Returns the text of an optimizer's options by which runs are resumed.
fn optimizer_text(options: &OptimizerOptions) -> String {
    match options {
        // Runs of version 1 name the options alone.
        OptimizerOptions::Sgd(options) => format!("{options:?}"),
        other => format!("{other:?}"),
    }
}

/// Returns the number of pictures and a hash of their file names and labels.
fn fingerprint(loader: &Loader) -> String {
    let mut hash = Sha256::new();
    for sample in loader.samples() {
        // Without the folder, which may have been moved.
        let name = sample.path.file_name().unwrap_or_default().as_encoded_bytes();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((sample.label as u64).to_le_bytes());
    }
    format!("{} of {} ({})", loader.len(), loader.samples().len(), short_digest(hash))
}
