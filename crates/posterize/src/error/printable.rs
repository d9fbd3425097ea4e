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
    let shown: String = String::from_utf8_lossy(&text[..text.len().min(4 * max_chars)])
        .chars()
        .take(max_chars)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.len() > shown.len() && shown.chars().count() >= max_chars {
        shown + "…"
    } else {
        shown
    }
}
