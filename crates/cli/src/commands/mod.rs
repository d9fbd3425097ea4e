//! The commands, one file each.

mod fetch;

use clap::Subcommand;

use crate::{error::Result, ui::Ui};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Download weights or sample pictures, once
    Fetch(fetch::Fetch),
}

/// Runs a command to its end.
pub(crate) fn run(command: &Command, ui: &Ui) -> Result<()> {
    match command {
        Command::Fetch(command) => command.run(ui),
    }
}
