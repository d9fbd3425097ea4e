//! The pictures that a model is calibrated with.

use crate::error::Result;
use crate::tensor::Tensor;

/// Calibration pictures, which are read once for each pass over them.
///
/// ```
/// use posterize::Tensor;
/// use posterize::quantization::CalibrationData;
///
/// let mut batches = vec![Tensor::zeros([2, 3, 8, 8]), Tensor::zeros([1, 3, 8, 8])];
/// for pass in ["calibrating", "correcting biases"] {
///     assert_eq!(batches.batches(pass).count(), 2);
/// }
/// ```
pub trait CalibrationData {
    /// Returns all batches from the first to the last, each a tensor for every input of the network in
    /// the order of the graph's. `pass` says what they are read for, such as `calibrating`.
    fn batches(&mut self, pass: &str) -> Box<dyn Iterator<Item = Result<Vec<Tensor>>> + '_>;

    /// Is told how many of its steps a pass has done that works on pictures in memory or on layers. It does
    /// nothing by default.
    fn progress(&mut self, pass: &str, steps: usize, total: usize) {
        let _ = (pass, steps, total);
    }
}

/// Batches `[N, C, H, W]` of a network with one input.
impl CalibrationData for Vec<Tensor> {
    fn batches(&mut self, _: &str) -> Box<dyn Iterator<Item = Result<Vec<Tensor>>> + '_> {
        Box::new(self.iter().map(|images| Ok(vec![images.clone()])))
    }
}

/// The pictures of an image folder, of which those that cannot be decoded are skipped, for a network with one
/// input.
#[cfg(feature = "data")]
impl CalibrationData for crate::data::Loader {
    fn batches(&mut self, _: &str) -> Box<dyn Iterator<Item = Result<Vec<Tensor>>> + '_> {
        Box::new(self.tensors().map(|batch| batch.map(|batch| vec![batch.images])))
    }
}
