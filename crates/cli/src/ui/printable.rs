//! Text without the control characters of the names in it.
//!
//! The names of files, folders, classes and layers may contain any characters. Sent to a terminal,
//! escape sequences in them would move the cursor, hide text or change the window's title. So every
//! control character is printed as an escape such as `\u{1b}`. The program's own styles are not written
//! as escape sequences but as markers, which become escape sequences here.

use std::fmt::{self, Display, Write};

/// A style of printed text: `{style}` begins it and `{style:#}` ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Bold,
    Dimmed,
    /// Black on yellow.
    OnYellow,
    /// White on red.
    OnRed,
}

/// A character that Unicode reserves for use inside a program ("noncharacter"). It ends all styles, and
/// those after it begin one.
const END: char = '\u{FDD0}';

/// The markers of the program's own styles, and their escape sequences.
const MARKERS: [(char, &str); 5] = [
    (END, "\x1b[0m"),
    ('\u{FDD1}', "\x1b[1m"),
    ('\u{FDD2}', "\x1b[2m"),
    ('\u{FDD3}', "\x1b[30;43m"),
    ('\u{FDD4}', "\x1b[37;41m"),
];

impl Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char(match self {
            _ if f.alternate() => END,
            Self::Bold => MARKERS[1].0,
            Self::Dimmed => MARKERS[2].0,
            Self::OnYellow => MARKERS[3].0,
            Self::OnRed => MARKERS[4].0,
        })
    }
}

/// Wraps text between words into lines of at most `max_width` characters. A longer word has a line of
/// its own.
pub(crate) fn wrapped(text: &str, max_width: usize) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > max_width {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines += word;
        width += length;
    }
    lines
}

/// Returns a text of at most `width` characters: the text itself, or its beginning and its end with `…`
/// between them.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (first, last) = (kept.div_ceil(2), kept / 2);
    let parts =
        [&characters[..first], &['…'][..width.min(1)], &characters[characters.len() - last..]];
    parts.into_iter().flatten().collect()
}

/// Escapes the control characters of a text except ends of lines and tabs, and turns markers of styles
/// into escape sequences.
pub(crate) fn printable(text: impl Display) -> String {
    let mut printable = String::new();
    for character in text.to_string().chars() {
        match MARKERS.iter().find(|(marker, _)| *marker == character) {
            Some((_, sequence)) => printable += sequence,
            None if matches!(character, '\n' | '\t') => printable.push(character),
            None if is_control(character) => printable.extend(character.escape_default()),
            None => printable.push(character),
        }
    }
    printable
}

/// Escapes all control characters of a text that is to fit on one line.
pub(super) fn on_one_line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        if is_control(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Escapes the control characters that JSON allows in strings, where they are the only ones.
pub(super) fn printable_json(json: &str) -> String {
    let mut printable = String::new();
    for character in json.chars() {
        if is_control(character) {
            let _ = write!(printable, "\\u{:04x}", u32::from(character));
        } else {
            printable.push(character);
        }
    }
    printable
}

/// Whether a character controls the terminal, or the direction in which text is shown.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
        )
}

/// Turns the escape sequences of bold text, which a table contains, into markers.
pub(super) fn with_markers(text: &str) -> String {
    let mut marked = text.to_owned();
    for (marker, sequence) in &MARKERS[..2] {
        marked = marked.replace(sequence, &marker.to_string());
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_in_names_are_escaped_and_styles_are_not() {
        let name = "\x1b[31mred\x1b[0m\u{9b}2J\r\x07\u{202e}é/日本.jpg";
        let bold = Style::Bold;
        assert_eq!(
            printable(format_args!("{bold}a{bold:#}\n\t{name}")),
            "\x1b[1ma\x1b[0m\n\t\\u{1b}[31mred\\u{1b}[0m\\u{9b}2J\\r\\u{7}\\u{202e}é/日本.jpg"
        );
        assert_eq!(on_one_line("a\nb"), "a\\nb");
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let name = "\x1b[31m\u{7f}\u{9b}\u{202e}\n\"é";
        let json = printable_json(&serde_json::to_string(name).unwrap());
        assert!(!json.chars().any(is_control), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), name);
    }

    #[test]
    fn long_names_are_shortened_in_the_middle() {
        assert_eq!(shortened("features.10.conv.0.0", 20), "features.10.conv.0.0");
        assert_eq!(shortened("features.10.conv.0.0", 15), "feature…onv.0.0");
        assert_eq!(shortened("αβγδε", 4), "αβ…ε");
        assert_eq!([0, 1, 2].map(|width| shortened("abc", width)), ["", "…", "a…"]);
    }

    #[test]
    fn long_text_is_wrapped_between_words() {
        let text = "word ".repeat(60);
        let lines = wrapped(text.trim(), 96);
        assert!(lines.lines().count() > 1);
        assert!(lines.lines().all(|line| line.chars().count() <= 96 && !line.ends_with(' ')));
        assert_eq!(lines.replace('\n', " "), text.trim());
        let path = "x".repeat(200);
        assert_eq!(wrapped(&format!("a {path} b"), 96), format!("a\n{path}\nb"));
    }
}
