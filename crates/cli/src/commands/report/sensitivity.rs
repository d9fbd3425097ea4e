//! The section on how much each layer contributes to the loss.

use crate::page::table;

/// A layer in the ranking of layers by their influence on the network's outputs.
pub(super) type Row = [String; 5];

const HEADS: [&str; 5] =
    ["layer", "only it int8: logits' SQNR dB", "only it float: logits' SQNR dB", "likely cause", "try"];

/// Renders a ranking, whose rows have the cells of [`HEADS`], most influential layer first. Without rows
/// there is no section.
pub(super) fn render(ranking: &[Row]) -> String {
    if ranking.is_empty() {
        return String::new();
    }
    format!(
        "<h2>Which layers cost accuracy</h2>\n{}",
        table(&HEADS, ranking.iter().cloned())
    )
}
