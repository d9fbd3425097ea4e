//! Other sizes of the axes.

use posterize_kernels::Pool;
use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_parameters, prints_as_a_layer, reads_each_value_once, takes_one_input,
};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::limits::check_sizes;
use super::select::for_each_row;
use super::training::{Backward, Train, Training, linear};
use super::{Int8Rule, Layer, Operator, Saved, python};

/// `torch.reshape`, `torch.nn.Unflatten`: gives the axes behind the batch other sizes, with the values in
/// PyTorch's order.
///
/// ```
/// use posterize::ops::{Op, Reshape};
///
/// let reshape = Op::from(Reshape::new([8, -1]));
/// assert_eq!(reshape.infer(&[&[2, 16, 4, 4]])?, [2, 8, 32]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Reshape {
    /// The sizes of the axes behind the batch. At most one is −1, which is what the others leave.
    pub sizes: Vec<i64>,
}

impl Reshape {
    /// Creates a change to these sizes of the axes behind the batch, of which one may be −1.
    pub fn new(sizes: impl Into<Vec<i64>>) -> Self {
        Self { sizes: sizes.into() }
    }

    /// Returns the product of the sizes that are not −1.
    fn known(&self) -> usize {
        let known = self.sizes.iter().filter_map(|&size| usize::try_from(size).ok());
        known.fold(1, usize::saturating_mul)
    }
}

impl Operator for Reshape {
    fn kind(&self) -> String {
        "Reshape".into()
    }

    fn python(&self) -> String {
        format!("sizes={}", python::tuple(&self.sizes))
    }

    prints_as_a_layer!();
    takes_one_input!();
    no_parameters!();
    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        if self.sizes.iter().any(|&size| size < -1) {
            return Err(format!("sizes must be positive or -1, found {:?}", self.sizes));
        }
        if self.sizes.iter().filter(|&&size| size == -1).count() > 1 {
            return Err(format!("only one size may be -1, found {:?}", self.sizes));
        }
        let sizes: Vec<usize> =
            self.sizes.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
        check_sizes(&sizes)
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let Some((&batch, rest)) = inputs[0].split_first() else {
            return Err("expected an input with a batch axis, found a scalar".into());
        };
        let (values, known) = (rest.iter().product::<usize>(), self.known());
        let inferred = self.sizes.contains(&-1);
        let fits =
            if inferred { known > 0 && values.is_multiple_of(known) } else { values == known };
        if !fits {
            return Err(format!(
                "an input of {:?} has {values} values for each picture, which sizes {:?} do not hold",
                inputs[0], self.sizes
            ));
        }
        let sizes =
            self.sizes.iter().map(|&size| usize::try_from(size).unwrap_or(values / known.max(1)));
        Ok(std::iter::once(batch).chain(sizes).collect())
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: false }
    }
}

impl Layer for Reshape {
    fn class(&self) -> &'static str {
        "Reshape"
    }
}

impl Saved for Reshape {
    const VERSION: u32 = 1;
}

impl Compute for Reshape {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        kernel(shapes)
    }

    fn int8(&self, _: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        kernel(shapes)
    }
}

/// How the values of a picture lie in memory: `[pixels, channels]`. In PyTorch's order they are
/// `[channels, pixels]`.
#[derive(Clone, Copy, Debug)]
struct Order {
    channels: usize,
    pixels: usize,
}

impl Order {
    fn new(shape: &[usize]) -> Self {
        match *shape {
            [_, channels, h, w] => Self { channels, pixels: h * w },
            _ => Self { channels: shape.iter().skip(1).product(), pixels: 1 },
        }
    }

    /// Whether the values are in PyTorch's order.
    fn is_plain(self) -> bool {
        self.channels == 1 || self.pixels == 1
    }
}

fn kernel<T: Copy + Send + Sync + 'static>(shapes: &Shapes) -> Made<T> {
    let (from, to) = (Order::new(&shapes.inputs[0]), Order::new(&shapes.output));
    let same = (from.channels, from.pixels) == (to.channels, to.pixels);
    if same || (from.is_plain() && to.is_plain()) {
        return Ok(None);
    }
    function("reshape", move |call, input, output: &mut [T]| {
        reorder(call.pool, from, to, input(0), output);
    })
}

/// Copies values whose order in memory changes.
fn reorder<T: Copy + Send + Sync>(
    pool: &Pool,
    from: Order,
    to: Order,
    input: &[T],
    output: &mut [T],
) {
    let values = from.channels * from.pixels;
    // One row is a pixel of the output.
    for_each_row(pool, output, to.channels, |row, output| {
        let (picture, pixel) = (row / to.pixels, row % to.pixels);
        let input = &input[picture * values..][..values];
        for (channel, value) in output.iter_mut().enumerate() {
            let at = channel * to.pixels + pixel;
            *value = input[at % from.pixels * from.channels + at / from.pixels];
        }
    });
}

impl Train for Reshape {
    fn training(&self) -> Training {
        Training::Function(linear(|Backward { call, shapes, gradient, .. }, target| {
            let (input, output) = (Order::new(&shapes.inputs[0]), Order::new(&shapes.output));
            reorder(call.pool, output, input, gradient, target);
        }))
    }
}
