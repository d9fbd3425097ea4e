//! The story on a terminal.

use std::fmt::Write;

use anstyle::Style;

use crate::ui::{Align, Table};

use super::{
    narration,
    story::{Epoch, Epochs, Figure, Row, Step, Story},
};

const HEADING: Style = Style::new().bold();
const CAPTION: Style = Style::new().dimmed();
const WIDTH: usize = 96;

pub(super) fn opening(story: &Story) -> String {
    let mut text = format!("{HEADING}{}{HEADING:#}\n", narration::title(story));
    for fact in &story.facts {
        let _ = write!(text, "\n{}", wrapped(fact));
    }
    text
}

/// Step `number`, counted from 1.
pub(super) fn step(number: usize, step: &Step) -> String {
    let mut text = format!("\n{HEADING}{number}. {}{HEADING:#}\n\n", step.heading);
    text += &wrapped(&step.explanation.replace('`', ""));
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
        let _ = write!(text, "\n{}", wrapped(finding));
    }
    text
}

pub(super) fn summary(story: &Story) -> String {
    let [method, numbers @ ..] = Row::HEADS;
    let [size, top1, top5, time, speedup] = numbers.map(|head| (head, Align::Right));
    let mut table = Table::new([(method, Align::Left), size, top1, top5, time, speedup]);
    for row in &story.rows {
        table.row(row.cells());
    }
    let mut text = format!("\n{HEADING}Summary{HEADING:#}\n\n{table}\n");
    for note in &story.notes {
        let _ = write!(text, "\n{}", wrapped(note));
    }
    text
}

/// Lines of at most [`WIDTH`] characters, where words allow it.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > WIDTH {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines += word;
        width += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{Story, WIDTH, opening, step, summary, wrapped};

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_story_is_told_from_heading_to_table() {
        let story = Story::example();
        let told = opening(&story) + "\n" + &step(1, &story.steps[0]) + "\n" + &summary(&story);
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
        assert_eq!(plain(&told), expected);
    }

    #[test]
    fn long_text_breaks_between_words() {
        let text = "word ".repeat(60);
        let lines = wrapped(text.trim());
        assert!(lines.lines().count() > 1);
        assert!(lines.lines().all(|line| line.chars().count() <= WIDTH && !line.ends_with(' ')));
        assert_eq!(lines.replace('\n', " "), text.trim());
        let path = "x".repeat(200);
        assert_eq!(wrapped(&format!("a {path} b")), format!("a\n{path}\nb"));
    }
}
