//! Renders the tutorial as Markdown.

use std::fmt::Write;

use super::{
    content::{Content, Epoch, Epochs, Figure, Row},
    steps,
};

pub(super) fn render(content: &Content) -> String {
    let mut text = format!("# {}\n\n", escaped(&steps::title(content)));
    for fact in &content.facts {
        let _ = writeln!(text, "- {}", escaped(fact));
    }
    for (number, step) in content.steps.iter().enumerate() {
        // Not escaped: headings and explanations are constants that use Markdown's code spans.
        let _ = write!(text, "\n## {}. {}\n\n{}\n", number + 1, step.heading, step.explanation);
        for tree in &step.trees {
            let _ = write!(text, "\n{}:\n\n```text\n{}\n```\n", escaped(&tree.caption), tree.code);
        }
        if let Some(Figure::Epochs(epochs)) = &step.figure {
            text.push('\n');
            text += &table(Epochs::HEADS, epochs.rows.iter().map(Epoch::cells));
        }
        for finding in &step.findings {
            let _ = write!(text, "\n{}\n", escaped(finding));
        }
    }
    text += "\n## Summary\n\n";
    text += &table(Row::HEADS, content.rows.iter().map(Row::cells));
    for note in &content.notes {
        let _ = write!(text, "\n{}\n", escaped(note));
    }
    text
}

/// Renders a table whose first column is text and whose other columns are numbers.
fn table<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rule = " ---: |".repeat(N - 1);
    let mut table = format!("| {} |\n| --- |{rule}\n", heads.join(" | "));
    for row in rows {
        let _ = writeln!(table, "| {} |", row.join(" | "));
    }
    table
}

/// Escapes the characters that have a meaning in Markdown.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '&') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Content, render};

    #[test]
    fn content_is_rendered_as_markdown() {
        let expected = r#"# Static quantization of net, step by step

- Pictures: a\<b\>\&"c"/\*val\*\_1\_\|x.

## 1. Fusion

One kernel in place of three.

conv.0 \& after:

```text
Conv2d(3, 8,
  bias=<none>)
```

It is smaller.

## Summary

| method | size MB | top-1 % | top-5 % | ms/picture | speed-up |
| --- | ---: | ---: | ---: | ---: | ---: |
| float | 14.00 | 88.00 | 98.00 | 20.00 | 1.00× |
| int8 | 3.50 | 44.00 | 98.00 | 5.00 | 4.00× |

Few pictures.
"#;
        assert_eq!(render(&Content::example()), expected);
    }
}
