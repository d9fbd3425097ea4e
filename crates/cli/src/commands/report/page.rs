//! The HTML page of a report.

use super::{accuracy, changed, layers, numbers::Numbers, sensitivity};
use crate::{
    page::{document, escaped},
    ui::count,
};

/// Renders the page. `thumbnails` are the addresses of the first pictures whose prediction changed, and
/// `ranking` is that of the layers by their influence, which may be empty.
pub(super) fn render(
    numbers: &Numbers,
    thumbnails: &[Option<String>],
    ranking: &[sensitivity::Row],
) -> String {
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
        sensitivity::render(ranking),
        layers::render(numbers)
    );
    document(&format!("{} in int8, compared with float", numbers.model), &body)
}
