//! The pictures that weights are rounded with.

use crate::MemoryFormat;
use crate::error::Result;
use crate::tensor::Tensor;

/// The largest number of pictures. The int8 network runs over all of them together.
const PICTURES: usize = 128;

/// Returns the first pictures in one tensor for each input of the network; none if there are no pictures.
///
/// Only pictures with the size of the first ones fit.
pub(super) fn first(batches: &mut dyn Iterator<Item = Result<Vec<Tensor>>>) -> Result<Vec<Tensor>> {
    let mut found: Vec<(Vec<usize>, Vec<f32>)> = Vec::new();
    for inputs in batches {
        let inputs = inputs?;
        if found.is_empty() {
            let empty = |input: &Tensor| ([&[0], &input.shape()[1..]].concat(), Vec::new());
            found = inputs.iter().map(empty).collect();
        }
        let fit =
            |(input, (shape, _)): (&Tensor, &(Vec<usize>, _))| input.shape()[1..] == shape[1..];
        if !inputs.iter().zip(&found).all(fit) {
            continue;
        }
        for (input, (shape, values)) in inputs.iter().zip(&mut found) {
            let new = input.shape()[0].min(PICTURES - shape[0]);
            let picture: usize = shape[1..].iter().product();
            let contiguous = input.to_format(MemoryFormat::Contiguous);
            values.extend_from_slice(&contiguous.data()[..new * picture]);
            shape[0] += new;
        }
        if found.iter().all(|(shape, _)| shape[0] == PICTURES) {
            break;
        }
    }
    found.into_iter().map(|(shape, values)| Tensor::new(shape, values)).collect()
}
