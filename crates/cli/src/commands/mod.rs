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
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Quantize a model step by step, explaining and measuring each step
    Tutorial(tutorial::Tutorial),
    /// Print a model's modules, shapes, parameters and cost
    Inspect(inspect::Inspect),
    /// Convert a float model to int8 and write it to one file
    Quantize(quantize::Quantize),
    /// Measure a model's top-1 and top-5 accuracy on a folder of labelled pictures
    Evaluate(evaluate::Evaluate),
    /// Print the five most probable classes of pictures
    Classify(classify::Classify),
    /// Measure how long a model takes, without reading pictures
    Bench(bench::Bench),
    /// Train a model in float or with fake quantization (QAT)
    Train(Box<train::Train>),
    /// Download weights or sample pictures into the cache folder
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
