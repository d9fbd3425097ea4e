//! Output: results on stdout, or on stderr if a file is written to stdout; progress, notes, warnings and
//! errors on stderr.
//!
//! Control characters in names are escaped. Colours and progress bars appear only on a terminal. `NO_COLOR` turns colours off
//! (<https://no-color.org>).

mod bar;
mod number;
mod printable;
mod progress;
mod table;

use std::{
    fmt::Display,
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anstyle::AnsiColor;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use crate::error::{CliError, ErrorObject, Result};

use printable::printable_json;

pub(crate) use bar::bar;
pub(crate) use number::{bytes, count, decibels, duration, finite, megabytes, percent, si, signed};
pub(crate) use printable::{Style, printable, shortened, wrapped};
pub(crate) use table::{Align, Table};

const ERROR: anstyle::Style = AnsiColor::Red.on_default().bold();
const WARNING: anstyle::Style = AnsiColor::Yellow.on_default().bold();
const NOTE: anstyle::Style = anstyle::Style::new().dimmed();

/// How much is printed. Each level prints what those before it print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Only errors, and what `--json` prints.
    ErrorsOnly,
    /// Results and warnings.
    Quiet,
    /// Notes and progress.
    Normal,
    /// Lists that are long.
    Verbose,
}

/// The output of one run of the program.
#[derive(Debug)]
pub(crate) struct Ui {
    json: bool,
    verbosity: Verbosity,
    /// Whether results are printed to stderr, because a file is written to stdout.
    results_on_stderr: bool,
    /// Whether the result was printed.
    printed: AtomicBool,
    bars: MultiProgress,
}

impl Ui {
    /// Prints results as text, or as one JSON object.
    pub(crate) fn new(json: bool, verbosity: Verbosity) -> Self {
        // Progress bars draw on stderr, and only if that is a terminal.
        let bars = if verbosity >= Verbosity::Normal {
            MultiProgress::new()
        } else {
            MultiProgress::with_draw_target(ProgressDrawTarget::hidden())
        };
        Self { json, verbosity, results_on_stderr: false, printed: AtomicBool::new(false), bars }
    }

    /// Prints results to stderr if `results_on_stderr`.
    pub(crate) fn with_results_on_stderr(self, results_on_stderr: bool) -> Self {
        Self { results_on_stderr, ..self }
    }

    /// Returns how much is printed.
    pub(crate) fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Whether results are printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the result of a command: `value` as JSON with `--json`, else `text`.
    pub(crate) fn result(&self, value: &impl Serialize, text: impl Display) -> Result<()> {
        if self.json {
            self.printed.store(true, Ordering::Relaxed);
            let value = serde_json::to_string(value).map_err(|e| CliError::Output(e.into()))?;
            self.print(&printable_json(&value))
        } else if self.verbosity >= Verbosity::Quiet {
            self.print(&printable(text))
        } else {
            Ok(())
        }
    }

    /// Prints a part of the result before the command ends. Prints nothing with `--json`.
    pub(crate) fn part(&self, text: impl Display) -> Result<()> {
        if self.json || self.verbosity < Verbosity::Quiet {
            return Ok(());
        }
        self.bars.suspend(|| self.print(&printable(text)))
    }

    /// Prints a line of the result.
    fn print(&self, line: &str) -> Result<()> {
        if self.results_on_stderr {
            writeln!(anstream::stderr(), "{line}")
        } else {
            let mut stdout = anstream::stdout().lock();
            writeln!(stdout, "{line}").and_then(|()| stdout.flush())
        }
        .map_err(CliError::Output)
    }

    /// Prints a dimmed line of progress to stderr.
    pub(crate) fn note(&self, text: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.stderr(format_args!("{NOTE}{}{NOTE:#}", printable(text)));
        }
    }

    /// Prints a line of progress to stderr.
    pub(crate) fn line(&self, text: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.stderr(printable(text));
        }
    }

    /// Prints an error message to stderr.
    pub(crate) fn error(&self, error: &impl Display) {
        self.stderr(format_args!("{ERROR}error:{ERROR:#} {}", printable(error)));
    }

    /// Prints the error that ended the command to stderr, and with `--json` as an object too, unless
    /// the result was printed, so that there is one object.
    pub(crate) fn failure(&self, text: &impl Display, object: &ErrorObject) {
        if self.json && !self.printed.load(Ordering::Relaxed) {
            let object = serde_json::json!({ "error": object }).to_string();
            // If stdout cannot be written to, the text on stderr is all that can be printed.
            let _ = self.print(&printable_json(&object));
        }
        self.error(text);
    }

    /// Prints a warning to stderr.
    pub(crate) fn warn(&self, text: impl Display) {
        if self.verbosity >= Verbosity::Quiet {
            self.stderr(format_args!("{WARNING}warning:{WARNING:#} {}", printable(text)));
        }
    }

    /// Returns a progress bar of `total` pictures, with a message after it.
    pub(crate) fn pictures_bar(&self, total: u64) -> ProgressBar {
        self.bars.add(progress::pictures(total))
    }

    /// Returns a progress bar of `total` steps.
    pub(crate) fn steps_bar(&self, what: impl Into<String>, total: u64) -> ProgressBar {
        self.bars.add(progress::steps(what.into(), total))
    }

    /// Returns a progress bar of the batches of an epoch, with the epoch before it and a message after
    /// it.
    pub(crate) fn epoch_bar(&self) -> ProgressBar {
        self.bars.add(progress::epoch())
    }

    /// Returns a progress bar of `total` bytes.
    pub(crate) fn bytes_bar(&self, what: impl Into<String>, total: Option<u64>) -> ProgressBar {
        self.bars.add(progress::bytes(what.into(), total))
    }

    /// Returns a spinner for work of unknown length.
    pub(crate) fn spinner(&self, what: impl Into<String>) -> ProgressBar {
        let bar = self.bars.add(progress::spinner(what.into()));
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    /// Prints a line to stderr. Errors are ignored, because there is nowhere to report them.
    fn stderr(&self, line: impl Display) {
        self.bars.suspend(|| {
            let _: io::Result<()> = writeln!(anstream::stderr(), "{line}");
        });
    }
}
