//! Resized pictures.

use posterize_kernels::int8::QParams8;
use posterize_kernels::reference;
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_layer, takes_one_input};
use super::interpolation::{Coordinates, Interpolation, NearestRounding, Taps};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::limits::check_sizes;
use super::moves::{self, Moves, strides};
use super::select::for_each_row;
use super::shapes::picture;
use super::training::{Backward, Train, Training, linear};
use super::{Int8Rule, Layer, Operator, Saved, work};

/// The size of a resized picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Target {
    /// Factors of height and width.
    Scales([f32; 2]),
    /// Height and width.
    Sizes([usize; 2]),
}

/// `torch.nn.Upsample`, ONNX's `Resize`: resizes the height and width of `[N, C, H, W]`.
///
/// In int8, linear interpolation is rounded to the scale of the input. Cubic interpolation stays in float.
///
/// ```
/// use posterize::ops::Upsample;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Upsample::scales([1.0, 2.0]))?.init(0);
/// let y = model.forward(&Tensor::new([1, 1, 1, 2], vec![1.0, 2.0])?)?;
/// assert_eq!(y.data(), [1.0, 1.0, 2.0, 2.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Upsample {
    target: Target,
    /// How the values are made.
    pub mode: Interpolation,
    /// Where the new positions lie on the original axes.
    pub coordinates: Coordinates,
}

impl Upsample {
    /// Creates PyTorch's `Upsample` by factors of height and width, with its `mode='nearest'`. The new
    /// sizes are rounded down.
    pub const fn scales(scales: [f32; 2]) -> Self {
        Self::to(Target::Scales(scales))
    }

    /// Creates PyTorch's `Upsample` to a height and a width, with its `mode='nearest'`.
    pub const fn sizes(sizes: [usize; 2]) -> Self {
        Self::to(Target::Sizes(sizes))
    }

    const fn to(target: Target) -> Self {
        let mode = Interpolation::Nearest(NearestRounding::Floor);
        Self { target, mode, coordinates: Coordinates::Asymmetric }
    }

    /// Sets how the values are made.
    #[must_use]
    pub const fn mode(mut self, mode: Interpolation) -> Self {
        self.mode = mode;
        self
    }

    /// Sets where the new positions lie on the original axes.
    #[must_use]
    pub const fn coordinates(mut self, coordinates: Coordinates) -> Self {
        self.coordinates = coordinates;
        self
    }

    /// Returns the new height and width.
    fn resized(self, size: [usize; 2]) -> [usize; 2] {
        match self.target {
            // A product beyond the largest integer is the largest integer.
            Target::Scales(scales) => {
                [0, 1].map(|axis| (size[axis] as f32 * scales[axis]) as usize)
            }
            Target::Sizes(sizes) => sizes,
        }
    }

    /// Returns the taps of height and width.
    fn taps(self, size: [usize; 2]) -> [Taps; 2] {
        let new = self.resized(size);
        [0, 1].map(|axis| {
            let scale = match self.target {
                Target::Scales(scales) => scales[axis],
                Target::Sizes(_) => new[axis] as f32 / size[axis] as f32,
            };
            Taps::new(self.mode, self.coordinates, size[axis], new[axis], scale)
        })
    }

    fn moves(self, shapes: &Shapes) -> Moves {
        let (strides, taps) = (strides(&shapes.inputs[0]), self.taps(shapes.size()));
        Moves::new(shapes, |axis, index| {
            let at = match axis {
                2 | 3 => taps[axis - 2].at(index).next()?.0,
                _ => index,
            };
            Some(at * strides[axis])
        })
    }

    fn weighted(self, shapes: &Shapes) -> Weighted {
        let size = shapes.size();
        Weighted {
            taps: self.taps(size),
            size,
            new: self.resized(size),
            channels: shapes.channels(),
        }
    }
}

/// The weighted sums of an interpolation.
#[derive(Clone, Debug)]
struct Weighted {
    taps: [Taps; 2],
    size: [usize; 2],
    new: [usize; 2],
    channels: usize,
}

impl Weighted {
    /// Calls `visit` with the offset of each input pixel of an output pixel and its weight, row by row.
    fn each(&self, pixel: usize, mut visit: impl FnMut(usize, f32)) {
        let ([h, w], [new_h, new_w]) = (self.size, self.new);
        let picture = pixel / new_w / new_h;
        for (row, vertical) in self.taps[0].at(pixel / new_w % new_h) {
            for (column, horizontal) in self.taps[1].at(pixel % new_w) {
                let at = ((picture * h + row) * w + column) * self.channels;
                visit(at, vertical * horizontal);
            }
        }
    }
}

const NO_INT8: &str = "cubic interpolation leaves the range of its input";

impl Operator for Upsample {
    fn kind(&self) -> String {
        "Upsample".into()
    }

    fn python(&self) -> String {
        let target = match self.target {
            Target::Scales([h, w]) => format!("scale_factor=({h:?}, {w:?})"),
            Target::Sizes([h, w]) => format!("size=({h}, {w})"),
        };
        let mode = match self.mode {
            Interpolation::Nearest(_) => "nearest",
            Interpolation::Linear => "bilinear",
            Interpolation::Cubic { .. } => "bicubic",
        };
        format!("{target}, mode='{mode}', coordinates={:?}", self.coordinates)
    }

    prints_as_a_layer!();
    takes_one_input!();
    no_parameters!();

    fn work(&self, _: &[&[usize]], output: &[usize]) -> u64 {
        let window = match self.mode {
            Interpolation::Nearest(_) => 1,
            Interpolation::Linear => 4,
            Interpolation::Cubic { .. } => 16,
        };
        work::of_values(&[], output).saturating_add(work::of_windows(output, window))
    }

    fn validate(&self) -> Result<(), String> {
        if let Interpolation::Cubic { coefficient, .. } = self.mode
            && !coefficient.is_finite()
        {
            return Err(format!("the cubic coefficient must be finite, found {coefficient}"));
        }
        match self.target {
            Target::Scales(scales) if !scales.iter().all(|s| s.is_finite() && *s > 0.0) => {
                Err(format!("scales must be finite and positive, found {scales:?}"))
            }
            Target::Sizes(sizes) if sizes.contains(&0) => {
                Err(format!("sizes must be at least 1, found {sizes:?}"))
            }
            Target::Sizes(sizes) => check_sizes(&sizes),
            Target::Scales(_) => Ok(()),
        }
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [n, c, h, w] = picture(inputs[0])?;
        let [new_h, new_w] = self.resized([h, w]);
        check_sizes(&[new_h, new_w])?;
        if [h, w, new_h, new_w].contains(&0) {
            return Err(format!(
                "an input of {:?} cannot be resized to {new_h} x {new_w} pixels",
                inputs[0]
            ));
        }
        Ok(vec![n, c, new_h, new_w])
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        match self.mode {
            Interpolation::Nearest(_) => Int8Rule::InputScale { rounds: false },
            Interpolation::Linear => Int8Rule::InputScale { rounds: true },
            Interpolation::Cubic { .. } => Int8Rule::Float { reason: NO_INT8 },
        }
    }
}

impl Layer for Upsample {
    fn class(&self) -> &'static str {
        "Upsample"
    }
}

impl Saved for Upsample {
    const VERSION: u32 = 1;
}

/// The name of its kernels in profiles.
const NAME: &str = "upsample";

impl Compute for Upsample {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        if matches!(self.mode, Interpolation::Nearest(_)) {
            return moves::kernel(NAME, self.moves(shapes), 0.0);
        }
        let weighted = self.weighted(shapes);
        function(NAME, move |call, input, output| {
            let input = input(0);
            for_each_row(call.pool, output, weighted.channels, |pixel, output| {
                output.fill(0.0);
                weighted.each(pixel, |at, weight| {
                    let pairs = output.iter_mut().zip(&input[at..]);
                    pairs.for_each(|(sum, &x)| *sum += weight * x);
                });
            });
        })
    }

    /// The weighted sum of `q − zero_point` is rounded half to even.
    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        match self.mode {
            Interpolation::Nearest(_) => return moves::kernel(NAME, self.moves(shapes), 0),
            Interpolation::Linear => {}
            Interpolation::Cubic { .. } => return Err(NO_INT8.into()),
        }
        let (weighted, zero) = (self.weighted(shapes), cx.output.zero_point);
        let to = QParams8 { scale: 1.0, zero_point: zero };
        function(NAME, move |call, input, output: &mut [u8]| {
            let input = input(0);
            for_each_row(call.pool, output, weighted.channels, |pixel, output| {
                // Blocks of channels, whose sums need no memory but the stack.
                for (block, output) in output.chunks_mut(64).enumerate() {
                    let mut sums = [0.0_f32; 64];
                    weighted.each(pixel, |at, weight| {
                        let values = &input[at + 64 * block..][..output.len()];
                        for (sum, &q) in sums.iter_mut().zip(values) {
                            *sum += weight * (i32::from(q) - i32::from(zero)) as f32;
                        }
                    });
                    for (q, sum) in output.iter_mut().zip(sums) {
                        *q = reference::quantize(to, 0, u8::MAX, sum);
                    }
                }
            });
        })
    }
}

impl Train for Upsample {
    fn training(&self) -> Training {
        let op = *self;
        if matches!(op.mode, Interpolation::Nearest(_)) {
            return Training::Function(moves::gradient(move |shapes| op.moves(shapes)));
        }
        Training::Function(linear(move |from, target| {
            let Backward { call, shapes, gradient, .. } = from;
            let weighted = op.weighted(shapes);
            let ([h, w], [new_h, new_w]) = (weighted.size, weighted.new);
            let (channels, pixels) = (weighted.channels, new_h * new_w);
            for_each_row(call.pool, target, h * w * channels, |picture, target| {
                target.fill(0.0);
                let gradient = &gradient[picture * pixels * channels..][..pixels * channels];
                for (pixel, gradient) in gradient.chunks_exact(channels).enumerate() {
                    weighted.each(pixel, |at, weight| {
                        let pairs = target[at..].iter_mut().zip(gradient);
                        pairs.for_each(|(to, &gradient)| *to += weight * gradient);
                    });
                }
            });
        }))
    }
}
