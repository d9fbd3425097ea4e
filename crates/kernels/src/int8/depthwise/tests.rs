use proptest::prelude::*;

use super::*;
use crate::geometry::Padding;
use crate::int8::testing::bytes;
use crate::reference;

/// A random test case of a depthwise convolution.
#[derive(Debug)]
struct Case {
    geometry: Conv2dGeometry,
    batch: usize,
    size: [usize; 2],
    zero_point: u8,
    requantize_to: (u8, [u8; 2]),
    threads: usize,
    seed: u64,
}

fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![
        1usize..200,
        prop::sample::select(vec![16, 24, 32, 33, 48, 64, 80, 96, 97, 128, 144, 192])
    ]
}

fn kernel() -> impl Strategy<Value = [usize; 2]> {
    prop_oneof![4 => Just([3, 3]), 4 => Just([5, 5]), 1 => Just([1, 1]), 1 => [1usize..6, 1usize..8]]
}

fn zero_point() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), Just(0), Just(255)]
}

prop_compose! {
    fn case()(
        channels in channels(),
        kernel in kernel(),
        stride in prop_oneof![5 => [1usize..3, 1usize..3], 1 => [1usize..4, 1usize..4]],
        dilation in prop_oneof![6 => Just([1, 1]), 1 => [1usize..3, 1usize..3]],
        [top, bottom, left, right] in prop_oneof![
            1 => Just([0; 4]),
            3 => [0usize..4, 0usize..4, 0usize..7, 0usize..7],
        ],
        batch in 1usize..3,
        size in [1usize..8, 1usize..14],
        zero_point in zero_point(),
        output_zero_point in zero_point(),
        range in prop_oneof![
            Just([0, 255]),
            [any::<u8>(), any::<u8>()].prop_map(|[a, b]| [a.min(b), a.max(b)])
        ],
        threads in 1usize..4,
        seed: u64,
    ) -> Case {
        let geometry = Conv2dGeometry {
            in_channels: channels,
            out_channels: channels,
            groups: channels,
            kernel,
            stride,
            dilation,
            padding: Padding { top, bottom, left, right },
        };
        let requantize_to = (output_zero_point, range);
        Case { geometry, batch, size, zero_point, requantize_to, threads, seed }
    }
}

/// Compares every instruction set with the reference.
fn check(case: &Case, input: &[u8], weight: &[i8]) -> Result<(), TestCaseError> {
    let Case { geometry, batch, size, .. } = *case;
    let channels = geometry.in_channels;
    let (zero_point, [min, max]) = case.requantize_to;
    let random = bytes(channels * 3, !case.seed);
    // Accumulators spread over a few times the output range; in one of eight cases their products
    // exceed an i32.
    let unit = if case.seed.is_multiple_of(8) { 2e5 } else { 2e-5 };
    let requantize = Requantize {
        multiplier: random[..channels].iter().map(|&b| (1.0 + f32::from(b)) * unit).collect(),
        zero_point,
        min,
        max,
    };
    let bias: Vec<i32> = random[channels..]
        .chunks_exact(2)
        .map(|b| i32::from(i16::from_le_bytes([b[0], b[1]])))
        .collect();
    let conv = reference::Conv2d {
        geometry,
        weight,
        bias: &bias,
        input_zero_point: case.zero_point,
        requantize: &requantize,
    };
    let expected = conv.run(batch, size, input);
    for isa in Isa::supported() {
        let kernel = Depthwise::new(isa, &conv);
        let mut output = vec![0xA5; expected.len()];
        kernel.run(&Pool::new(case.threads), (batch, size), input.into(), &mut output, &mut []);
        let differs = output.iter().zip(&expected).position(|(a, b)| a != b);
        prop_assert_eq!(differs, None, "{} of {:?}", isa, case);
    }
    Ok(())
}

proptest! {
    #[test]
    fn equals_the_reference(case in case()) {
        let Case { geometry, batch, size: [h, w], seed, .. } = case;
        if geometry.output_size([h, w]).is_none() { return Ok(()) }
        let input = bytes(batch * h * w * geometry.in_channels, seed);
        let weight: Vec<i8> = bytes(geometry.in_channels * geometry.taps_per_output(), seed ^ 1)
            .into_iter()
            .map(|b| b as i8)
            .collect();
        check(&case, &input, &weight)?;
    }

    #[test]
        fn extreme_values_do_not_saturate(
        case in case(), input in prop::sample::select(vec![0u8, 255]),
        weight in prop::sample::select(vec![-128i8, 127]),
    ) {
        let Case { geometry, batch, size: [h, w], .. } = case;
        if geometry.output_size([h, w]).is_none() { return Ok(()) }
        let input = vec![input; batch * h * w * geometry.in_channels];
        let weight = vec![weight; geometry.in_channels * geometry.taps_per_output()];
        check(&case, &input, &weight)?;
    }
}

#[test]
fn a_row_can_be_computed_from_rows_that_are_not_contiguous() {
    let channels = 40;
    let geometry = Conv2dGeometry::square([channels; 2], 3, 1, channels);
    let (h, w) = (4, 5);
    let input = bytes(h * w * channels, 1);
    let weight: Vec<i8> = bytes(channels * 9, 2).into_iter().map(|b| b as i8).collect();
    let requantize =
        Requantize { multiplier: vec![1e-3; channels], zero_point: 9, min: 0, max: 255 };
    let conv = reference::Conv2d {
        geometry,
        weight: &weight,
        bias: &vec![7; channels],
        input_zero_point: 3,
        requantize: &requantize,
    };
    let rows: Vec<Vec<u8>> = input.chunks_exact(w * channels).map(<[u8]>::to_vec).collect();
    for isa in Isa::supported() {
        let kernel = Depthwise::new(isa, &conv);
        let mut whole = vec![0; input.len()];
        kernel.run(&Pool::new(1), (1, [h, w]), input[..].into(), &mut whole, &mut []);
        for (y, expected) in whole.chunks_exact(w * channels).enumerate() {
            let mut row = vec![0; w * channels];
            kernel.run_row(w, |ky| kernel.input_row(y, ky, h).map(|y| &rows[y][..]), &mut row);
            assert_eq!(row, expected, "{isa}, row {y}");
        }
    }
}
