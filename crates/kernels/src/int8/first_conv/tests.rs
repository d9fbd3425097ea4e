use proptest::prelude::*;

use super::*;
use crate::geometry::Padding;
use crate::int8::testing::bytes;
use crate::reference;

proptest! {
    #[test]
    fn equals_the_reference(
        in_channels in 1usize..5,
        out_channels in prop_oneof![1usize..70, prop::sample::select(vec![16, 32, 64])],
        kernel in prop_oneof![Just([3, 3]), Just([7, 7]), [1usize..8, 1usize..8]],
        stride in [1usize..4, 1usize..5],
        vertical_dilation in 1usize..3,
        [top, bottom, left, right] in [0usize..4, 0usize..4, 0usize..9, 0usize..9],
        batch in 1usize..3,
        height in 1usize..10,
        width in prop_oneof![4 => 1usize..50, 1 => 100usize..300],
        zero_point in prop_oneof![any::<u8>(), Just(0), Just(255)],
        output_zero_point: u8,
        min in 0u8..120,
        max in 120u8..=255,
        extreme: Option<(bool, bool)>,
        threads in 1usize..4,
        seed: u64,
    ) {
        let geometry = Conv2dGeometry {
            in_channels,
            out_channels,
            groups: 1,
            kernel,
            stride,
            dilation: [vertical_dilation, 1],
            padding: Padding { top, bottom, left, right },
        };
        let size = [height, width];
        if geometry.output_size(size).is_none() { return Ok(()) }
        let mut input = bytes(batch * size[0] * size[1] * in_channels, seed);
        let mut weight: Vec<i8> = bytes(out_channels * geometry.taps_per_output(), !seed)
            .into_iter()
            .map(|b| b as i8)
            .collect();
        if let Some((high, positive)) = extreme {
            input.fill(if high { 255 } else { 0 });
            weight.fill(if positive { 127 } else { -128 });
        }
        let random = bytes(out_channels * 3, seed ^ 7);
        let multiplier = random[..out_channels].iter().map(|&b| (1.0 + f32::from(b)) * 1e-5);
        let requantize = Requantize {
            multiplier: multiplier.collect(),
            zero_point: output_zero_point,
            min,
            max,
        };
        let bias: Vec<i32> = random[out_channels..]
            .chunks_exact(2)
            .map(|b| i32::from(i16::from_le_bytes([b[0], b[1]])) * 16)
            .collect();
        let conv = reference::Conv2d {
            geometry,
            weight: &weight,
            bias: &bias,
            input_zero_point: zero_point,
            requantize: &requantize,
        };
        let expected = conv.run(batch, size, &input);
        for isa in Isa::supported() {
            let Some(kernel) = FirstConv::new(isa, &conv) else { continue };
            let mut output = vec![0xA5; expected.len()];
            kernel.run(&Pool::new(threads), (batch, size), input[..].into(), &mut output, &mut []);
            let differs = output.iter().zip(&expected).position(|(a, b)| a != b);
            prop_assert_eq!(differs, None, "{} of {:?}", isa, geometry);
        }
    }
}

#[test]
fn first_convolutions_of_common_networks_have_a_kernel() {
    let covered = |isa, out_channels: usize, kernel: usize| {
        let geometry = Conv2dGeometry::square([3, out_channels], kernel, 2, 1);
        let weight = vec![1; out_channels * geometry.taps_per_output()];
        let multiplier = vec![0.01; out_channels];
        let requantize = Requantize { multiplier, zero_point: 0, min: 0, max: 255 };
        let conv = reference::Conv2d {
            geometry,
            weight: &weight,
            bias: &vec![0; out_channels],
            input_zero_point: 0,
            requantize: &requantize,
        };
        FirstConv::new(isa, &conv).is_some()
    };
    for isa in Isa::supported().into_iter().skip(1) {
        assert!(covered(isa, 32, 3), "MobileNetV2 on {isa}");
        assert!(covered(isa, 64, 7), "ResNet on {isa}");
    }
}
