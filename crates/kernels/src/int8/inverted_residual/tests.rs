use std::sync::Arc;

use proptest::prelude::*;

use super::InvertedResidual;
use super::tiling::{STRIPE_BYTES, Tiling};
use crate::geometry::{Conv2dGeometry, Padding};
use crate::int8::testing::bytes;
use crate::int8::{Add, Conv2d, QParams8, Requantize};
use crate::isa::Isa;
use crate::pool::Pool;
use crate::reference;

/// Random parameters of one convolution of a block.
#[derive(Debug)]
struct Layer {
    geometry: Conv2dGeometry,
    weight: Vec<i8>,
    bias: Vec<i32>,
    input_zero_point: u8,
    requantize: Requantize,
}

impl Layer {
    fn new(
        geometry: Conv2dGeometry,
        [input_zero_point, zero_point]: [u8; 2],
        [min, max]: [u8; 2],
        seed: u64,
    ) -> Self {
        let (channels, depth) = (geometry.out_channels, geometry.taps_per_output());
        let random = bytes(channels * 3, seed ^ 1);
        // In one of eight layers, products exceed an i32, which selects other kernels.
        let unit = if seed.is_multiple_of(8) { 2e5 } else { 1e-4 / (depth as f32).sqrt() };
        Self {
            geometry,
            weight: bytes(channels * depth, seed).into_iter().map(|b| b as i8).collect(),
            bias: random[channels..]
                .chunks_exact(2)
                .map(|b| i32::from(i16::from_le_bytes([b[0], b[1]])))
                .collect(),
            input_zero_point,
            requantize: Requantize {
                multiplier: random[..channels]
                    .iter()
                    .map(|&b| (1.0 + f32::from(b)) * unit)
                    .collect(),
                zero_point,
                min,
                max,
            },
        }
    }

    fn reference(&self) -> reference::Conv2d<'_> {
        reference::Conv2d {
            geometry: self.geometry,
            weight: &self.weight,
            bias: &self.bias,
            input_zero_point: self.input_zero_point,
            requantize: &self.requantize,
        }
    }

    fn pack(&self, isa: Isa) -> Arc<Conv2d> {
        let zero_point = self.input_zero_point;
        let (weight, bias) = (&self.weight, &self.bias);
        Arc::new(Conv2d::new(isa, self.geometry, weight, bias, zero_point, &self.requantize))
    }
}

/// A random test case.
#[derive(Debug)]
struct Case {
    expands: bool,
    adds: bool,
    /// Number of channels: input, hidden, output.
    channels: [usize; 3],
    depthwise: Conv2dGeometry,
    batch: usize,
    size: [usize; 2],
    zero_points: [u8; 4],
    range: [u8; 2],
    threads: usize,
    stripe_bytes: usize,
    seed: u64,
}

fn hidden() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..200, prop::sample::select(vec![16, 32, 64, 96, 97, 128, 144, 192, 240])]
}

fn depthwise() -> impl Strategy<Value = Conv2dGeometry> {
    let padding = prop_oneof![
        4 => Just(Padding::symmetric(1, 1)),
        3 => Just(Padding::symmetric(2, 2)),
        // TensorFlow's `SAME` padding for stride 2.
        2 => Just(Padding { top: 0, bottom: 1, left: 0, right: 1 }),
        1 => (0usize..4, 0usize..4, 0usize..4, 0usize..4)
            .prop_map(|(top, bottom, left, right)| Padding { top, bottom, left, right }),
    ];
    let kernel = prop_oneof![4 => Just([3, 3]), 4 => Just([5, 5]), 1 => [1usize..6, 1usize..6]];
    let stride = prop_oneof![4 => Just([1, 1]), 4 => Just([2, 2]), 1 => [1usize..4, 1usize..4]];
    let dilation = prop_oneof![6 => Just([1, 1]), 1 => [1usize..3, 1usize..3]];
    (hidden(), kernel, stride, dilation, padding).prop_map(
        |(channels, kernel, stride, dilation, padding)| Conv2dGeometry {
            in_channels: channels,
            out_channels: channels,
            groups: channels,
            kernel,
            stride,
            dilation,
            padding,
        },
    )
}

fn zero_point() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), Just(0), Just(255)]
}

prop_compose! {
    fn case()(
        (expands, wants_sum) in prop_oneof![
            3 => Just((true, true)), 2 => Just((true, false)), 2 => Just((false, false)), 1 => Just((false, true)),
        ],
        depthwise in depthwise(),
        (input, output) in (1usize..70, 1usize..70),
        batch in 1usize..4,
        size in [1usize..24, 1usize..20],
        zero_points in [zero_point(), zero_point(), zero_point(), zero_point()],
        range in prop_oneof![
            Just([0, 255]),
            [any::<u8>(), any::<u8>()].prop_map(|[a, b]| [a.min(b), a.max(b)])
        ],
        threads in 1usize..5,
        // Stripes of one row and more.
        stripe_bytes in prop_oneof![Just(STRIPE_BYTES), Just(1), 1usize..20_000],
        seed: u64,
    ) -> Case {
        let hidden = depthwise.in_channels;
        let input = if expands { input } else { hidden };
        let adds = wants_sum && depthwise.output_size(size) == Some(size);
        let channels = [input, hidden, if adds { input } else { output }];
        Case {
            expands, adds, channels, depthwise, batch, size, zero_points, range, threads,
            stripe_bytes, seed,
        }
    }
}

fn check(case: &Case, input: &[u8]) -> Result<(), TestCaseError> {
    let &Case { channels: [c, hidden, out], depthwise, batch, size, zero_points, range, .. } = case;
    let [x, e, d, p] = zero_points;
    let e = if case.expands { e } else { x };
    let expand = case.expands.then(|| {
        Layer::new(Conv2dGeometry::pointwise(c, hidden), [x, e], range, case.seed.rotate_left(8))
    });
    let depthwise = Layer::new(depthwise, [e, d], range, case.seed.rotate_left(16));
    let project = Layer::new(
        Conv2dGeometry::pointwise(hidden, out),
        [d, p],
        [0, 255],
        case.seed.rotate_left(24),
    );
    let sides = [
        QParams8 { scale: 0.02, zero_point: x },
        QParams8 { scale: 0.03, zero_point: p },
        QParams8 { scale: 0.04, zero_point: 3 },
    ];
    let add = |isa| {
        let [a, b, output] = sides;
        case.adds.then(|| Add::new(isa, a, b, output, range[0], range[1]))
    };

    let expanded = expand.as_ref().map(|layer| layer.reference().run(batch, size, input));
    let expanded = expanded.as_deref().unwrap_or(input);
    let Some(output_size) = depthwise.geometry.output_size(size) else { return Ok(()) };
    let filtered = depthwise.reference().run(batch, size, expanded);
    let projected = project.reference().run(batch, output_size, &filtered);
    let expected = match add(Isa::SCALAR) {
        None => projected,
        Some(add) => {
            let mut sum = vec![0; projected.len()];
            add.run(&Pool::new(1), input, &projected, &mut sum);
            sum
        }
    };

    let pool = Pool::new(case.threads);
    for isa in Isa::supported() {
        let expand = expand.as_ref().map(|layer| layer.pack(isa));
        let block =
            InvertedResidual::new(expand, depthwise.pack(isa), project.pack(isa), add(isa), size);
        let Some(mut block) = block else {
            // Convolutions with so few channels have kernels of their own.
            prop_assert!(c <= 4 && case.expands || hidden <= 4, "no block for {:?}", case);
            continue;
        };
        block.tiling = Tiling::new(block.tiling.shape, case.stripe_bytes);
        let mut output = vec![0xA5; expected.len()];
        let mut scratch = vec![0x5A; block.scratch_len(case.threads)];
        block.run(&pool, batch, input, &mut output, &mut scratch);
        let differs = output.iter().zip(&expected).position(|(a, b)| a != b);
        prop_assert_eq!(differs, None, "{} of {:?}", isa, case);
    }
    Ok(())
}

proptest! {
    #[test]
    fn equals_the_layers_one_after_the_other(case in case()) {
        let [h, w] = case.size;
        check(&case, &bytes(case.batch * h * w * case.channels[0], case.seed))?;
    }

    #[test]
        fn extreme_values_do_not_saturate(
            case in case(), value in prop::sample::select(vec![0u8, 255]),
        ) {
        let [h, w] = case.size;
        check(&case, &vec![value; case.batch * h * w * case.channels[0]])?;
    }
}
