//! The HTML page of a training run: facts, curves and a table of epochs.

use posterize::{atomic_file, training::History};

use super::{
    curves::{self, Shown},
    files::Files,
    report::Report,
};
use crate::{
    page::{document, escaped, table},
    ui::{count, duration},
};

/// Writes the page to its file.
pub(super) fn write(
    files: &Files,
    report: &Report,
    history: &History,
    shown: &Shown,
) -> posterize::Result<()> {
    let page = render(report, history, shown);
    atomic_file::write(&files.page, |file| file.write_all(page.as_bytes()))
}

fn render(report: &Report, history: &History, shown: &Shown) -> String {
    let mut facts = vec![
        format!(
            "{} parameters; trained on {} pictures and validated on {}, in {}.",
            count(report.parameters as u64),
            count(report.train_images as u64),
            count(report.val_images as u64),
            duration(report.seconds)
        ),
        format!("Trained with {}.", report.settings),
        format!("{}.", report.summary()),
    ];
    if let Some(weights) = &report.weights {
        facts.insert(0, format!("Initial weights: {}.", weights.display()));
    }
    let facts: Vec<String> = facts.iter().map(|fact| escaped(fact)).collect();
    let rows = report.epochs.iter().map(Report::cells);
    let body = format!(
        "<ul>\n<li>{}</li>\n</ul>\n{}<h2>Epochs</h2>\n{}",
        facts.join("</li>\n<li>"),
        curves::render(history, shown),
        table(&Report::HEADS, rows)
    );
    document(&format!("Training of {}", report.title()), &body)
}
