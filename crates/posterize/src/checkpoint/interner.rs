//! Strings of a file as small numbers.
//!
//! A pickle can use one long string again and again in a few bytes, as the key of many entries or of
//! many storages. Hashing or comparing it each time would take the length times the uses.

use std::collections::HashMap;

/// Numbers strings from 0 on in the order in which they are seen. Equal strings have the same number.
///
/// The bytes of a string are read only the first time. Later it is recognized by its place in memory.
#[derive(Default)]
pub(super) struct Interner<'a> {
    /// By address and length. The strings are borrowed, so no other string can have this place.
    by_place: HashMap<(usize, usize), usize>,
    by_content: HashMap<&'a str, usize>,
}

impl<'a> Interner<'a> {
    /// Returns the number of a string.
    pub(super) fn number(&mut self, text: &'a str) -> usize {
        let next = self.by_content.len();
        *self
            .by_place
            .entry((text.as_ptr().addr(), text.len()))
            .or_insert_with(|| *self.by_content.entry(text).or_insert(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_have_the_same_number() {
        let text = "ab ab b".to_owned();
        let mut interner = Interner::default();
        let numbers: Vec<usize> =
            [&text[..2], &text[3..5], &text[1..2], &text[..2], &text[6..], &text[..0], ""]
                .map(|part| interner.number(part))
                .to_vec();
        assert_eq!(numbers, [0, 0, 1, 0, 1, 2, 2]);
    }
}
