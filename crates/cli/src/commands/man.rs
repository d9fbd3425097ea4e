//! The command `posterize man`.

use std::{fs, path::PathBuf};

use clap::Args;
use posterize::{Error, atomic_file};
use serde::Serialize;

use crate::{error::Result, ui::Ui};

const EXAMPLES: &str = "\
Examples:
  posterize man ~/.local/share/man/man1
  posterize man > posterize.1";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  page    The page of posterize as roff, or null with DIR
  files   The files that were written";

/// Prints posterize's manual page, or writes the pages of all commands to a folder.
///
/// The pages are those of --help, in the format of `man`: posterize.1, and one page for each command such
/// as posterize-quantize.1.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}"))]
pub(crate) struct Man {
    /// Folder to write the pages to, which is created if it does not exist [default: prints the page of
    /// posterize itself]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    page: Option<String>,
    files: Vec<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self, program: clap::Command, ui: &Ui) -> Result<()> {
        let mut pages = pages(program);
        let Some(folder) = &self.folder else {
            let (_, page) = pages.swap_remove(0);
            let report = Report { page: Some(page.clone()), files: Vec::new() };
            return ui.result(&report, page.trim_end());
        };
        fs::create_dir_all(folder).map_err(Error::io(folder, "create the folder"))?;
        let mut files = Vec::new();
        for (name, page) in pages {
            let path = folder.join(name);
            atomic_file::write(&path, |file| file.write_all(page.as_bytes()))?;
            files.push(path);
        }
        let text = format!("{}: {} manual pages written", folder.display(), files.len());
        ui.result(&Report { page: None, files }, text)
    }
}

/// Returns the names and contents of all pages, that of the program first.
fn pages(program: clap::Command) -> Vec<(String, String)> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let commands: Vec<clap::Command> = program.get_subcommands().cloned().collect();
    std::iter::once(program).chain(commands).map(page).collect()
}

fn page(command: clap::Command) -> (String, String) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).expect("a vector can be written to");
    (format!("{name}.1"), String::from_utf8(page).expect("clap writes UTF-8"))
}
