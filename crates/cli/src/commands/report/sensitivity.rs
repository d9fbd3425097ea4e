//! The section on how much each layer costs in accuracy.

use std::fmt::Write;

use super::numbers::{Layer, Ranking};
use crate::{
    page::escaped,
    ranking::{RankedLayer, shares},
    ui::{count, decibels, finite, percent, signed},
};

/// Number of layers that are shown before the reader opens the rest.
const SHOWN: usize = 20;

/// Renders a ranking. Names lead to the details of `layers`.
pub(super) fn render(ranking: &Ranking, layers: &[Layer]) -> String {
    let Ranking { pictures, float_top1, int8, .. } = ranking;
    let mut html = format!(
        "<h2>Which layers cost accuracy</h2>\n<p>Each int8 layer was measured alone on {} pictures: the \
         SQNR of the logits with only this layer in int8, and by how much it rises with only this layer in \
         float. With all layers in int8 it is {} dB.</p>\n",
        count(*pictures as u64),
        decibels(finite(int8.sqnr_db)),
    );
    let shares = shares(&ranking.layers);
    let rows = || ranking.layers.iter().zip(&shares);
    let shown = ranking.layers.len().min(SHOWN);
    html += &table(rows().take(shown), ranking, layers);
    let rest = ranking.layers.len() - shown;
    if rest > 0 {
        let _ = write!(
            html,
            "<details><summary>{} less sensitive layers</summary>\n{}</details>\n",
            count(rest as u64),
            table(rows().skip(shown), ranking, layers)
        );
    }
    let of_float = float_top1.map(|top1| format!(", on these pictures {}", percent(top1)));
    let _ = writeln!(
        html,
        "<p class=\"note\">Share: of the noise that all layers add when each is int8 alone. Top-1: change \
         with only this layer in int8, in points from the accuracy of float{}. ms: how much longer one \
         picture takes with only this layer in float. What to try is an option of <code>posterize \
         quantize</code>.</p>",
        of_float.unwrap_or_default()
    );
    html
}

/// Renders a table with two rows for each layer: its numbers, and the likely cause.
fn table<'a>(
    rows: impl Iterator<Item = (&'a RankedLayer, &'a f64)>,
    ranking: &Ranking,
    layers: &[Layer],
) -> String {
    // A hyphen at which no line ends.
    const HEADS: [&str; 6] = ["layer", "share", "int8: dB", "top\u{2011}1", "float: dB", "ms"];
    let mut html =
        String::from("<div class=\"compact ranking\"><div class=\"wide\"><table>\n<thead><tr>");
    for head in HEADS {
        let _ = write!(html, "<th scope=\"col\">{head}</th>");
    }
    html += "</tr></thead>\n";
    for (layer, share) in rows {
        let RankedLayer { only_int8, only_float, .. } = layer;
        let name = escaped(&layer.name);
        let name = match layers.iter().position(|other| other.name == layer.name) {
            Some(place) => format!("<a href=\"#layer{place}\">{name}</a>"),
            None => name,
        };
        let top1 = only_int8.top1.zip(ranking.float_top1).map(|(a, b)| signed(a - b));
        let gain = only_float.sqnr_db - ranking.int8.sqnr_db;
        let cells = [
            format!("{:.1} %", 100.0 * share),
            decibels(finite(only_int8.sqnr_db)),
            top1.unwrap_or_default(),
            if gain.is_finite() { signed(gain) } else { "exact".into() },
            layer.extra_ms.map(|ms| format!("{ms:+.3}")).unwrap_or_default(),
        ];
        let _ = write!(html, "<tbody><tr><th scope=\"row\">{name}</th>");
        for cell in cells {
            let _ = write!(html, "<td>{cell}</td>");
        }
        let cause = layer.causes.first().map_or("no single cause", |cause| &cause.text);
        let _ = writeln!(
            html,
            "</tr>\n<tr><td colspan=\"{}\">{}: {}; try <code>{}</code></td></tr></tbody>",
            HEADS.len(),
            escaped(&layer.r#type),
            escaped(cause),
            escaped(&layer.option())
        );
    }
    html + "</table></div></div>\n"
}

#[cfg(test)]
pub(super) mod example {
    use posterize::quantization::{LayerFacts, OutputQuality, Remedy};

    use super::super::numbers::{Ranking, example};
    use crate::ranking::{RankedCause, RankedLayer};

    /// A ranking of as many layers, the first of which adds the most noise.
    pub(in super::super) fn ranking(layers: usize) -> Ranking {
        let of = |sqnr_db| OutputQuality { sqnr_db, top1: Some(80.0) };
        let layer = |number: usize| RankedLayer {
            name: example::numbers(layers).layers[number].name.clone(),
            r#type: "Conv2d".into(),
            only_int8: of(20.0 + 10.0 * number as f64),
            only_float: of(16.0),
            extra_ms: Some(0.125),
            extra_bytes: 1000,
            facts: LayerFacts::default(),
            causes: vec![RankedCause {
                text: "channel ranges differ 30 : 1".into(),
                remedy: Remedy::Equalize,
                option: "--equalize always".into(),
            }],
        };
        let layers = (0..layers).map(layer).collect();
        Ranking { pictures: 50, float_top1: Some(81.0), int8: of(15.0), layers }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::numbers::example, example::ranking, render};

    #[test]
    fn a_ranking_is_a_table_in_its_order() {
        let numbers = example::numbers(25);
        let html = render(&ranking(2), &numbers.layers);
        let places = ["#layer0\">layers.0&lt;x&gt;</a>", "#layer1\">layers.1&lt;x&gt;</a>"];
        let places = places.map(|name| html.find(name));
        assert!(places[0].is_some() && places[0] < places[1], "{html}");
        assert!(
            html.contains("<td>90.9 %</td><td>20.0</td><td>-1.0</td><td>+1.0</td><td>+0.125</td>")
        );
        let cause = "Conv2d: channel ranges differ 30 : 1; try <code>--equalize always</code></td>";
        assert_eq!(html.matches(cause).count(), 2);
        assert!(!html.contains("<details>") && html.contains("81.00 %"));
        let html = render(&ranking(25), &numbers.layers);
        assert!(html.contains("<details><summary>5 less sensitive layers</summary>"), "{html}");
        assert_eq!(html.matches("; try <code>").count(), 25);
    }
}
