//! The sentences of the story.

use std::path::Path;

use posterize::{
    FloatModel,
    graph::ModuleTree,
    quantization::{ObservedModel, QConfig, QuantizedModel},
};

use crate::{
    error::Result,
    ui::{count, percent},
};

use super::block::block;
use super::labelled::Labelled;
use super::story::{Channels, Epochs, Figure, Score, Step, Story, Tree};
use super::training::{Trained, Training};

/// A way to quantize.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) name: &'static str,
    pub(super) qconfig: fn() -> QConfig,
    heading: &'static str,
    explanation: &'static str,
}

/// From the simplest to ours.
pub(super) const METHODS: [Method; 3] = [
    Method {
        name: "int8 default",
        qconfig: QConfig::default_qconfig,
        heading: "Calibrate and convert, one scale for each weight",
        explanation: "Pictures run through the float network while the observers take the smallest \
            and largest value; then weights become int8 and biases int32, and every layer knows the \
            scale and zero point of its output. This is PyTorch's `default` qconfig: all of a \
            weight shares one scale, so channels of small weights are left with few of the 256 \
            steps, and activations use 7 of their 8 bits.",
    },
    Method {
        name: "int8 fbgemm",
        qconfig: QConfig::fbgemm,
        heading: "A scale for each channel, and histograms",
        explanation: "PyTorch's `fbgemm` qconfig gives every output channel of a weight a scale of \
            its own, and its observers keep histograms, from which they choose the range that loses \
            least: a few outliers no longer make all steps coarse. Activations still use 7 bits, \
            because a sum of two full products would overflow the 16 bits that x86 had for it.",
    },
    Method {
        name: "int8 recommended",
        qconfig: QConfig::recommended,
        heading: "All 8 bits",
        explanation: "The kernels here add every product in 32 bits, so no bit has to be kept \
            free: the `recommended` qconfig is fbgemm's with twice as many steps for each \
            activation, at the same size and speed.",
    },
];

/// What is told about, before the first step.
pub(super) fn facts(
    weights: &Path,
    labelled: &Labelled,
    calibration: String,
    embedded: bool,
) -> Vec<String> {
    let all = labelled.folder.len();
    let place = &labelled.place;
    let pictures = if labelled.count < all {
        format!("the first {} of {}", count(labelled.count as u64), count(all as u64))
    } else {
        format!("all {}", count(all as u64))
    };
    let mut facts = vec![
        format!("Weights: {}.", weights.display()),
        format!("Evaluated on {pictures} pictures of {place}."),
        calibration,
    ];
    if embedded {
        facts.push(
            "All of it is carried by the program: a small MobileNetV2 and some of Fashion-MNIST's \
             pictures, 28 × 28 pixels of ten kinds of clothing (© 2017 Zalando SE, MIT licence)."
                .into(),
        );
    }
    facts
}

pub(super) fn fusion(before: &FloatModel, after: &FloatModel) -> Result<Step> {
    let path = block(before.graph());
    let [from, to] = [before, after].map(|model| model.graph().nodes().len() - 1);
    Ok(Step {
        heading: "Fuse".into(),
        explanation:
            "When a network no longer learns, its batch norms are a fixed scale and shift \
            for each channel, so they fold into the weights of the convolutions before them, and \
            activations become a clamp on the way out: one kernel in place of three, with nothing \
            to round between them."
                .into(),
        trees: vec![
            tree(path, "before fusion", &before.module(path)?),
            tree(path, "after fusion", &after.module(path)?),
        ],
        figure: None,
        findings: vec![format!("{from} operators became {to}.")],
    })
}

pub(super) fn baseline(score: &Score) -> Step {
    Step {
        heading: "Measure the float network".into(),
        explanation:
            "This is what int8 has to keep: the fused network in 32-bit floats. Its time is \
            taken at the end, side by side with the others'."
                .into(),
        trees: Vec::new(),
        figure: None,
        findings: vec![figures(score)],
    }
}

pub(super) fn observers(observed: &ObservedModel) -> Result<Step> {
    let path = block(observed.model().graph());
    let mut findings = vec![format!(
        "{} observers were inserted; additions have one like any layer, and quantize and dequantize \
         are placed where values enter and leave int8.",
        observed.observers().count()
    )];
    let in_float: Vec<String> = observed
        .float_layers()
        .into_iter()
        .map(|layer| format!("{} ({}): {}", layer.name, layer.kind, layer.reason))
        .collect();
    if !in_float.is_empty() {
        findings.push(format!("What stays in float: {}.", in_float.join("; ")));
    }
    Ok(Step {
        heading: "Insert observers".into(),
        explanation:
            "To store a value as one of 256 steps, the range of the values must be known: \
            every output that becomes int8 gets an observer, which records what passes and changes \
            nothing."
                .into(),
        trees: vec![tree(
            path,
            "with observers that have seen nothing yet",
            &observed.module(path)?,
        )],
        figure: None,
        findings,
    })
}

/// `fused` is the network that became `model`, and `float` its score, which `score` is compared with.
pub(super) fn converted(
    method: &Method,
    (fused, float): (&FloatModel, &Score),
    model: &QuantizedModel,
    calibrated_on: usize,
    score: &Score,
) -> Result<Step> {
    let path = block(model.graph());
    let mut findings = vec![
        figures(score),
        format!(
            "Calibrated on {}; {:.2} times smaller, {}.",
            pictures(calibrated_on),
            float.size_mb / score.size_mb,
            against(score.top1, float.top1)
        ),
    ];
    let channels = Channels::worst(fused, model);
    if let Some(channels) = &channels {
        findings.push(sharing(channels));
    }
    Ok(Step {
        heading: method.heading.into(),
        explanation: method.explanation.into(),
        trees: vec![tree(path, "after conversion", &model.module(path)?)],
        figure: channels.map(Figure::Channels),
        findings,
    })
}

/// Training from where the qconfig alone had brought it, `untrained`.
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
    Step {
        heading: "Train with fake quantization".into(),
        explanation: format!(
            "Quantization-aware training starts from the float network again, with a `FakeQuantize` \
             wherever int8 will be: it rounds weights and activations as the `{}` qconfig does, but \
             lets gradients through, so the network learns to live with its steps. Batch norms are \
             folded into the weights before these are rounded. {} Each epoch's network is converted \
             and measured in int8.",
            training.qconfig,
            training.describe_freezing()
        ),
        trees: vec![tree(&path, "with fake quantization", &fake_quantized)],
        findings: vec![
            training.describe(),
            format!(
                "Top-1 rose{from} to {} after epoch {kept}, which is kept ({} after the last): {}.",
                percent(score.top1),
                percent(last),
                against(score.top1, float.top1)
            ),
            figures(score),
        ],
        figure: Some(Figure::Epochs(Epochs { rows: epochs, float: float.top1, untrained })),
    }
}

/// `top1` beside the float network's.
fn against(top1: f64, float: f64) -> String {
    let points = top1 - float;
    if points.abs() < 0.005 {
        return "the top-1 accuracy of the float network".into();
    }
    let side = if points < 0.0 { "below" } else { "above" };
    format!("{:.2} points {side} the float network's top-1", points.abs())
}

/// What one scale does to the layer.
fn sharing(channels: &Channels) -> String {
    let Channels { layer, largest, scale, lost } = channels;
    let all = largest.len();
    let (first, last) = (largest.first().unwrap_or(&0.0), largest.last().unwrap_or(&0.0));
    let middle = largest.get(all / 2).unwrap_or(&0.0);
    format!(
        "One scale serves {layer} worst: the largest weight of a channel is {first:.3} in one, \
         {last:.3} in another and {middle:.3} in the middle one, but a step is {scale:.3} for all. \
         {lost} of {all} channels are left with nothing but zeros.",
    )
}

/// What the figures cannot say.
pub(super) fn caveats(images: usize, skipped: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if images < 300 {
        notes.push(format!(
            "{} show the procedure, not the accuracy: one picture more or less is {:.2} points. \
             Pass --data DIR with some hundreds.",
            pictures(images),
            100.0 / images.max(1) as f64
        ));
    }
    if skipped > 0 {
        notes.push(format!(
            "{} could not be decoded and {} left out.",
            pictures(skipped),
            if skipped == 1 { "was" } else { "were" }
        ));
    }
    notes
}

pub(super) fn title(story: &Story) -> String {
    format!("Static quantization of {}, step by step", story.model)
}

fn pictures(number: usize) -> String {
    format!("{} picture{}", count(number as u64), if number == 1 { "" } else { "s" })
}

fn figures(score: &Score) -> String {
    let Score { size_mb, top1, top5, .. } = *score;
    format!("{size_mb:.2} MB, top-1 {}, top-5 {}.", percent(top1), percent(top5))
}

fn tree(path: &str, when: &str, tree: &ModuleTree) -> Tree {
    let path = if path.is_empty() { "The network" } else { path };
    Tree { caption: format!("{path}, {when}"), code: tree.to_string() }
}

#[cfg(test)]
mod tests {
    use super::{caveats, pictures};

    #[test]
    fn few_pictures_are_called_few() {
        assert_eq!(caveats(1000, 0), Vec::<String>::new());
        let notes = caveats(20, 1);
        assert!(notes[0].starts_with("20 pictures show") && notes[0].contains("5.00 points"));
        assert_eq!(notes[1], "1 picture could not be decoded and was left out.");
        assert_eq!(pictures(1000), "1,000 pictures");
    }
}
