//! The commands, each in a file of its own.

mod bench;
mod classify;
mod evaluate;
mod fetch;
mod inspect;
mod quantize;
mod train;
mod tutorial;

use clap::Subcommand;

use crate::{error::Result, ui::Ui};

/// The command to run. `--help` lists them in this order.
// The variants have no doc comments, because these would replace the types' in `--help`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Tutorial(tutorial::Tutorial),
    Inspect(inspect::Inspect),
    Quantize(quantize::Quantize),
    Evaluate(evaluate::Evaluate),
    Classify(classify::Classify),
    Bench(bench::Bench),
    Train(Box<train::Train>),
    Fetch(fetch::Fetch),
}

/// Runs a command.
pub(crate) fn run(command: &Command, ui: &Ui) -> Result<()> {
    match command {
        Command::Fetch(command) => command.run(ui),
        Command::Quantize(command) => command.run(ui),
        Command::Train(command) => command.run(ui),
        Command::Classify(command) => command.run(ui),
        Command::Evaluate(command) => command.run(ui),
        Command::Inspect(command) => command.run(ui),
        Command::Bench(command) => command.run(ui),
        Command::Tutorial(command) => command.run(ui),
    }
}
