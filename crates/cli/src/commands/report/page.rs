//! The HTML page of a report.

use super::{accuracy, changed, layers, numbers::Numbers, sensitivity};
use crate::{
    page::{document, escaped},
    ui::count,
};

/// Renders the page. `thumbnails` are the addresses of the first pictures whose prediction changed.
pub(super) fn render(numbers: &Numbers, thumbnails: &[Option<String>]) -> String {
    let ranking = numbers.sensitivity.as_ref();
    let mut facts = vec![
        format!("Int8 network: {}", numbers.file.display()),
        format!("Float network: {}", numbers.against),
        format!("Pictures: {} of {}", count(numbers.images as u64), numbers.data.display()),
    ];
    if numbers.skipped > 0 {
        let skipped = count(numbers.skipped as u64);
        facts.push(format!("Pictures that could not be decoded and are left out: {skipped}"));
    }
    let facts: Vec<String> = facts.iter().map(|fact| escaped(fact)).collect();
    let body = format!(
        "<ul>\n<li>{}</li>\n</ul>\n{}{}{}{}",
        facts.join("</li>\n<li>"),
        accuracy::render(numbers),
        changed::render(numbers, thumbnails),
        ranking.map(|found| sensitivity::render(found, &numbers.layers)).unwrap_or_default(),
        layers::render(numbers)
    );
    document(&format!("{} in int8, compared with float", numbers.model), &body)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{numbers::example, sensitivity::example::ranking},
        render,
    };

    #[test]
    fn a_page_of_any_number_of_layers_is_bounded_and_complete() {
        let thumbnails = [Some("data:image/jpeg;base64,AAAA".to_owned()), None];
        for layers in [1, 50, 500] {
            let mut numbers = example::numbers(layers);
            numbers.sensitivity = Some(ranking(layers));
            let page = render(&numbers, &thumbnails);
            assert_eq!(page.matches("; try <code>").count(), layers);
            assert!(page.len() < 3_200_000, "{layers} layers: {} bytes", page.len());
            assert_eq!(page.matches("<details id=").count(), layers);
            for layer in 0..layers {
                assert!(
                    page.contains(&format!("<summary><b>layers.{layer}&lt;x&gt;</b>")),
                    "{layer}"
                );
                assert!(page.contains(&format!("id=\"layer{layer}\"")), "{layer}");
            }
            for tag in ["details", "summary", "figure", "svg", "a", "table", "div", "ul", "ol", "p"]
            {
                let opened = page.matches(&format!("<{tag}>")).count()
                    + page.matches(&format!("<{tag} ")).count();
                assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
            }
            assert!(!page.contains("NaN") && !page.contains("<x>"));
        }
    }

    #[test]
    fn the_worst_layer_is_first_and_float_layers_have_their_reasons() {
        let page = render(&example::numbers(20), &[]);
        let first = page.find("<details id=\"layer19\" open>").unwrap();
        assert!(first < page.find("<details id=\"layer18\">").unwrap());
        assert!(page.contains("<td>it has no qconfig</td>"));
        assert!(page.contains("Computed in float: it has no qconfig."));
        assert!(page.contains("divided by 0.250 to 4.00 (equalization)"));
        assert!(page.contains("left out: 1</li>"));
        let page = render(&example::numbers(2), &[]);
        assert!(page.contains("No layer stays in float.") && page.contains("exact"));
    }

    #[test]
    fn changed_pictures_have_both_predictions() {
        let thumbnails = [Some("data:image/jpeg;base64,AAAA".to_owned()), None];
        let page = render(&example::numbers(1), &thumbnails);
        assert_eq!(page.matches("<div class=\"card\">").count(), 2);
        assert_eq!(page.matches("<img ").count(), 1);
        assert!(page.contains("<div class=\"lost\">became wrong</div>"));
        assert!(page.contains("<li><b>a&amp;b</b> <span class=\"note\">75.0&nbsp;%</span></li>"));
        assert!(page.contains("<li>sea snake <span"));
        // Both changed from the same class to the same other one.
        assert!(page.contains("<th scope=\"row\">a&amp;b</th><td>sea snake</td><td>2</td>"));
    }
}
