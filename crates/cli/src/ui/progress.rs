//! The looks of progress bars.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// A bar over bytes, or a counter of them while the total is unknown.
pub(super) fn bytes(what: String, total: Option<u64>) -> ProgressBar {
    match total {
        Some(total) => ProgressBar::new(total).with_style(style(
            "{msg} {bar:30.cyan/dim} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        )),
        None => ProgressBar::new_spinner()
            .with_style(style("{spinner:.cyan} {msg} {binary_bytes} {binary_bytes_per_sec}")),
    }
    .with_message(what)
}

/// A bar over pictures, with their rate and a message behind it.
pub(super) fn pictures(total: u64) -> ProgressBar {
    ProgressBar::new(total).with_style(
        style("{bar:30.cyan/dim} {human_pos}/{human_len} {rate} {eta} {msg}").with_key(
            "rate",
            |state: &ProgressState, text: &mut dyn Write| {
                let _ = write!(text, "{:.1}/s", state.per_sec());
            },
        ),
    )
}

/// A bar over steps.
pub(super) fn steps(what: String, total: u64) -> ProgressBar {
    ProgressBar::new(total)
        .with_style(style("{msg} {bar:30.cyan/dim} {human_pos}/{human_len} {eta}"))
        .with_message(what)
}

/// A bar over the batches of an epoch.
pub(super) fn epoch() -> ProgressBar {
    ProgressBar::new(0)
        .with_style(style("{prefix} {bar:24.cyan/dim} {human_pos}/{human_len}  {msg}"))
}

/// A turning wheel and the time that has passed.
pub(super) fn spinner(what: String) -> ProgressBar {
    ProgressBar::new_spinner()
        .with_style(style("{spinner:.cyan} {msg} {elapsed}"))
        .with_message(what)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this file parse, as its test shows")
        .progress_chars("━╸━")
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_template_parses() {
        super::bytes("x".into(), Some(1));
        super::bytes("x".into(), None);
        super::pictures(1);
        super::steps("x".into(), 1);
        super::epoch();
        super::spinner("x".into());
    }
}
