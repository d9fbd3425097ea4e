//! The `posterize` command-line program.

mod args;
mod commands;
mod embedded;
mod error;
mod exit;
mod fetch;
mod interrupt;
mod model;
mod page;
mod paths;
mod pictures;
mod timing;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::{commands::Command, error::CliError, exit::Exit, ui::Ui};

/// Text below the list of commands.
const AFTER_HELP: &str = "\
Order of use:
  posterize tutorial
      Shows every step on a built-in model and built-in pictures. Needs no files.
  posterize inspect MODEL
      Prints the model's modules, output shapes, parameters and cost.
  posterize quantize MODEL --weights W.pth --calibrate DIR -o INT8.safetensors
      Writes the int8 model. DIR has pictures, in it or in folders at any depth.
  posterize evaluate MODEL --weights W.pth --data DIR
  posterize evaluate INT8.safetensors --data DIR
      Measures both accuracies. DIR has one folder of pictures for each class. If int8 lost too
      much, `posterize inspect --against` shows in which layers, and `posterize train --qat` trains
      the model further for int8.
  posterize classify INT8.safetensors PICTURE...
  posterize bench INT8.safetensors
      Uses the int8 model, and times it.

`posterize COMMAND --help` describes all options of a command and the keys of its JSON output.";

/// Text that only `--help` adds, not `-h`.
const AFTER_LONG_HELP: &str = "\
Environment variables:
  POSTERIZE_CACHE   Folder for downloaded files, unless --cache is given
  POSTERIZE_ISA     Instruction set to use: scalar, avx2, avx512vnni or amx [default: the best
                    that the CPU has]
  POSTERIZE_PYTHON  Python interpreter whose pip downloads from PyPI [default: python3]
  SSL_CERT_FILE     PEM file of certificates to trust in downloads
  NO_COLOR          Turns colours off if set";

/// Turns a trained float image classifier into a smaller, faster int8 one, and measures how accurate
/// it still is.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = AFTER_HELP,
    after_long_help = format!("{AFTER_HELP}\n\n{AFTER_LONG_HELP}\n\nExit codes:\n{}", Exit::list())
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print one JSON object on stdout instead of text; warnings and errors stay text on stderr
    #[arg(long, global = true, display_order = 900)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new(cli.json);
    match commands::run(&cli.command, &ui) {
        Ok(()) => Exit::Success.into(),
        Err(error) if error.is_broken_pipe() => Exit::Success.into(),
        // What was stopped has been reported already.
        Err(error @ CliError::Interrupted { .. }) => error.exit().into(),
        Err(error) => {
            ui.error(&error);
            error.exit().into()
        }
    }
}
