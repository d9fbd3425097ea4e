//! The order of layers whose noise is that of a value that another layer computes.

/// The largest difference in decibels between the noise of a layer and that of the layer that computes its input,
/// with which the errors of the latter are at least half as large. Where they are larger than the outputs themselves,
/// two layers with the noise of the same value differ by more than 3 dB.
const CLOSE_DB: f64 = 6.0;

/// Moves layers in front of those that read their output if these have the noise from there.
///
/// The value between two layers is rounded if either of them is int8, so both have its noise, and the one that
/// reads it often more. `of` returns a layer's name, the SQNR of the network's outputs in dB with only this layer
/// in int8, and the layer that computes the value whose noise it likely has.
pub(in crate::quantization) fn sources_first<T>(
    layers: &mut Vec<T>,
    of: impl Fn(&T) -> (&str, f64, Option<&str>),
) {
    let mut at = 0;
    while at < layers.len() {
        let (_, noisy, source) = of(&layers[at]);
        let is_source = |layer: &T| {
            let (name, sqnr_db, _) = of(layer);
            Some(name) == source && sqnr_db <= noisy + CLOSE_DB
        };
        match layers[at + 1..].iter().position(is_source) {
            // It may itself have the noise of its input.
            Some(behind) => {
                let source = layers.remove(at + 1 + behind);
                layers.insert(at, source);
            }
            None => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Layer = (&'static str, f64, Option<&'static str>);

    fn names(mut layers: Vec<Layer>) -> Vec<&'static str> {
        sources_first(&mut layers, |layer| *layer);
        layers.into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn a_layer_with_the_noise_of_its_input_comes_after_the_layer_that_computes_it() {
        let reader = ("reader", 1.0, Some("source"));
        assert_eq!(
            names(vec![reader, ("other", 2.0, None), ("source", 6.5, None)]),
            ["source", "reader", "other"]
        );
        // Most of its noise is its own, or the order is right already.
        assert_eq!(names(vec![reader, ("source", 7.5, None)]), ["reader", "source"]);
        assert_eq!(names(vec![("source", 0.5, None), reader]), ["source", "reader"]);
        assert_eq!(names(vec![reader, ("other", 2.0, None)]), ["reader", "other"]);
    }

    #[test]
    fn a_chain_of_layers_is_in_execution_order() {
        let layers = vec![("c", 1.0, Some("b")), ("b", 2.0, Some("a")), ("a", 3.0, None)];
        assert_eq!(names(layers), ["a", "b", "c"]);
        assert_eq!(names(Vec::new()), [""; 0]);
    }
}
