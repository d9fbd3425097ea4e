//! Tests that the example in the repository's README is the first one in this crate's README, whose
//! examples the doctests compile.

use std::{fs, path::Path};

#[test]
fn both_readmes_have_the_same_example() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    if !repository.exists() {
        println!("skipped: {} is missing, because this is a package", repository.display());
        return;
    }
    let examples = examples(&repository);
    assert_eq!(examples.len(), 1);
    assert_eq!(examples[0], self::examples(&own)[0]);
}

/// Returns the Rust code blocks of a Markdown file.
fn examples(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```rust").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}
