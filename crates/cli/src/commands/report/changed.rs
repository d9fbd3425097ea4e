//! The page's section on the pictures whose prediction changed.

use std::{collections::BTreeMap, fmt::Write};

use posterize::{
    data::{ExifOrientation, Picture, Preprocessing, Resize},
    report::Outcome,
};

use super::{
    numbers::{Changed, Numbers, Predicted},
    verdict::pictures,
};
use crate::{
    page::{escaped, jpeg_uri, table},
    ui::count,
};

/// The side of a picture on the page in pixels.
const SIDE: usize = 144;
const QUALITY: u8 = 75;

/// Number of pairs of classes in the table of confused classes.
const MAX_PAIRS: usize = 12;

/// Returns the address of a small JPEG of what the networks see of a picture, or `None` if the file can no
/// longer be read.
pub(super) fn thumbnail(
    changed: &Changed,
    preprocessing: &Preprocessing,
    exif: ExifOrientation,
) -> Option<String> {
    let picture = Picture::open_with(&changed.path, exif).ok()?;
    let seen = preprocessing.apply(&picture);
    let [height, width] = [seen.height(), seen.width()];
    let scale = |side: usize| (side * SIDE / height.max(width)).clamp(1, side);
    let size = [scale(height), scale(width)];
    let small = Preprocessing { resize: Resize::Exact(size), crop: size, ..preprocessing.clone() };
    let small = small.apply(&seen);
    Some(jpeg_uri(&small.to_jpeg(QUALITY).ok()?))
}

/// Renders the section. `thumbnails` are the addresses of the first pictures.
pub(super) fn render(numbers: &Numbers, thumbnails: &[Option<String>]) -> String {
    let Numbers { outcomes, changed, .. } = numbers;
    let mut html = String::from("<h2>What changed</h2>\n");
    let row = |name: &str, right: usize, wrong: usize| {
        [name.to_owned(), count(right as u64), count(wrong as u64)]
    };
    html += &table(
        &["pictures", "int8 right", "int8 wrong"],
        [
            row("float right", outcomes.both, outcomes.only_float),
            row("float wrong", outcomes.only_int8, outcomes.neither),
        ],
    );
    let of = |outcome| changed.iter().filter(|changed| changed.outcome == outcome).count();
    let _ = writeln!(
        html,
        "<p>The predicted class of {} of {} changed: {} became wrong, {} became right, and {} \
         changed from a wrong class to another. The signal-to-quantization-noise ratio of the logits \
         is {}.</p>",
        pictures(changed.len()),
        count(numbers.images as u64),
        count(of(Outcome::OnlyFloat) as u64),
        count(of(Outcome::OnlyInt8) as u64),
        count(of(Outcome::Neither) as u64),
        match numbers.logits_sqnr_db {
            Some(sqnr) => format!("{sqnr:.1} dB"),
            None => "infinite: they are equal".into(),
        }
    );
    html += &confusion(changed);
    if thumbnails.is_empty() {
        return html;
    }
    if thumbnails.len() < changed.len() {
        let _ = writeln!(
            html,
            "<p class=\"caption\">The first {} of them: those that became wrong, then those that became \
             right, then the others, each with the most certain predictions first.</p>",
            thumbnails.len()
        );
    }
    html += "<div class=\"cards\">\n";
    for (changed, thumbnail) in changed.iter().zip(thumbnails) {
        html += &card(changed, thumbnail.as_deref());
    }
    html + "</div>\n"
}

/// Renders the pairs of classes between which several pictures changed.
fn confusion(changed: &[Changed]) -> String {
    let mut pairs: BTreeMap<[&str; 2], usize> = BTreeMap::new();
    for Changed { float, int8, .. } in changed {
        if let (Some(from), Some(to)) = (float.first(), int8.first()) {
            *pairs.entry([&from.name, &to.name]).or_default() += 1;
        }
    }
    let mut pairs: Vec<([&str; 2], usize)> = pairs.into_iter().filter(|pair| pair.1 > 1).collect();
    if pairs.is_empty() {
        return String::new();
    }
    pairs.sort_by_key(|&(names, number)| (std::cmp::Reverse(number), names));
    pairs.truncate(MAX_PAIRS);
    let rows = pairs
        .into_iter()
        .map(|([from, to], number)| [readable(from), readable(to), count(number as u64)]);
    table(&["float predicts", "int8 predicts", "pictures"], rows)
}

fn card(changed: &Changed, thumbnail: Option<&str>) -> String {
    let label = escaped(&readable(&changed.label_name));
    let (class, what) = match changed.outcome {
        Outcome::OnlyFloat => ("lost", "became wrong"),
        Outcome::OnlyInt8 => ("gained", "became right"),
        Outcome::Neither | Outcome::Both => ("other", "wrong in both"),
    };
    let picture = thumbnail.map_or(String::new(), |uri| {
        format!("<img src=\"{uri}\" width=\"96\" height=\"96\" alt=\"{label}\">")
    });
    let file = escaped(&changed.path.file_name().unwrap_or_default().to_string_lossy());
    format!(
        "<div class=\"card\">{picture}<div class=\"of\"><b>{label}</b><div class=\"{class}\">{what}</div>\
         <div class=\"note\" title=\"{file}\">{file}</div></div>\n<div class=\"tops\">{}{}</div></div>\n",
        top("float", changed.label, &changed.float),
        top("int8", changed.label, &changed.int8)
    )
}

/// Renders the most probable classes of a network; the right one is bold.
fn top(network: &str, label: usize, classes: &[Predicted]) -> String {
    let mut html = format!("<div><span class=\"note\">{network}</span><ol>");
    for Predicted { class, name, probability } in classes {
        let name = escaped(&readable(name));
        let name = if *class == label { format!("<b>{name}</b>") } else { name };
        let _ = write!(
            html,
            "<li>{name} <span class=\"note\">{:.1}&nbsp;%</span></li>",
            100.0 * probability
        );
    }
    html + "</ol></div>"
}

/// Returns a class name with spaces, so that it can be wrapped.
fn readable(name: &str) -> String {
    name.replace('_', " ")
}
