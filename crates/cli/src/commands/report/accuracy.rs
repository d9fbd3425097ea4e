//! The page's section on accuracy, time and size.

use std::fmt::Write;

use super::{
    numbers::{Network, Numbers},
    verdict::verdict,
};
use crate::{
    page::{
        bars::{self, Bar},
        escaped,
        plot::open,
        table,
    },
    ui::percent,
};

pub(super) fn render(numbers: &Numbers) -> String {
    let networks = [&numbers.float, &numbers.int8];
    let mut html = String::from("<h2>Accuracy, time and size</h2>\n");
    html += &table(&Network::HEADS, networks.map(Network::cells));
    let _ = writeln!(
        html,
        "<p class=\"finding\">{}</p>",
        escaped(&verdict(&numbers.outcomes, &numbers.difference))
    );
    html += &intervals(networks);
    let bars = |value: fn(&Network) -> f64| {
        [("float", value(&numbers.float)), ("int8", value(&numbers.int8))]
            .map(|(name, value)| Bar { name, class: name, value })
    };
    let two_decimals = |value: f64| format!("{value:.2}");
    let times = bars(|network| network.times.median_ms);
    html += &bars::render(("Time, ms per picture", "short"), &times, None, two_decimals);
    let sizes = bars(|network| network.bytes as f64 / 1e6);
    html += &bars::render(("Size, MB", "short"), &sizes, None, two_decimals);
    let ratio = &numbers.time_ratio;
    let _ = writeln!(
        html,
        "<p class=\"note\">Int8 takes {:.2} times as long as float (median of {} pairs of alternating \
         measurements; quartiles {:.2} and {:.2}), one picture at a time with {} {} and {}. Size is that \
         of the saved file.</p>",
        ratio.median,
        ratio.pairs,
        ratio.lower_quartile,
        ratio.upper_quartile,
        numbers.threads,
        if numbers.threads == 1 { "thread" } else { "threads" },
        escaped(&numbers.isa)
    );
    html
}

const HEIGHT: f64 = 96.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 560.0;
const LINE: f64 = 30.0;

/// Draws both accuracies as points with their confidence intervals as lines.
fn intervals(networks: [&Network; 2]) -> String {
    let bounds = networks.map(|network| network.top1_interval);
    let low = bounds.iter().map(|bound| bound.low).fold(100.0, f64::min).floor();
    let high = bounds.iter().map(|bound| bound.high).fold(0.0, f64::max).ceil().max(low + 1.0);
    let x = |value: f64| LEFT + (RIGHT - LEFT) * (value - low) / (high - low);
    let mut svg = open("Top-1 accuracy with 95 % confidence intervals, %", HEIGHT, "short");
    let bottom = 2.0 * LINE;
    for value in [low, f64::midpoint(low, high), high] {
        let at = x(value);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{bottom}\"/>\
             <text class=\"below\" x=\"{at:.1}\" y=\"{:.1}\">{value}</text>",
            bottom + 14.0
        );
    }
    for (index, (name, network)) in ["float", "int8"].into_iter().zip(networks).enumerate() {
        let y = LINE * (index as f64 + 0.5);
        let (from, to) = (x(network.top1_interval.low), x(network.top1_interval.high));
        let at = x(network.top1);
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"{}\" y=\"{y}\">{name}</text>\
             <path class=\"whisker {name}\" d=\"M{from:.1} {y}H{to:.1}M{from:.1} {}v10M{to:.1} {}v10\"/>\
             <circle class=\"{name}\" cx=\"{at:.1}\" cy=\"{y}\" r=\"5\"/>\
             <text class=\"value\" x=\"{:.1}\" y=\"{y}\">{}</text>",
            LEFT - 10.0,
            y - 5.0,
            y - 5.0,
            RIGHT + 8.0,
            percent(network.top1).trim_end_matches(" %"),
        );
    }
    svg + "</svg></figure>\n"
}

#[cfg(test)]
mod tests {
    use super::{super::numbers::example, render};

    #[test]
    fn intervals_are_drawn_to_scale() {
        let numbers = example::numbers(2);
        let html = render(&numbers);
        // The axis is from 75 to 89 %, and 410 wide.
        assert!(html.contains(">75</text>") && html.contains(">89</text>"), "{html}");
        let x = |value: f64| format!("{:.1}", 150.0 + 410.0 * (value - 75.0) / 14.0);
        let float = &numbers.float;
        let [low, at, high] =
            [float.top1_interval.low, float.top1, float.top1_interval.high].map(x);
        assert!(html.contains(&format!("d=\"M{low} 15H{high}M")), "{html}");
        assert!(html.contains(&format!("<circle class=\"float\" cx=\"{at}\"")), "{html}");
        assert!(html.contains("<td>4.00</td>") && html.contains(">1.00</text>"), "{html}");
    }
}
