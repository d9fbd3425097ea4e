//! The steps of the tutorial: headings, explanations and results.

use std::path::Path;

use posterize::{
    FloatModel,
    graph::ModuleTree,
    quantization::{ObservedModel, PostTraining, QConfig, QuantizedModel},
};

use crate::{
    error::Result,
    quantization::starts_quantized,
    ui::{count, percent},
};

use super::block::block;
use super::content::{Channels, Content, Epochs, Figure, Score, Step, Tree};
use super::evaluation_set::EvaluationSet;
use super::training::{Trained, Training};

/// A qconfig that the tutorial shows, and its explanation.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) name: &'static str,
    pub(super) qconfig: fn() -> QConfig,
    pub(super) passes: fn() -> PostTraining,
    heading: &'static str,
    explanation: &'static str,
}

/// The qconfigs, from the simplest to the recommended one.
pub(super) const METHODS: [Method; 3] = [
    Method {
        name: "int8 default",
        qconfig: QConfig::default_qconfig,
        passes: PostTraining::pytorch,
        heading: "Calibrate and convert with one scale for each weight",
        explanation: "Calibration runs pictures through the float network while each observer records \
            the smallest and the largest value of its output. From this range follow the scale and \
            zero point of the output. Conversion then rounds weights to int8 and biases to int32. \
            This is PyTorch's `default` qconfig. It quantizes each weight tensor with a single scale, \
            so output channels with small weights use only a few of the 256 steps. Its activations \
            use 7 of 8 bits.",
    },
    Method {
        name: "int8 fbgemm",
        qconfig: QConfig::fbgemm,
        passes: PostTraining::pytorch,
        heading: "Use one scale for each output channel, and histogram observers",
        explanation: "PyTorch's `fbgemm` qconfig quantizes every output channel of a weight with a \
            scale of its own. Its observers collect histograms of the activations and choose the \
            range with the smallest quantization error, so a few outliers do not make all steps \
            coarse. Activations use 7 of 8 bits here too, because older x86 instructions add two \
            products in 16 bits, which would overflow with 8.",
    },
    Method {
        name: "int8 recommended",
        qconfig: QConfig::recommended,
        passes: PostTraining::recommended,
        heading: "Use all 8 bits, and repair what rounding costs",
        explanation: "posterize's kernels add all products in 32 bits, so activations can use all 8 \
            bits, at the same size and speed. With the `recommended` qconfig, `posterize quantize` also \
            chooses the ranges with the smallest squared error, scales channels so that those of a value \
            have similar ranges if that brings the outputs closer to the float network's, rounds weights \
            up or down so that the outputs of their layer are close, and corrects biases so that the mean \
            of each channel is that of the float network.",
    },
];

/// Returns the sentences before the first step: the weights and pictures that are used.
pub(super) fn facts(
    weights: &Path,
    evaluated: &EvaluationSet,
    calibration: String,
    embedded: bool,
) -> Vec<String> {
    let all = evaluated.folder.len();
    let name = &evaluated.name;
    let pictures = if evaluated.count < all {
        format!("the first {} of {}", count(evaluated.count as u64), count(all as u64))
    } else {
        format!("all {}", count(all as u64))
    };
    let mut facts = vec![
        format!("Weights: {}.", weights.display()),
        format!("Evaluation: {pictures} pictures of {name}."),
        calibration,
    ];
    if embedded {
        facts.push(
            "The weights and pictures are built into the program: a small MobileNetV2, and a part of \
             Fashion-MNIST, pictures of 28 × 28 pixels of ten kinds of clothing (© 2017 Zalando SE, \
             MIT licence)."
                .into(),
        );
    }
    facts
}

/// Explains fusion, and prints a block before and after it.
pub(super) fn fusion(before: &FloatModel, after: &FloatModel) -> Result<Step> {
    let path = block(before.graph());
    let [from, to] = [before, after].map(|model| model.graph().nodes().len() - 1);
    Ok(Step {
        heading: "Fuse".into(),
        explanation:
            "In a trained network, a batch norm multiplies each channel by a constant and adds \
            another one. So it can be folded into the weights of the convolution before it, and ReLU \
            or ReLU6 becomes a clamp of the result: one kernel instead of three, without rounding in \
            between."
                .into(),
        trees: vec![
            tree(path, "before fusion", &before.module(path)?),
            tree(path, "after fusion", &after.module(path)?),
        ],
        figure: None,
        findings: vec![format!("{from} operators before fusion, {to} after.")],
    })
}

/// Explains the float baseline.
pub(super) fn baseline(score: &Score) -> Step {
    Step {
        heading: "Measure the float network".into(),
        explanation:
            "The accuracy of the fused float network is the baseline for int8. Its time is measured \
            at the end, together with the others."
                .into(),
        trees: Vec::new(),
        figure: None,
        findings: vec![measurements(score)],
    }
}

/// Explains observers, and prints a block with them.
pub(super) fn observers(observed: &ObservedModel) -> Result<Step> {
    let path = block(observed.model().graph());
    let mut findings = vec![format!(
        "{} observers were inserted, also after additions. Quantize and dequantize stubs were placed \
         where values enter and leave int8.",
        observed.observers().count()
    )];
    let in_float: Vec<String> = observed
        .float_layers()
        .into_iter()
        .map(|layer| format!("{} ({}): {}", layer.name, layer.kind, layer.reason))
        .collect();
    if !in_float.is_empty() {
        findings.push(format!("Layers that stay in float: {}.", in_float.join("; ")));
    }
    Ok(Step {
        heading: "Insert observers".into(),
        explanation:
            "Quantization divides a range of values into 256 steps, so the range of each activation \
            must be known. An observer on every output that will be int8 records its values and does \
            not change them."
                .into(),
        trees: vec![tree(
            path,
            "with observers, before calibration",
            &observed.module(path)?,
        )],
        figure: None,
        findings,
    })
}

/// Explains a conversion. `fused` is the float network that was converted to `model`, and `float` its
/// score.
pub(super) fn converted(
    method: &Method,
    (fused, float): (&FloatModel, &Score),
    model: &QuantizedModel,
    calibrated_on: usize,
    score: &Score,
) -> Result<Step> {
    let path = block(model.graph());
    let mut findings = vec![
        measurements(score),
        format!(
            "Calibrated on {}. The file is {:.2} times smaller than the float one; top-1 is {}.",
            pictures(calibrated_on),
            float.size_mb / score.size_mb,
            compared_with_float(score.top1, float.top1)
        ),
    ];
    let channels = Channels::worst(fused, model);
    if let Some(channels) = &channels {
        findings.push(describe_channels(channels));
    }
    Ok(Step {
        heading: method.heading.into(),
        explanation: method.explanation.into(),
        trees: vec![tree(path, "after conversion", &model.module(path)?)],
        figure: channels.map(Figure::Channels),
        findings,
    })
}

/// Explains quantization-aware training. `untrained` is the top-1 accuracy that its qconfig had without
/// training.
pub(super) fn trained(
    training: &Training,
    trained: Trained,
    score: &Score,
    float: &Score,
    untrained: Option<f64>,
) -> Step {
    let Trained { tree: (path, fake_quantized), epochs, kept, .. } = trained;
    let last = epochs.last().map_or(0.0, |epoch| epoch.top1);
    let from = untrained.map_or(String::new(), |top1| format!(" from {}", percent(top1)));
    let start = if starts_quantized(&training.qconfig) {
        ", with the channels and the ranges of activations that were found above,"
    } else {
        ""
    };
    Step {
        heading: "Train with fake quantization".into(),
        explanation: format!(
            "Quantization-aware training starts from the float network{start} and inserts `FakeQuantize` \
             modules where values will be int8. They round weights and activations to the steps of \
             the `{}` qconfig in the forward pass, and pass gradients through unchanged, so training \
             adapts the weights to the rounding. Batch norms are folded into the weights before these \
             are rounded. {} After each epoch, the network is converted to int8 and evaluated.",
            training.qconfig,
            training.describe_freezing()
        ),
        trees: vec![tree(&path, "with fake quantization", &fake_quantized)],
        findings: vec![
            training.describe(),
            format!(
                "Top-1 changed{from} to {} after epoch {kept}. This is the best epoch, so its network \
                 is kept (the last one has {}). Its top-1 is {}.",
                percent(score.top1),
                percent(last),
                compared_with_float(score.top1, float.top1)
            ),
            measurements(score),
        ],
        figure: Some(Figure::Epochs(Epochs { rows: epochs, float: float.top1, untrained })),
    }
}

/// Compares a top-1 accuracy with the float network's.
fn compared_with_float(top1: f64, float: f64) -> String {
    let points = top1 - float;
    if points.abs() < 0.005 {
        return "equal to the float network's".into();
    }
    let side = if points < 0.0 { "below" } else { "above" };
    format!("{:.2} points {side} the float network's", points.abs())
}

/// Describes how unequal the channels of a layer with one scale are.
fn describe_channels(channels: &Channels) -> String {
    let Channels { layer, largest, scale, lost } = channels;
    let all = largest.len();
    let (max, min) = (largest.first().unwrap_or(&0.0), largest.last().unwrap_or(&0.0));
    let median = largest.get(all / 2).unwrap_or(&0.0);
    format!(
        "The layer that a single scale serves worst is {layer}: the largest weight of a channel is \
         between {min:.3} and {max:.3} (median {median:.3}), and the step is {scale:.3} for all \
         channels. In {lost} of {all} channels all weights round to zero.",
    )
}

/// Returns remarks on how far the measurements can be trusted.
pub(super) fn caveats(images: usize, skipped: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if images < 300 {
        notes.push(format!(
            "{} are too few to measure accuracy: one picture more or less is {:.2} points. Pass \
             --data DIR with several hundred pictures.",
            pictures(images),
            100.0 / images.max(1) as f64
        ));
    }
    if skipped > 0 {
        notes.push(format!(
            "{} could not be decoded and {} skipped.",
            pictures(skipped),
            if skipped == 1 { "was" } else { "were" }
        ));
    }
    notes
}

pub(super) fn title(content: &Content) -> String {
    format!("Static quantization of {}, step by step", content.model)
}

fn pictures(number: usize) -> String {
    format!("{} picture{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// Prints size and accuracy in a line.
fn measurements(score: &Score) -> String {
    let Score { size_mb, top1, top5, .. } = *score;
    format!("{size_mb:.2} MB, top-1 {}, top-5 {}.", percent(top1), percent(top5))
}

fn tree(path: &str, stage: &str, tree: &ModuleTree) -> Tree {
    let path = if path.is_empty() { "The network" } else { path };
    Tree { caption: format!("{path}, {stage}"), code: tree.to_string() }
}

#[cfg(test)]
mod tests {
    use super::{caveats, pictures};

    #[test]
    fn too_few_and_skipped_pictures_are_mentioned() {
        assert_eq!(caveats(1000, 0), Vec::<String>::new());
        let notes = caveats(20, 1);
        assert!(
            notes[0].starts_with("20 pictures are too few") && notes[0].contains("5.00 points")
        );
        assert_eq!(notes[1], "1 picture could not be decoded and was skipped.");
        assert_eq!(pictures(1000), "1,000 pictures");
    }
}
