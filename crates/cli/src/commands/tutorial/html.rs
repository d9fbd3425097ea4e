//! Renders the tutorial as an HTML page.

use std::fmt::Write;

use super::{
    chart,
    content::{Content, Epoch, Epochs, Figure, Row},
    figure, steps,
};
use crate::page::{document, escaped, table};

pub(super) fn render(content: &Content) -> String {
    let mut page = String::from("<ul>\n");
    for fact in &content.facts {
        let _ = writeln!(page, "<li>{}</li>", escaped(fact));
    }
    page += "</ul>\n<h2>Summary</h2>\n";
    page += &table(&Row::HEADS, content.rows.iter().map(Row::cells));
    page += &chart::render(&content.rows);
    for note in &content.notes {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escaped(note));
    }
    for (number, step) in content.steps.iter().enumerate() {
        let explanation = code_spans(&step.explanation);
        let heading = escaped(&step.heading);
        let _ = writeln!(page, "<h2>{}. {heading}</h2>\n<p>{explanation}</p>", number + 1);
        for tree in &step.trees {
            let (caption, code) = (escaped(&tree.caption), escaped(&tree.code));
            let _ = writeln!(page, "<p class=\"caption\">{caption}</p>\n<pre>{code}</pre>");
        }
        if let Some(figure) = &step.figure {
            page += &figure::render(figure);
        }
        if let Some(Figure::Epochs(epochs)) = &step.figure {
            page += &table(&Epochs::HEADS, epochs.rows.iter().map(Epoch::cells));
        }
        for finding in &step.findings {
            let _ = writeln!(page, "<p class=\"finding\">{}</p>", escaped(finding));
        }
    }
    document(&steps::title(content), &page)
}

/// Escapes text, and turns what is between backquotes into code.
fn code_spans(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| match index % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::{Content, code_spans, render};

    #[test]
    fn the_page_needs_no_other_file_and_escapes_text() {
        let page = render(&Content::example());
        assert!(page.starts_with("<!doctype html>"));
        assert!(!page.contains("http") && !page.contains("src=") && !page.contains("<link"));
        assert!(page.contains("<li>Pictures: a&lt;b&gt;&amp;&quot;c&quot;/*val*_1_|x.</li>"));
        assert!(page.contains("<pre>Conv2d(3, 8,\n  bias=&lt;none&gt;)</pre>"));
        assert!(page.contains("<th scope=\"row\">int8</th><td>3.50</td><td>44.00</td>"));
        assert!(page.contains("prefers-color-scheme: dark"));
        for tag in ["html", "head", "style", "body", "main", "table", "tr", "svg", "figure", "p"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn text_between_backquotes_is_code() {
        assert_eq!(code_spans("the `a<b` one"), "the <code>a&lt;b</code> one");
    }
}
