//! `posterize`: the command line over the library.

mod args;
mod commands;
mod embedded;
mod error;
mod fetch;
mod model;
mod page;
mod pictures;
mod timing;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::{commands::Command, ui::Ui};

/// Turns a trained float image classifier into a small, fast int8 one, and proves that it is still
/// as accurate.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print one JSON object on stdout instead of text and tables
    #[arg(long, global = true)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new(cli.json);
    match commands::run(&cli.command, &ui) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            error.exit_code()
        }
    }
}
