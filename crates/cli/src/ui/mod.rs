//! What the user sees: results on stdout, everything else (progress, notes, errors) on stderr.
//!
//! Colours and moving bars appear on a terminal only, and not at all under `NO_COLOR`
//! (<https://no-color.org>).

mod number;
mod progress;
mod table;

use std::{
    fmt::Display,
    io::{self, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar};
use serde::Serialize;

use crate::error::{CliError, Result};

pub(crate) use number::{bytes, count, duration, megabytes, percent, si};
pub(crate) use table::{Align, Table};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const NOTE: Style = Style::new().dimmed();

/// The output of one run of the program.
#[derive(Debug)]
pub(crate) struct Ui {
    json: bool,
    bars: MultiProgress,
}

impl Ui {
    /// Results as text, or as one JSON object.
    pub(crate) fn new(json: bool) -> Self {
        // Bars draw on stderr, and not at all where it is no terminal.
        Self { json, bars: MultiProgress::new() }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// The result of a command: `value` as JSON under `--json`, else `text`.
    pub(crate) fn result(&self, value: &impl Serialize, text: impl Display) -> Result<()> {
        let mut stdout = anstream::stdout().lock();
        if self.json {
            let value = serde_json::to_string(value).map_err(|e| CliError::Output(e.into()))?;
            writeln!(stdout, "{value}")
        } else {
            writeln!(stdout, "{text}")
        }
        .and_then(|()| stdout.flush())
        .map_err(CliError::Output)
    }

    /// A part of a result that is told step by step, on stdout; nothing under `--json`.
    pub(crate) fn part(&self, text: impl Display) -> Result<()> {
        if self.json {
            return Ok(());
        }
        self.bars.suspend(|| {
            let mut stdout = anstream::stdout().lock();
            writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(CliError::Output)
        })
    }

    /// A line for a person who watches, on stderr.
    pub(crate) fn note(&self, text: impl Display) {
        self.stderr(format_args!("{NOTE}{text}{NOTE:#}"));
    }

    /// A line for a person who watches that is as important as the result, on stderr.
    pub(crate) fn line(&self, text: impl Display) {
        self.stderr(text);
    }

    /// Why the command failed.
    pub(crate) fn error(&self, error: &impl Display) {
        self.stderr(format_args!("{ERROR}error:{ERROR:#} {error}"));
    }

    /// Something that is not as it should be, but no reason to end.
    pub(crate) fn warn(&self, text: impl Display) {
        self.stderr(format_args!("{WARNING}warning:{WARNING:#} {text}"));
    }

    /// A bar over `total` pictures, with a message behind it.
    pub(crate) fn pictures_bar(&self, total: u64) -> ProgressBar {
        self.bars.add(progress::pictures(total))
    }

    /// A bar over `total` steps.
    pub(crate) fn steps_bar(&self, what: impl Into<String>, total: u64) -> ProgressBar {
        self.bars.add(progress::steps(what.into(), total))
    }

    /// A bar over the batches of an epoch, whose name stands before it, with a message behind it.
    pub(crate) fn epoch_bar(&self) -> ProgressBar {
        self.bars.add(progress::epoch())
    }

    /// A bar over `total` bytes.
    pub(crate) fn bytes_bar(&self, what: impl Into<String>, total: Option<u64>) -> ProgressBar {
        self.bars.add(progress::bytes(what.into(), total))
    }

    /// A sign of life while something of unknown length runs.
    pub(crate) fn spinner(&self, what: impl Into<String>) -> ProgressBar {
        let bar = self.bars.add(progress::spinner(what.into()));
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    /// A closed stderr is no reason to fail: nobody is listening.
    fn stderr(&self, line: impl Display) {
        self.bars.suspend(|| {
            let _: io::Result<()> = writeln!(anstream::stderr(), "{line}");
        });
    }
}
