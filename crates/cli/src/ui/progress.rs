//! The styles of progress bars.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Returns a bar of bytes, or a counter if the total is unknown.
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

/// Returns a bar of pictures, with their rate and a message after it.
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

/// Returns a bar of steps.
pub(super) fn steps(what: String, total: u64) -> ProgressBar {
    ProgressBar::new(total)
        .with_style(style("{msg} {bar:30.cyan/dim} {human_pos}/{human_len} {eta}"))
        .with_message(what)
}

/// Returns a bar of the batches of an epoch.
pub(super) fn epoch() -> ProgressBar {
    ProgressBar::new(0)
        .with_style(style("{prefix} {bar:24.cyan/dim} {human_pos}/{human_len}  {msg}"))
}

/// Returns a spinner with the elapsed time.
pub(super) fn spinner(what: String) -> ProgressBar {
    ProgressBar::new_spinner()
        .with_style(style("{spinner:.cyan} {msg} {elapsed}"))
        .with_message(what)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this file are valid")
        .progress_chars("━╸━")
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_templates_are_valid() {
        super::bytes("x".into(), Some(1));
        super::bytes("x".into(), None);
        super::pictures(1);
        super::steps("x".into(), 1);
        super::epoch();
        super::spinner("x".into());
    }
}
