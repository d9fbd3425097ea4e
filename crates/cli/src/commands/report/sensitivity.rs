//! The section on how much each layer costs in accuracy.

use crate::page::table;

/// A layer in a ranking by cost, with the cells of [`HEADS`].
pub(super) type Row = [String; 7];

const HEADS: [&str; 7] = [
    "layer",
    "type",
    "only it int8, dB",
    "only it float, dB",
    "ms more in float",
    "likely cause",
    "try",
];

/// Renders a ranking of layers, the one that costs most first. Without rows there is no section.
pub(super) fn render(ranking: &[Row]) -> String {
    if ranking.is_empty() {
        return String::new();
    }
    format!(
        "<h2>Which layers cost accuracy</h2>\n<p class=\"note\">SQNR of the logits with only this layer in \
         int8, and with only this layer in float.</p>\n<div class=\"compact ranking\">\n{}</div>\n",
        table(&HEADS, ranking.iter().cloned())
    )
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn a_ranking_is_a_table_in_its_order() {
        assert_eq!(render(&[]), "");
        let row = |name: &str| {
            [name, "Conv2d", "12.0", "20.0", "0.10", "channel ranges differ 30 : 1", "equalize"]
                .map(str::to_owned)
        };
        let html = render(&[row("features.3<1>"), row("features.0")]);
        let places = ["features.3&lt;1&gt;</th>", "features.0</th>"].map(|name| html.find(name));
        assert!(places[0].is_some() && places[0] < places[1], "{html}");
        assert!(html.contains("<td>channel ranges differ 30 : 1</td><td>equalize</td>"), "{html}");
    }
}
