//! Tests that the example in the repository's README is that in this crate's README, which the
//! doctests compile.

use std::{fs, path::Path};

#[test]
fn both_readmes_have_the_same_example() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    if !repository.exists() {
        println!("skipped: {} is missing, because this is a package", repository.display());
        return;
    }
    assert_eq!(example(&repository), example(&own));
}

/// Returns the only Rust code block of a Markdown file.
fn example(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let mut blocks = text.split("```rust").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.next().unwrap_or_else(|| panic!("{}: no example", path.display()));
    assert!(blocks.next().is_none(), "{}: more than one example", path.display());
    block.to_owned()
}
