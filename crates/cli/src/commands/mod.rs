//! The commands, each in a file of its own.

mod bench;
mod classify;
mod completions;
mod evaluate;
mod fetch;
mod inspect;
mod man;
mod quantize;
mod report;
mod run;
mod sensitivity;
mod train;
mod tutorial;

use clap::Subcommand;

use crate::{error::Result, paths::Paths, ui::Ui};

/// The command to run. `--help` lists them in this order.
// The variants have no doc comments, because these would replace the types' in `--help`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Tutorial(tutorial::Tutorial),
    Inspect(inspect::Inspect),
    Quantize(Box<quantize::Quantize>),
    Sensitivity(sensitivity::Sensitivity),
    Evaluate(evaluate::Evaluate),
    Report(report::Report),
    Classify(classify::Classify),
    Run(run::Run),
    Bench(bench::Bench),
    Train(Box<train::Train>),
    Fetch(fetch::Fetch),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    /// Returns the files that the command reads and writes.
    pub(crate) fn paths(&self) -> Paths {
        match self {
            Self::Quantize(command) => command.paths(),
            Self::Train(command) => command.paths(),
            Self::Evaluate(command) => command.paths(),
            Self::Report(command) => command.paths(),
            Self::Tutorial(command) => command.paths(),
            Self::Run(command) => command.paths(),
            // `fetch` writes only to the cache folder, and only what has the expected digest.
            Self::Fetch(_)
            | Self::Classify(_)
            | Self::Sensitivity(_)
            | Self::Inspect(_)
            | Self::Bench(_)
            | Self::Completions(_)
            | Self::Man(_) => Paths::default(),
        }
    }
}

/// Runs a command, after checking that its files can be written and are none of those it reads. `program`
/// returns the description of all commands.
pub(crate) fn run(
    command: &Command,
    paths: &Paths,
    program: fn() -> clap::Command,
    ui: &Ui,
) -> Result<()> {
    paths.check()?;
    match command {
        Command::Fetch(command) => command.run(ui),
        Command::Quantize(command) => command.run(ui),
        Command::Sensitivity(command) => command.run(ui),
        Command::Train(command) => command.run(ui),
        Command::Classify(command) => command.run(ui),
        Command::Evaluate(command) => command.run(ui),
        Command::Report(command) => command.run(ui),
        Command::Run(command) => command.run(ui),
        Command::Inspect(command) => command.run(ui),
        Command::Bench(command) => command.run(ui),
        Command::Tutorial(command) => command.run(ui),
        Command::Completions(command) => command.run(program(), ui),
        Command::Man(command) => command.run(program(), ui),
    }
}
