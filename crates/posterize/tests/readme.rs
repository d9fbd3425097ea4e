//! Tests that the examples in the repository's README are also in this crate's README, whose examples
//! the doctests compile.

use std::{fs, path::Path};

#[test]
fn both_readmes_have_the_same_examples() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    if !repository.exists() {
        println!("skipped: {} is missing, because this is a package", repository.display());
        return;
    }
    let (found, own) = (examples(&repository), examples(&own));
    assert_eq!(found.len(), 2);
    for example in found {
        assert!(own.contains(&example), "{example}");
    }
}

/// Returns the Rust code blocks of a Markdown file.
fn examples(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```rust").skip(1);
    // Lines that rustdoc hides are only in one of the READMEs.
    let visible = |block: &str| -> String {
        let lines: Vec<&str> = block.lines().filter(|line| !line.starts_with("# ")).collect();
        lines.join("\n")
    };
    blocks.map(|rest| visible(rest.split("```").next().unwrap())).collect()
}
