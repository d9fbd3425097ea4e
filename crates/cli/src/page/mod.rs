//! HTML pages that need no other file. They are light or dark as the reader's system is.

pub(crate) mod bars;
pub(crate) mod plot;

use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// Returns a whole page. `body` is HTML.
pub(crate) fn document(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// Returns a table in HTML. The first cell of each row is its heading.
pub(crate) fn table<const N: usize>(
    heads: &[&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    table_of_html(heads, rows.into_iter().map(|row| row.map(|cell| escaped(&cell))))
}

/// Returns a table as [`table`] does, of cells that are HTML.
pub(crate) fn table_of_html<const N: usize>(
    heads: &[&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = String::from("<div class=\"wide\"><table>\n<thead><tr>");
    for head in heads {
        let _ = write!(table, "<th scope=\"col\">{}</th>", escaped(head));
    }
    table += "</tr></thead>\n<tbody>\n";
    for row in rows {
        table += "<tr>";
        for (index, cell) in row.iter().enumerate() {
            let _ = match index {
                0 => write!(table, "<th scope=\"row\">{cell}</th>"),
                _ => write!(table, "<td>{cell}</td>"),
            };
        }
        table += "</tr>\n";
    }
    table + "</tbody>\n</table></div>\n"
}

/// Returns the address of a JPEG that is part of the page.
pub(crate) fn jpeg_uri(bytes: &[u8]) -> String {
    format!("data:image/jpeg;base64,{}", base64(bytes))
}

/// Encodes bytes in base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            // A group of one byte has two digits, and so on.
            let character = DIGITS[(bits >> (18 - 6 * digit) & 63) as usize];
            text.push(if digit <= group.len() { char::from(character) } else { '=' });
        }
    }
    text
}

/// Escapes text for HTML, also inside a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_gives_the_test_vectors_of_rfc_4648() {
        let encoded =
            ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|t| base64(t.as_bytes()));
        let expected = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        assert_eq!(encoded, expected);
        assert_eq!(base64(&[0xFB, 0xFF, 0xBF]), "+/+/");
    }
}
