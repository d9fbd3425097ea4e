//! What the tests of equalization share.

use std::sync::Arc;

use crate::Tensor;
use crate::model::FloatModel;
use crate::ops::Role;

/// Returns a network whose channels have very different ranges: each output channel of a parameter, to which
/// `shift` is added if it is a bias, is multiplied by a factor of its own.
pub(super) fn scaled_apart(model: &FloatModel, shift: f32) -> FloatModel {
    let mut parameters = model.parameters().clone();
    for ((id, role), tensor) in &mut parameters {
        let tensor = Arc::make_mut(tensor);
        let per_output = tensor.data().len() / tensor.shape()[0];
        for (channel, values) in tensor.data_mut().chunks_exact_mut(per_output).enumerate() {
            let factor = 4f32.powi((channel * 7 + id.0 * 3) as i32 % 5 - 2);
            let shift = if *role == Role::Bias { shift } else { 0.0 };
            for x in values {
                *x = (*x + shift) * factor;
            }
        }
    }
    FloatModel::new(model.graph().clone(), parameters).unwrap()
}

/// Returns two batches of pictures.
pub(super) fn pictures() -> Vec<Tensor> {
    let values = |seed: usize| {
        (0..2 * 3 * 36).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0).collect()
    };
    (0..2).map(|seed| Tensor::new([2, 3, 6, 6], values(seed)).unwrap()).collect()
}

/// Checks that two networks have other parameters and the same outputs.
pub(super) fn assert_same_outputs(
    before: &FloatModel,
    after: &FloatModel,
    pictures: &[Tensor],
    case: &str,
) {
    assert_ne!(after.parameters(), before.parameters());
    for images in pictures {
        let (x, y) = (before.forward(images).unwrap(), after.forward(images).unwrap());
        let size = x.data().iter().fold(0f32, |max, x| max.max(x.abs()));
        for (x, y) in x.data().iter().zip(y.data()) {
            assert!((x - y).abs() <= 1e-4 * size, "{case}: {x} became {y}");
        }
    }
}
