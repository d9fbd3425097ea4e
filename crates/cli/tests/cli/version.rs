//! Tests of `--version`.

use std::path::Path;

use crate::support::{posterize, run, succeeds};

#[test]
fn the_version_is_one_line_and_more_with_v() {
    let version = |options: &[&str]| succeeds(posterize(Path::new("/none")).args(options));
    let line = format!("posterize {}\n", env!("CARGO_PKG_VERSION"));
    for options in [&["--version"][..], &["-V"]] {
        assert_eq!(version(options), line);
    }
    for options in [&["-vV"][..], &["-v", "--version"], &["--version", "--verbose"]] {
        let text = version(options);
        let rest = text.strip_prefix(&line).unwrap_or_else(|| panic!("{text}"));
        let (names, values): (Vec<&str>, Vec<&str>) =
            rest.lines().map(|line| line.split_once(": ").unwrap()).unzip();
        assert_eq!(names, ["target", "instruction set", "features"]);
        assert!(values[0].contains(std::env::consts::ARCH), "{text}");
        assert!(values[2].contains("jpeg, "), "{text}");
    }
    let scalar = |isa: &str| {
        let mut command = posterize(Path::new("/none"));
        String::from_utf8(run(command.arg("-vV").env("POSTERIZE_ISA", isa)).stdout).unwrap()
    };
    assert!(scalar("scalar").contains("\ninstruction set: scalar (of scalar"));
    assert!(scalar("z80").contains("\ninstruction set: none: POSTERIZE_ISA: unknown"));
}
