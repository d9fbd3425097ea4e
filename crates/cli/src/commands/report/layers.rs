//! The page's sections on layers: an overview, a table, and details of each layer.

use std::fmt::Write;

use super::{
    figures::{self, OTHER_WEIGHTS, number},
    numbers::{Layer, Numbers},
};
use crate::{
    page::{
        escaped,
        plot::{gridline, open},
        table, table_of_html,
    },
    ui::{count, decibels, percent},
};

/// Number of layers whose figures are drawn. Others have only their numbers, so that the page does not
/// become too large.
const MAX_FIGURES: usize = 300;

/// Maximum number of bars in the overview. Neighbouring layers share a bar if there are more.
const MAX_BARS: usize = 400;

pub(super) fn render(numbers: &Numbers) -> String {
    let worst = numbers.worst_first();
    let mut html = String::from("<h2>Layers</h2>\n");
    let _ = writeln!(
        html,
        "<p>The outputs of {} layers in int8, compared with float on {} pictures. The \
         signal-to-quantization-noise ratio (SQNR) is 10 · log10 of the mean square of the float output \
         divided by that of its error; 6 dB are about one bit. Errors of the layers before are in \
         it.</p>",
        count(numbers.layers.len() as u64),
        count(numbers.layer_images as u64)
    );
    html += &overview(&numbers.layers);
    html += &summary(numbers, &worst);
    html += &float_layers(&numbers.layers);
    html += &details(numbers, &worst);
    html
}

/// Returns the address of a layer's details within the page.
fn anchor(numbers: &Numbers, layer: &Layer) -> String {
    let index = numbers.layers.iter().position(|other| std::ptr::eq(other, layer));
    format!("layer{}", index.unwrap_or_default())
}

const HEIGHT: f64 = 240.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 612.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 204.0;

/// Draws the SQNR of all layers in execution order.
fn overview(layers: &[Layer]) -> String {
    let known = || layers.iter().filter_map(|layer| layer.sqnr_db);
    let high = (known().fold(10.0, f64::max) / 10.0).ceil() * 10.0;
    let low = (known().fold(0.0, f64::min) / 10.0).floor() * 10.0;
    let y = |sqnr: f64| BOTTOM - (BOTTOM - TOP) * (sqnr - low) / (high - low);
    let mut svg = open("SQNR of each layer's output in execution order, dB", HEIGHT, "curves");
    let step = if high - low > 60.0 { 20.0 } else { 10.0 };
    let mut value = low;
    while value <= high {
        gridline(&mut svg, [LEFT, RIGHT], y(value), &format!("{value:.0}"));
        value += step;
    }
    let group = layers.len().div_ceil(MAX_BARS).max(1);
    let pitch = (RIGHT - LEFT) / layers.len().div_ceil(group).max(1) as f64;
    for (index, group) in layers.chunks(group).enumerate() {
        let sqnr = |layer: &&Layer| layer.sqnr_db.unwrap_or(f64::INFINITY);
        let Some(worst) = group.iter().min_by(|a, b| sqnr(a).total_cmp(&sqnr(b))) else { continue };
        let place = layers.iter().position(|layer| std::ptr::eq(layer, worst)).unwrap_or_default();
        let top = y(worst.sqnr_db.unwrap_or(high));
        let class = if worst.float_reason.is_some() { "float" } else { "int8" };
        let _ = writeln!(
            svg,
            "<a href=\"#layer{place}\"><rect class=\"{class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
             height=\"{:.1}\"><title>{}: {} dB</title></rect></a>",
            LEFT + pitch * (index as f64 + 0.1),
            pitch * 0.8,
            BOTTOM - top,
            escaped(&worst.name),
            decibels(worst.sqnr_db)
        );
    }
    let names = [layers.first(), layers.last()].map(|layer| layer.map_or("", |layer| &layer.name));
    for (name, x, side) in [(names[0], LEFT, "start"), (names[1], RIGHT, "end")] {
        let _ = writeln!(
            svg,
            "<text class=\"axis\" text-anchor=\"{side}\" x=\"{x}\" y=\"{:.1}\">{}</text>",
            BOTTOM + 20.0,
            escaped(name)
        );
    }
    svg += "</svg>\n";
    if layers.iter().any(|layer| layer.float_reason.is_some()) {
        svg += "<p class=\"legend\"><span class=\"boxed int8\">int8</span>\
                <span class=\"boxed float\">computed in float</span></p>\n";
    }
    svg + "</figure>\n"
}

/// Renders the table of all layers, worst first.
fn summary(numbers: &Numbers, worst: &[&Layer]) -> String {
    const HEADS: [&str; 9] = [
        "layer",
        "type",
        "SQNR dB",
        "levels",
        "clipped",
        "bias shift",
        "by bias",
        "weights dB",
        "channels",
    ];
    let rows = worst.iter().map(|layer| {
        let found = &layer.activations.found;
        let weights = layer.weights.as_ref();
        [
            format!("<a href=\"#{}\">{}</a>", anchor(numbers, layer), escaped(&layer.name)),
            escaped(&layer.r#type),
            decibels(layer.sqnr_db),
            layer.activations.levels_used.map_or("float".into(), |levels| levels.to_string()),
            percent(100.0 * found.clipped),
            format!("{:.3}", found.bias_shift),
            format!("{:.0} %", 100.0 * found.bias_share),
            weights.map(|weights| decibels(weights.sqnr_db)).unwrap_or_default(),
            weights.map(|weights| number(weights.range_ratio)).unwrap_or_default(),
        ]
    });
    let mut html = String::from("<p class=\"caption\">All layers, lowest SQNR first</p>\n");
    let _ = write!(html, "<div class=\"compact\">\n{}</div>\n", table_of_html(&HEADS, rows));
    html += "<p class=\"note\">Levels: different integers among the outputs, of 256. Clipped: float \
             outputs beyond the range of int8. Bias shift: mean error of a channel, in standard deviations \
             of the layer's float output (root mean square over the channels). By bias: the share of the \
             noise that these mean errors are, and that bias correction could remove. Weights: SQNR of the \
             int8 weights. Channels: the largest weight of the largest channel divided by that of the \
             median channel.</p>\n";
    html
}

/// Renders the list of layers that stay in float.
fn float_layers(layers: &[Layer]) -> String {
    let float = || layers.iter().filter_map(|layer| Some((layer, layer.float_reason?)));
    if float().next().is_none() {
        return "<p>No layer stays in float.</p>\n".into();
    }
    let rows = float()
        .map(|(layer, reason)| [layer.name.clone(), layer.r#type.clone(), reason.to_owned()]);
    format!("<h2>Layers in float</h2>\n{}", table(&["layer", "type", "reason"], rows))
}

/// Renders each layer's figures and numbers, worst first.
fn details(numbers: &Numbers, worst: &[&Layer]) -> String {
    let mut html = String::from(
        "<h2>Each layer</h2>\n<p class=\"note\">Lowest SQNR first. The dashed lines are what int8 can \
         represent. The heights of distributions are logarithmic.</p>\n",
    );
    for (index, layer) in worst.iter().enumerate() {
        let _ = writeln!(
            html,
            "<details id=\"{}\"{}><summary><b>{}</b> {} <span class=\"note\">{}</span></summary>",
            anchor(numbers, layer),
            // So that a reader sees what there is.
            if index == 0 { " open" } else { "" },
            escaped(&layer.name),
            escaped(&layer.r#type),
            match layer.sqnr_db {
                Some(sqnr) => format!("{sqnr:.1} dB"),
                None => "exact".into(),
            }
        );
        if index < MAX_FIGURES {
            html += "<div class=\"figures\">\n";
            html += &figures::activations(&layer.activations);
            if let Some(weights) = &layer.weights {
                html += &figures::channels(weights);
                html += &figures::integers(weights);
            }
            html += "</div>\n";
        }
        let _ =
            writeln!(html, "<ul>\n<li>{}</li>\n</ul></details>", facts(layer).join("</li>\n<li>"));
    }
    html
}

/// Returns the numbers of a layer as HTML sentences.
fn facts(layer: &Layer) -> Vec<String> {
    let found = &layer.activations.found;
    let mut facts = Vec::new();
    let mut outputs = format!(
        "Float outputs from {} to {}, mean {}, standard deviation {}",
        number(f64::from(found.min)),
        number(f64::from(found.max)),
        number(found.mean),
        number(found.std)
    );
    // Equalized channels have another range each.
    if let (Some([low, high]), None, true) = (found.range, &layer.channel_factors, found.std > 0.0)
    {
        let width = number(f64::from(high - low) / found.std);
        let _ = write!(outputs, " (the range of int8 is {width} of them wide)");
    }
    match (found.range, layer.scale, layer.zero_point) {
        (Some([low, high]), Some(scale), Some(zero_point)) => facts.push(format!(
            "{outputs}; int8 from {} to {} in steps of {}, zero point {zero_point}. {} of 256 levels are \
             used, and {} of the values are clipped.",
            number(f64::from(low)),
            number(f64::from(high)),
            number(f64::from(scale)),
            layer.activations.levels_used.unwrap_or_default(),
            percent(100.0 * found.clipped)
        )),
        _ => facts.push(format!("{outputs}.")),
    }
    facts.push(format!(
        "Bias shift {:.4} standard deviations; {:.1} % of the noise.",
        found.bias_shift,
        100.0 * found.bias_share
    ));
    if let Some(reason) = layer.float_reason {
        facts.push(format!("Computed in float: {}.", escaped(reason)));
    }
    if let Some(weights) = &layer.weights {
        let mut text = format!(
            "Weights: SQNR {} dB, {} of 256 levels used; the largest channel's largest weight is {} times \
             that of the median channel.",
            decibels(weights.sqnr_db),
            weights.levels_used,
            number(weights.range_ratio)
        );
        if weights.found.lost_channels > 0 {
            let _ = write!(
                text,
                " In {} of {} channels all weights are 0.",
                weights.found.lost_channels,
                weights.found.channels.len()
            );
        }
        facts.push(text);
        if weights.found.changed >= OTHER_WEIGHTS {
            facts.push(format!(
                "{} of the weights are more than a step from the float network's, because the network was \
                 trained further; the figure of the channels shows int8 weights.",
                percent(100.0 * weights.found.changed)
            ));
        }
    }
    if let Some(factors) = &layer.channel_factors {
        let bounds = factors
            .iter()
            .fold([f32::INFINITY, 0.0], |[low, high], &factor| [low.min(factor), high.max(factor)]);
        let [low, high] = bounds.map(|factor| number(f64::from(factor)));
        facts.push(format!(
            "Before quantization the channels were divided by {low} to {high} (equalization). They are \
             scaled back to compute errors; the figures show what was quantized."
        ));
    }
    facts
}
