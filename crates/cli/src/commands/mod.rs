//! The commands, one file each.

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

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Download weights or sample pictures, once
    Fetch(fetch::Fetch),
    /// Turn a float network into an int8 one, in one file
    Quantize(quantize::Quantize),
    /// Train a network, in float or with fake quantization
    Train(Box<train::Train>),
    /// Name what is on pictures
    Classify(classify::Classify),
    /// Measure a network's accuracy over a folder of pictures
    Evaluate(evaluate::Evaluate),
    /// Print a network's modules, shapes, parameters and cost
    Inspect(inspect::Inspect),
    /// Time a network alone
    Bench(bench::Bench),
    /// Tell the whole story of static quantization on a network, and measure each step
    Tutorial(tutorial::Tutorial),
}

/// Runs a command to its end.
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
