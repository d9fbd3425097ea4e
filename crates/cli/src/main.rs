//! The `posterize` command-line program.

mod args;
mod arrays;
mod calibration;
mod calibration_arrays;
mod cli;
mod commands;
mod embedded;
mod error;
mod exit;
mod fetch;
mod interrupt;
mod loaded;
mod model;
mod names;
mod npy;
mod onnx;
mod page;
mod paths;
mod pictures;
mod preprocessing;
mod quantization;
mod ranking;
mod size;
mod timing;
mod ui;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::{cli::Cli, exit::Exit, ui::Ui};

fn main() -> ExitCode {
    run().into()
}

fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::explain(&error),
    };
    let paths = cli.command.paths();
    let ui = Ui::new(cli.json, cli.verbosity()).with_results_on_stderr(paths.use_stdout());
    match commands::run(&cli.command, &paths, Cli::command, &ui) {
        Ok(()) => Exit::Success,
        Err(error) if error.is_broken_pipe() => Exit::Success,
        Err(error) => {
            ui.failure(&error, &error.object());
            error.exit()
        }
    }
}
