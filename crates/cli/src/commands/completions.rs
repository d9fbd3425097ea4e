//! The command `posterize completions`.

use clap::{Args, ValueEnum, builder::PossibleValue};
use clap_complete::{Shell, generate};
use posterize::models;
use serde::Serialize;

use crate::{error::Result, ui::Ui};

const EXAMPLES: &str = "\
Examples:
  posterize completions bash > ~/.local/share/bash-completion/completions/posterize
  posterize completions zsh > ~/.zfunc/_posterize
  posterize completions fish > ~/.config/fish/completions/posterize.fish";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  shell   As given
  script  The script";

/// Prints a script that completes posterize's commands, options and their values in a shell.
///
/// Where the script belongs depends on the shell; the examples are common places. In zsh the folder must
/// be in fpath before compinit runs.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}"))]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Serialize)]
struct Report {
    shell: String,
    script: String,
}

impl Completions {
    pub(crate) fn run(&self, mut program: clap::Command, ui: &Ui) -> Result<()> {
        let shell = self.shell.to_possible_value().expect("no shell is hidden");
        let report =
            Report { shell: shell.get_name().to_owned(), script: script(self.shell, &mut program) };
        ui.result(&report, report.script.trim_end())
    }
}

fn script(shell: Shell, program: &mut clap::Command) -> String {
    let mut script = Vec::new();
    generate(shell, program, "posterize", &mut script);
    let script = String::from_utf8(script).expect("clap writes UTF-8");
    let names = models::names().collect::<Vec<_>>().join(" ");
    match shell {
        // MODEL is a name or a file, but zsh would complete only the names.
        Shell::Zsh => {
            let both = format!(r#"{{_alternative "models:model:({names})" "files:file:_files"}}"#);
            script.replace(&format!("({names})"), &both)
        }
        // Fish would complete only files.
        Shell::Fish => {
            let takes_model = |command: &&clap::Command| {
                command.get_positionals().any(|argument| {
                    let values = argument.get_value_parser().possible_values();
                    let values: Vec<PossibleValue> = values.into_iter().flatten().collect();
                    models::names().all(|name| values.iter().any(|value| value.get_name() == name))
                })
            };
            let commands: Vec<&str> = program
                .get_subcommands()
                .filter(takes_model)
                .map(clap::Command::get_name)
                .collect();
            let commands = commands.join(" ");
            format!(
                "{script}complete -c posterize -n \"__fish_seen_subcommand_from {commands}\" -a \"{names}\"\n"
            )
        }
        _ => script,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_complete_beside_files() {
        let model = clap::Arg::new("MODEL").value_parser(models::names().collect::<Vec<_>>());
        let inspect = clap::Command::new("inspect").arg(model);
        // It takes some of the names, but no model.
        let item = clap::Arg::new("ITEM").value_parser(["mobilenet_v2", "samples"]);
        let fetch = clap::Command::new("fetch").arg(item);
        let mut program = clap::Command::new("posterize").subcommand(inspect).subcommand(fetch);
        let zsh = script(Shell::Zsh, &mut program);
        assert!(zsh.contains(r#"{_alternative "models:model:("#), "{zsh}");
        assert!(zsh.contains(r#")" "files:file:_files"}"#), "{zsh}");
        let fish = script(Shell::Fish, &mut program);
        let line = "complete -c posterize -n \"__fish_seen_subcommand_from inspect\" -a \"";
        assert!(fish.lines().last().unwrap().starts_with(line), "{fish}");
    }
}
