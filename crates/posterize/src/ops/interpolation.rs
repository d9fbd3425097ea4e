//! The positions and weights with which an axis is resized.

use serde::{Deserialize, Serialize};

/// How the values of a resized picture are made.
///
/// ```
/// use posterize::ops::{Int8Rule, Interpolation, Op, Upsample};
///
/// let cubic = Op::from(Upsample::scales([2.0, 2.0]).mode(Interpolation::cubic()));
/// assert!(matches!(cubic.int8_rule(), Int8Rule::Float { .. }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Interpolation {
    /// They are those of the nearest position.
    Nearest(NearestRounding),
    /// They are weighted averages of the two nearest positions along each axis.
    Linear,
    /// They are weighted sums of the four nearest positions along each axis.
    Cubic {
        /// The coefficient of the polynomials: −0.75 in PyTorch and ONNX.
        coefficient: f32,
        /// Whether positions outside the picture have no weight; else they repeat its edge.
        exclude_outside: bool,
    },
}

impl Interpolation {
    /// Returns PyTorch's bicubic interpolation.
    pub const fn cubic() -> Self {
        Self::Cubic { coefficient: -0.75, exclude_outside: false }
    }
}

/// Which position is the nearest; ONNX's `nearest_mode`.
///
/// ```
/// use posterize::ops::{Interpolation, NearestRounding, Upsample};
/// use posterize::{Architecture, Tensor};
///
/// let up = Upsample::scales([1.0, 2.0]).mode(Interpolation::Nearest(NearestRounding::Ceil));
/// let model = Architecture::trace(&up)?.init(0);
/// let y = model.forward(&Tensor::new([1, 1, 1, 2], vec![1.0, 2.0])?)?;
/// assert_eq!(y.data(), [1.0, 2.0, 2.0, 2.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NearestRounding {
    /// The next lower one, as in PyTorch.
    Floor,
    /// The next higher one.
    Ceil,
    /// The nearest, the lower one in the middle between two.
    RoundPreferFloor,
    /// The nearest, the higher one in the middle between two.
    RoundPreferCeil,
}

/// Where the positions of a resized axis lie on the original axis; ONNX's
/// `coordinate_transformation_mode`.
///
/// ```
/// use posterize::ops::{Coordinates, Interpolation, Upsample};
/// use posterize::{Architecture, Tensor};
///
/// let up = Upsample::sizes([1, 3]).mode(Interpolation::Linear);
/// let model = Architecture::trace(&up.coordinates(Coordinates::AlignCorners))?.init(0);
/// let y = model.forward(&Tensor::new([1, 1, 1, 2], vec![1.0, 2.0])?)?;
/// assert_eq!(y.data(), [1.0, 1.5, 2.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Coordinates {
    /// `x / scale`; PyTorch's `mode='nearest'`.
    Asymmetric,
    /// `(x + 1/2) / scale − 1/2`; PyTorch's `align_corners=False`.
    HalfPixel,
    /// As `HalfPixel`, but 0 for an axis that becomes a single position.
    PytorchHalfPixel,
    /// As `HalfPixel`, with the middle of the axis in its place where the size of the output was
    /// rounded.
    HalfPixelSymmetric,
    /// `x · (size − 1) / (new_size − 1)`; PyTorch's `align_corners=True`.
    AlignCorners,
}

impl Coordinates {
    /// Returns the coordinate on an axis of `size` positions of position `index` of `new` positions.
    fn of(self, index: usize, size: usize, new: usize, scale: f32) -> f32 {
        let (x, original, resized) = (index as f32, size as f32, new as f32);
        // Sums are in the order of ONNX Runtime, since a position may lie on the edge between two.
        let half_pixel = |offset: f32| offset + (x + 0.5) / scale - 0.5;
        match self {
            Self::Asymmetric => x / scale,
            Self::HalfPixel => half_pixel(0.0),
            Self::PytorchHalfPixel if new > 1 => half_pixel(0.0),
            Self::HalfPixelSymmetric => {
                let adjustment = resized / (scale * original);
                half_pixel(original / 2.0 * (1.0 - adjustment))
            }
            Self::AlignCorners if new > 1 => x * (original - 1.0) / (resized - 1.0),
            Self::PytorchHalfPixel | Self::AlignCorners => 0.0,
        }
    }
}

/// The positions of an axis that each position of the resized axis is made of.
#[derive(Clone, Debug)]
pub(super) struct Taps {
    /// Number of positions and weights for each.
    pub(super) per: usize,
    positions: Vec<usize>,
    weights: Vec<f32>,
}

impl Taps {
    /// Creates the taps for an axis of `size` positions that is resized to `new` positions.
    pub(super) fn new(
        mode: Interpolation,
        coordinates: Coordinates,
        size: usize,
        new: usize,
        scale: f32,
    ) -> Self {
        let per = match mode {
            Interpolation::Nearest(_) => 1,
            Interpolation::Linear => 2,
            Interpolation::Cubic { .. } => 4,
        };
        let (mut positions, mut weights) = (Vec::new(), Vec::new());
        let last = size - 1;
        for index in 0..new {
            let x = coordinates.of(index, size, new, scale);
            match mode {
                Interpolation::Nearest(rounding) => {
                    let nearest = match rounding {
                        NearestRounding::Floor => x.floor(),
                        NearestRounding::Ceil => x.ceil(),
                        NearestRounding::RoundPreferFloor => (x - 0.5).ceil(),
                        NearestRounding::RoundPreferCeil => (x + 0.5).floor(),
                    };
                    // A negative number becomes 0.
                    positions.push((nearest as usize).min(last));
                    weights.push(1.0);
                }
                Interpolation::Linear => {
                    let x = x.clamp(0.0, last as f32);
                    let low = (x as usize).min(last);
                    let high = (low + 1).min(last);
                    let weight = x - low as f32;
                    positions.extend([low, high]);
                    weights.extend([1.0 - weight, weight]);
                }
                Interpolation::Cubic { coefficient, exclude_outside } => {
                    let (low, mut four) = (x.floor(), cubic(x - x.floor(), coefficient));
                    let at = [-1.0, 0.0, 1.0, 2.0].map(|step| low + step);
                    if exclude_outside {
                        for (weight, at) in four.iter_mut().zip(at) {
                            if at < 0.0 || at > last as f32 {
                                *weight = 0.0;
                            }
                        }
                        let sum: f32 = four.iter().sum();
                        four = four.map(|weight| weight / sum);
                    }
                    positions.extend(at.map(|at| (at as usize).min(last)));
                    weights.extend(four);
                }
            }
        }
        Self { per, positions, weights }
    }

    /// Returns the positions and their weights for a position of the resized axis.
    pub(super) fn at(&self, index: usize) -> impl Iterator<Item = (usize, f32)> {
        let range = index * self.per..(index + 1) * self.per;
        let weights = self.weights[range.clone()].iter().copied();
        self.positions[range].iter().copied().zip(weights)
    }
}

/// Returns the weights of the four nearest positions, where `t` is the distance from the second
/// (Keys 1981, <https://doi.org/10.1109/TASSP.1981.1163711>).
fn cubic(t: f32, a: f32) -> [f32; 4] {
    let near = |t: f32| ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    let far = |t: f32| ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}
