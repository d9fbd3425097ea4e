//! The arguments of the program, and the texts of its help.

use std::ffi::{OsStr, OsString};

use clap::{ArgAction, Parser, error::ErrorKind};

use crate::{commands::Command, error::ErrorObject, exit::Exit, ui::Verbosity, version};

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
      Measures both accuracies. DIR has one folder of pictures for each class.
  posterize report INT8.safetensors --against W.pth --data DIR -o REPORT.html
      Writes a page on whether int8 lost accuracy, on which pictures, and in which layers.
  posterize quantize MODEL --calibrate DIR --data DIR --max-drop 0.5 -o INT8.safetensors
  posterize sensitivity MODEL --weights W.pth --calibrate DIR
      If int8 lost too much: finds a model that loses less, or shows which layers lose and why.
      `posterize train --qat` trains the model further for int8.
  posterize run NET.onnx --input X.npy --expect Y.npy
      Shows that a network from an ONNX file, which may be MODEL above, is computed as elsewhere.
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
  NO_COLOR          Turns colours off if set

Errors with --json, one object with the key `error` unless the result was printed before:
  kind        usage, network, not_met, or in snake case what posterize::ErrorKind has: io, ...
  message     The text that is printed to stderr as well
  path        The file or folder that the error is about, if there is one
  layer       The layer that it is about, if there is one
  hint        What to do, if that is known apart from the message
  exit_code   One of the following";

/// Turns a trained float image classifier into a smaller, faster int8 one, and measures how accurate
/// it still is.
#[derive(Debug, Parser)]
#[command(
    name = "posterize",
    version,
    max_term_width = 100,
    after_help = AFTER_HELP,
    after_long_help = format!("{AFTER_HELP}\n\n{AFTER_LONG_HELP}\n\nExit codes:\n{}", Exit::list())
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Print one JSON object on stdout instead of text, also for an error: {"error": {...}}; warnings,
    /// notes and the text of the error go to stderr
    #[arg(long, global = true, display_order = 900)]
    pub(crate) json: bool,

    /// Print no notes and no progress; -qq: print only errors, and what --json prints
    #[arg(short, long, global = true, display_order = 901, action = ArgAction::Count)]
    quiet: u8,

    /// Print more, such as complete lists; with --version, also the target, the instruction set and the
    /// features
    #[arg(short, long, global = true, display_order = 902, conflicts_with = "quiet")]
    verbose: bool,
}

impl Cli {
    /// Returns how much to print.
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.verbose, self.quiet) {
            (true, _) => Verbosity::Verbose,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Quiet,
            (false, _) => Verbosity::ErrorsOnly,
        }
    }
}

/// Prints the help, the version, or why the arguments are wrong. With `--json`, wrong arguments are an
/// object too.
pub(crate) fn explain(error: &clap::Error) -> Exit {
    let given: Vec<OsString> =
        std::env::args_os().skip(1).take_while(|argument| argument != "--").collect();
    match error.kind() {
        ErrorKind::DisplayVersion if given.iter().any(|argument| is_verbose(argument)) => {
            println!("{}", version::details());
        }
        _ => {
            if error.use_stderr() && given.iter().any(|argument| argument == "--json") {
                let object = usage_object(error);
                println!("{}", serde_json::json!({ "error": object }));
            }
            // The text cannot be printed anywhere else.
            let _ = error.print();
        }
    }
    if error.use_stderr() { Exit::Usage } else { Exit::Success }
}

/// Whether an argument is `--verbose`, or short options with `v`.
fn is_verbose(argument: &OsStr) -> bool {
    match argument.to_str().and_then(|argument| argument.strip_prefix('-')) {
        Some("-verbose") => true,
        Some(short) => !short.starts_with('-') && short.contains('v'),
        None => false,
    }
}

/// Returns the object of wrong arguments. clap's text is the error, tips and the usage, with empty lines
/// between them.
fn usage_object(error: &clap::Error) -> ErrorObject {
    let text = error.render().to_string();
    let mut parts = text.split("\n\n").map(str::trim);
    let message = parts.next().unwrap_or_default();
    let tips: Vec<&str> = parts.filter_map(|part| part.strip_prefix("tip: ")).collect();
    let hint = Some(tips.join("; ")).filter(|hint| !hint.is_empty());
    ErrorObject {
        kind: "usage",
        message: message.strip_prefix("error: ").unwrap_or(message).to_owned(),
        path: None,
        layer: None,
        hint: hint.or_else(|| Some("`posterize COMMAND --help` describes the arguments".into())),
        exit_code: Exit::Usage.code(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The width of the help texts.
    const COLUMNS: usize = 100;

    /// Returns the short and the long help of the program and of every command, for a terminal of some
    /// width.
    fn helps(width: usize) -> Vec<(String, String)> {
        let mut program = Cli::command().max_term_width(width).term_width(width);
        program.build();
        let name = program.get_name().to_owned();
        let commands: Vec<clap::Command> = program.get_subcommands().cloned().collect();
        let mut helps = vec![(name, program)];
        helps.extend(commands.into_iter().map(|command| (command.get_name().to_owned(), command)));
        let texts = helps.into_iter().flat_map(|(name, mut command)| {
            let texts = [command.render_help(), command.render_long_help()];
            texts.map(|text| (name.clone(), text.to_string()))
        });
        texts.collect()
    }

    #[test]
    fn no_line_of_a_help_is_longer_than_100_columns() {
        let helps = helps(COLUMNS);
        assert!(helps.len() > 20, "{}", helps.len());
        for (name, text) in helps {
            for line in text.lines() {
                assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
            }
        }
    }

    /// clap would break longer lines of examples and lists, without indentation.
    #[test]
    fn lists_and_examples_are_written_for_100_columns() {
        for (name, text) in helps(1000) {
            let lists = text.lines().skip_while(|line| {
                !["Examples:", "Order of use:", "JSON output"]
                    .iter()
                    .any(|head| line.starts_with(head))
            });
            for line in lists {
                assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
            }
        }
    }

    /// Splits a line as a shell does: at spaces outside of single quotes, up to a redirection or pipe.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted, mut word) = (Vec::new(), false, String::new());
        for character in line.trim().chars() {
            match character {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                _ => word.push(character),
            }
        }
        words.push(word);
        let end = words.iter().position(|word| ["<", ">", "|"].contains(&&**word));
        words.truncate(end.unwrap_or(words.len()));
        words
    }

    #[test]
    fn examples_are_commands_that_the_program_accepts() {
        for (name, text) in helps(COLUMNS) {
            let lines: Vec<&str> =
                text.lines().filter(|line| line.starts_with("  posterize ")).collect();
            for line in &lines {
                if let Err(error) = Cli::try_parse_from(words(line)) {
                    panic!("{name}: {line}: {error}");
                }
            }
            let own = format!("  posterize {name}");
            let examples = lines.iter().filter(|line| line.starts_with(&own)).count();
            if !["posterize", "help"].contains(&&*name) {
                assert!((2..=4).contains(&examples), "{name}: {examples} examples");
            }
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
