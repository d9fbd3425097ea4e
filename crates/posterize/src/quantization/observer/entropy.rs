//! The range with the smallest Kullback-Leibler divergence between a histogram and its quantized form;
//! [8-bit inference with TensorRT](https://www.cse.iitb.ac.in/~rohitp/8-bit-inference-with-tensorrt.pdf)
//! (Migacz 2017), and `EntropyCalibrater` of ONNX Runtime.

/// The number of bins of the histogram from −t to t, where t is the largest magnitude.
pub(super) const BINS: usize = 2048;

/// The number of levels that a part of the histogram is quantized to.
pub(super) const LEVELS: usize = 128;

/// What replaces the probability 0, so that every logarithm is finite.
const EPS: f64 = 1e-4;

/// Returns the edges, as indices from 0 to the number of bins, of the part of a symmetric histogram that
/// diverges least from what it becomes with `levels` levels.
///
/// A part has `levels / 2` or more bins below the middle bin, and as many above. Counts outside of it
/// belong to its first and last bin, as values outside of a range are clamped. Its bins are merged into
/// levels of equal width, and each level is spread over its bins again.
pub(super) fn least_divergent_part(histogram: &[u64], levels: usize) -> [usize; 2] {
    let middle = histogram.len() / 2;
    let parts = (levels / 2..=middle).map(|half| {
        let part = [middle - half, (middle + half + 1).min(histogram.len())];
        (part, divergence(histogram, part, levels))
    });
    // Of divergences that are equal in f32, the first is that of the narrowest part.
    let smallest = parts.min_by(|(_, a), (_, b)| (*a as f32).total_cmp(&(*b as f32)));
    smallest.map_or([0, histogram.len()], |(part, _)| part)
}

/// Returns the divergence of a part of a histogram from its quantized form; infinite if one is empty.
fn divergence(histogram: &[u64], [start, end]: [usize; 2], levels: usize) -> f64 {
    let inside = &histogram[start..end];
    let mut reference = inside.to_vec();
    let last = reference.len() - 1;
    reference[0] += histogram[..start].iter().sum::<u64>();
    reference[last] += histogram[end..].iter().sum::<u64>();

    let width = inside.len() / levels;
    let mut quantized = vec![0; inside.len()];
    for level in 0..levels {
        let bins = level * width..(level + 1) * width;
        // Bins that are left over belong to the last level.
        let counted = if level + 1 == levels { bins.start..inside.len() } else { bins.clone() };
        let count: u64 = inside[counted].iter().sum();
        let filled = reference[bins.clone()].iter().filter(|&&count| count > 0).count() as u64;
        if let Some(each) = count.checked_div(filled) {
            quantized[bins].fill(each);
        }
    }
    let (Some(p), Some(q)) = (smoothed(&reference), smoothed(&quantized)) else {
        return f64::INFINITY;
    };
    p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum()
}

/// Returns probabilities without zeros; `None` if all counts are zero.
fn smoothed(counts: &[u64]) -> Option<Vec<f64>> {
    let filled = counts.iter().filter(|&&count| count > 0).count();
    if filled == 0 {
        return None;
    }
    let taken = EPS * (counts.len() - filled) as f64 / filled as f64;
    let smooth = |&count: &u64| if count == 0 { EPS } else { count as f64 - taken };
    // What is taken from filled bins is what empty ones get, so the sum stays the same.
    let total: u64 = counts.iter().sum();
    Some(counts.iter().map(|count| smooth(count) / total as f64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Golden {
        histogram: Vec<u64>,
        levels: usize,
        part: [usize; 2],
    }

    #[test]
    fn parts_are_those_of_onnx_runtime() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/ranges/entropy.json");
        let Ok(text) = std::fs::read_to_string(path) else {
            println!("skipped: {path} is missing, because this is a package");
            return;
        };
        let goldens: Vec<Golden> = serde_json::from_str(&text).unwrap();
        assert!(goldens.len() >= 8);
        for Golden { histogram, levels, part } in goldens {
            assert_eq!(least_divergent_part(&histogram, levels), part);
        }
    }

    #[test]
    fn a_part_without_far_values_is_chosen_and_an_empty_histogram_is_kept_whole() {
        let mut histogram = vec![0; 512];
        for (place, count) in histogram[206..306].iter_mut().enumerate() {
            *count = 5000 - 100 * place.abs_diff(50) as u64;
        }
        histogram[511] = 1;
        let [start, end] = least_divergent_part(&histogram, 128);
        assert!((140..=206).contains(&start) && (306..=372).contains(&end), "{start} to {end}");
        assert_eq!(least_divergent_part(&[0; 512], 128), [192, 321]);
    }
}
