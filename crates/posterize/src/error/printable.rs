//! Text of a file for use in a message.

/// The longest text that is shown, in characters.
const MAX_CHARS: usize = 120;

/// Returns text of a file for use in a message: control characters are escaped, and long text is
/// cut.
pub(crate) fn printable(text: &[u8]) -> String {
    printable_up_to(text, MAX_CHARS)
}

/// Returns text as [`printable`] does, with another longest length in characters.
pub(crate) fn printable_up_to(text: &[u8], max_chars: usize) -> String {
    // A character has at most 4 bytes, so this has the first one that is too many.
    let start = &text[..text.len().min(4 * (max_chars + 1))];
    let mut shown = String::new();
    for (index, c) in String::from_utf8_lossy(start).chars().enumerate() {
        if index == max_chars {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_and_control_characters_are_escaped() {
        assert_eq!(printable_up_to(b"ab\n", 3), "ab\\n");
        assert_eq!(printable_up_to(b"ab\nc", 3), "ab\\n…");
        assert_eq!(printable_up_to("äöü€".as_bytes(), 3), "äöü…");
        assert_eq!(printable_up_to(&"€".repeat(1000).into_bytes(), 3), "€€€…");
        assert_eq!(printable_up_to(b"\xff", 3), "\u{fffd}");
    }
}
