//! Tests that run the program: its output, the files it writes and its exit codes.

mod bench;
mod checkpoints;
mod completions;
mod errors_as_json;
mod evaluate;
mod exif;
mod exit_codes;
mod fetch_cache;
mod fetch_https;
mod fetch_wheel;
mod fixture;
mod foreign_files;
mod help;
mod inspect;
mod names;
mod quantize;
mod report;
mod saved;
mod server;
mod support;
mod train;
mod tutorial;
mod verbosity;
mod version;
mod writing;
