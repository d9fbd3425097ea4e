//! Renders the tutorial as text for a terminal.

use std::fmt::Write;

use crate::ui::{Align, Style, Table, wrapped};

use super::{
    content::{Content, Epoch, Epochs, Figure, Row, Step},
    steps,
};

const HEADING: Style = Style::Bold;
const CAPTION: Style = Style::Dimmed;
const WIDTH: usize = 96;

/// Renders the title and the facts before the first step.
pub(super) fn opening(content: &Content) -> String {
    let mut text = format!("{HEADING}{}{HEADING:#}\n", steps::title(content));
    for fact in &content.facts {
        let _ = write!(text, "\n{}", wrapped(fact, WIDTH));
    }
    text
}

/// Renders a step. `number` is counted from 1.
pub(super) fn step(number: usize, step: &Step) -> String {
    let mut text = format!("\n{HEADING}{number}. {}{HEADING:#}\n\n", step.heading);
    text += &wrapped(&step.explanation.replace('`', ""), WIDTH);
    for tree in &step.trees {
        let _ = write!(text, "\n\n{CAPTION}{}:{CAPTION:#}\n{}", tree.caption, tree.code);
    }
    if let Some(Figure::Epochs(epochs)) = &step.figure {
        let mut table = Table::new(Epochs::HEADS.map(|head| (head, Align::Right)));
        epochs.rows.iter().map(Epoch::cells).for_each(|cells| table.row(cells));
        let _ = write!(text, "\n\n{table}");
    }
    text += "\n";
    for finding in &step.findings {
        let _ = write!(text, "\n{}", wrapped(finding, WIDTH));
    }
    text
}

/// Renders the summary table and the notes below it.
pub(super) fn summary(content: &Content) -> String {
    let [method, numbers @ ..] = Row::HEADS;
    let [size, top1, top5, time, speedup] = numbers.map(|head| (head, Align::Right));
    let mut table = Table::new([(method, Align::Left), size, top1, top5, time, speedup]);
    for row in &content.rows {
        table.row(row.cells());
    }
    let mut text = format!("\n{HEADING}Summary{HEADING:#}\n\n{table}\n");
    for note in &content.notes {
        let _ = write!(text, "\n{}", wrapped(note, WIDTH));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Content, opening, step, summary};

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(&crate::ui::printable(text)).to_string()
    }

    #[test]
    fn opening_step_and_summary_are_rendered() {
        let content = Content::example();
        let text =
            opening(&content) + "\n" + &step(1, &content.steps[0]) + "\n" + &summary(&content);
        let expected = "\
Static quantization of net, step by step

Pictures: a<b>&\"c\"/*val*_1_|x.

1. Fusion

One kernel in place of three.

conv.0 & after:
Conv2d(3, 8,
  bias=<none>)

It is smaller.

Summary

method   size MB   top-1 %   top-5 %   ms/picture   speed-up
─────────────────────────────────────────────────────────────
float      14.00     88.00     98.00        20.00      1.00×
int8        3.50     44.00     98.00         5.00      4.00×

Few pictures.";
        assert_eq!(plain(&text), expected);
    }
}
