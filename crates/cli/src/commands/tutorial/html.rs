//! The story as a page that needs no other file.

use std::fmt::Write;

use super::{
    chart, figure, narration,
    story::{Epoch, Epochs, Figure, Row, Story},
};
use crate::page::{document, escaped, table};

pub(super) fn render(story: &Story) -> String {
    let mut page = String::from("<ul>\n");
    for fact in &story.facts {
        let _ = writeln!(page, "<li>{}</li>", escaped(fact));
    }
    page += "</ul>\n<h2>Summary</h2>\n";
    page += &table(&Row::HEADS, story.rows.iter().map(Row::cells));
    page += &chart::render(&story.rows);
    for note in &story.notes {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escaped(note));
    }
    for (number, step) in story.steps.iter().enumerate() {
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
    document(&narration::title(story), &page)
}

/// Text that is no markup, with what stands between backquotes as code.
fn code_spans(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| match index % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::{Story, code_spans, render};

    #[test]
    fn a_page_stands_alone_and_shows_text_as_text() {
        let page = render(&Story::example());
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
    fn backquotes_are_code() {
        assert_eq!(code_spans("the `a<b` one"), "the <code>a&lt;b</code> one");
    }
}
