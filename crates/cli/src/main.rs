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

use crate::{args::Cli, ui::Ui};

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
