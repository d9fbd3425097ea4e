//! Tests hyper-parameters: saved ones are read back, and those that no graph may have are errors.

use super::*;

#[test]
fn saved_hyper_parameters_are_read_back() {
    let sides = Padding::Explicit { top: 1, bottom: 0, left: 1, right: 2 };
    let ops: Vec<Op> = vec![
        Abs.into(),
        AdaptiveMaxPool2d::new([1, 3]).into(),
        AvgPool2d::new(3).stride(2).padding_sides(sides).count_include_pad(false).into(),
        ConvTranspose2d::new(4, 6, 3).stride([2, 1]).padding([1, 2, 3, 4]).groups(2).into(),
        DepthToSpace::pixel_shuffle(2).into(),
        ELU::new(0.5).into(),
        GELU::new(true).into(),
        Gather::new(1, [3, 0, 3]).into(),
        GroupNorm::new(2, 8).eps(1e-3).affine(false).into(),
        Hardsigmoid::new().alpha(0.2).into(),
        Hardtanh::new(f32::NEG_INFINITY, 3.0).into(),
        InstanceNorm::new(4).affine(true).into(),
        LayerNorm::channels_first(8).bias(false).into(),
        LeakyReLU::new(0.2).into(),
        LocalResponseNorm::new(5).k(2.0).into(),
        LogSoftmax::new(2).into(),
        MatMul.into(),
        MaxPool2d::new(3).strides([1, 2]).dilation([2, 1]).padding_sides(Padding::Same).into(),
        Normalize::new(1, 2).eps(1e-6).into(),
        PReLU::new(4).into(),
        Pad::new([[0, 0], [1, 2]], PadMode::Constant(-0.5)).into(),
        Permute::new([0, 2, 1]).into(),
        Pow::new(1.7).into(),
        Reduce::new(Reduction::Sum, [1, 2]).keepdim(true).into(),
        Reshape::new([3, -1]).into(),
        Softplus::new().beta(2.0).into(),
        SpaceToDepth::new(2).into(),
        Tile::new([1, 2]).into(),
        Upsample::scales([1.7, 0.3]).mode(Interpolation::cubic()).into(),
        Upsample::sizes([7, 9]).coordinates(Coordinates::HalfPixelSymmetric).into(),
    ];
    for op in ops {
        op.validate().unwrap_or_else(|error| panic!("{op:?}: {error}"));
        let attributes = op.attributes().unwrap();
        let found = Op::from_saved(op.tag(), op.version(), &attributes);
        assert_eq!(found, Ok(op), "{attributes}");
    }
}

#[test]
fn hyper_parameters_out_of_range_are_errors() {
    let four: &[usize] = &[1, 4, 3, 5];
    let big = usize::MAX;
    let cases: Vec<(Op, &str)> = vec![
        (AvgPool2d::new(0).into(), "must be at least 1"),
        (AvgPool2d::new(big).into(), "sizes must be at most"),
        (AvgPool2d::new(2).padding(2).into(), "padding must be smaller than the window"),
        (AvgPool2d::new(4).into(), "does not fit into an input of 3x5"),
        (MaxPool2d::new(2).dilation([1, big]).into(), "sizes must be at most"),
        (AdaptiveMaxPool2d::new([0, 1]).into(), "output_size must be at least 1"),
        (ConvTranspose2d::new(4, 4, 3).stride([0, 1]).into(), "stride"),
        (ConvTranspose2d::new(3, 4, 3).into(), "expected 3 channels, found 4"),
        (ConvTranspose2d::new(4, 4, 1).padding([0, 0, 3, 1]).into(), "nothing is left"),
        (ConvTranspose2d::new(4, 4, 2).output_padding([1, 0]).into(), "output_padding"),
        (DepthToSpace::new(3).into(), "a multiple of 9, found 4"),
        (DepthToSpace::new(big).into(), "sizes must be at most"),
        (SpaceToDepth::new(0).into(), "block_size is 0"),
        (SpaceToDepth::new(2).into(), "multiples of 2"),
        (Gather::new(1, [4]).into(), "index 4 is behind the last position"),
        (Gather::new(0, [0]).into(), "the batch axis"),
        (Gather::new(1, Vec::new()).into(), "indices is empty"),
        (GroupNorm::new(3, 4).into(), "num_groups must divide num_channels"),
        (InstanceNorm::new(5).into(), "expected 5 channels, found 4"),
        (Hardtanh::new(2.0, 1.0).into(), "min_val must be at most max_val"),
        (Hardtanh::new(f32::NAN, 1.0).into(), "must be a finite number"),
        (LayerNorm::new([3]).into(), "expected an input with the sizes [3]"),
        (LayerNorm::new([1, 4, 3, 5]).into(), "behind the batch"),
        (LeakyReLU::new(f32::INFINITY).into(), "negative_slope must be a finite number"),
        (LocalResponseNorm::new(0).into(), "size must be at least 1"),
        (Normalize::new(3, 1).into(), "p must be 1 or 2"),
        (Normalize::new(2, 0).into(), "over the batch"),
        (PReLU::new(5).into(), "expected 5 channels, found 4"),
        (Pad::new([[1, 0]; 4], PadMode::Reflect).into(), "pads of the batch"),
        (Pad::new([[0, 0], [0, 0], [3, 0], [0, 0]], PadMode::Reflect).into(), "to repeat"),
        (Pad::new([[0, 0]; 3], PadMode::Replicate).into(), "expected an input of 3 axes"),
        (Pad::new([[0, 0]; 4], PadMode::Constant(f32::NAN)).into(), "must be finite"),
        (Permute::new([1, 0, 2, 3]).into(), "must begin with 0"),
        (Permute::new([0, 1, 1, 3]).into(), "must name each axis once"),
        (Reduce::new(Reduction::Sum, [0]).into(), "the batch axis"),
        (Reduce::new(Reduction::Sum, [2, 1]).into(), "in order"),
        (Reduce::new(Reduction::Sum, [4]).into(), "an axis 4"),
        (Reshape::new([7, -1]).into(), "do not hold"),
        (Reshape::new([-1, -1]).into(), "only one size may be -1"),
        (Reshape::new([0, -1]).into(), "do not hold"),
        (Reshape::new([i64::MAX]).into(), "sizes must be at most"),
        (Softmax::new(4).into(), "an axis 4"),
        (Softplus::new().beta(0.0).into(), "beta is 0"),
        (Tile::new([2, 1, 1, 1]).into(), "repeats of the batch"),
        (Tile::new([1, 1, 1, 0]).into(), "at least 1"),
        (Upsample::scales([0.0, 1.0]).into(), "finite and positive"),
        (Upsample::scales([0.1, 1.0]).into(), "cannot be resized to 0 x 5"),
        (Upsample::scales([1e30, 1.0]).into(), "sizes must be at most"),
        (Upsample::sizes([0, 1]).into(), "at least 1"),
    ];
    for (op, expected) in cases {
        let error = op.infer(&[four]).unwrap_err();
        assert!(error.contains(expected), "{op:?}: {error}");
    }
    let unequal: [&[usize]; 2] = [&[1, 2, 3], &[1, 4, 3]];
    let error = Op::from(MatMul).infer(&unequal).unwrap_err();
    assert!(error.contains("[N, …, m, k] and [N, …, k, n]"), "{error}");
}
