//! Tests that sizes whose product wraps around to the length of the slices lead to a panic with a
//! clear message and never to an access out of bounds, for every operator and instruction set.

use std::panic::{AssertUnwindSafe, catch_unwind};

use posterize_kernels::f32::training::{self, ChannelStats, Gradients};
use posterize_kernels::f32::{self, Clamp};
use posterize_kernels::int8::{self, Requantize};
use posterize_kernels::resample::RgbView;
use posterize_kernels::{Conv2dGeometry, Isa, Padding, Pool, Pool2dGeometry, pad};

/// A number of images for which the number of elements is a multiple of 2^64, and so wraps to 0, if
/// an image has 8 elements or a multiple of that.
const BATCH: usize = 1 << 61;

/// Checks that `call` panics with a message about a length.
#[track_caller]
fn refused(isa: Isa, what: &str, call: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(call)).expect_err(&format!("{what} on {isa}"));
    let message = panic.downcast_ref::<String>().expect("a message with numbers");
    let clear = ["more elements than memory can hold", " elements, but shape ["];
    assert!(clear.iter().any(|part| message.contains(part)), "{what} on {isa}: {message}");
}

/// Convolutions for each kind of kernel, whose windows fit into an empty image with its padding.
fn convolutions() -> Vec<Conv2dGeometry> {
    let mut all = Vec::new();
    for (channels, groups) in
        [([2, 8], 1), ([3, 32], 1), ([64, 64], 1), ([64, 64], 64), ([32, 64], 2)]
    {
        for (kernel, stride) in [(1, 1), (3, 1), (3, 2), (5, 1)] {
            let square = Conv2dGeometry::square(channels, kernel, stride, groups);
            all.push(Conv2dGeometry { padding: Padding::symmetric(3, 3), ..square });
        }
    }
    all
}

/// A window that fits into an empty image with its padding.
const WINDOW: Pool2dGeometry = Pool2dGeometry {
    kernel: [3, 3],
    stride: [1, 1],
    dilation: [1, 1],
    padding: Padding::symmetric(2, 2),
};

fn requantize(channels: usize) -> Requantize {
    Requantize { multiplier: vec![0.01; channels], zero_point: 3, min: 0, max: 255 }
}

#[test]
fn int8_operators_refuse_lengths_that_wrap() {
    let pool = Pool::new(2);
    for isa in Isa::supported() {
        for g in convolutions() {
            let weight = vec![1; g.out_channels * g.taps_per_output()];
            let bias = vec![0; g.out_channels];
            let conv = int8::Conv2d::new(isa, g, &weight, &bias, 0, &requantize(g.out_channels));
            let what = format!("{} {g:?}", conv.kernel_name());
            refused(isa, &what, || conv.run(&pool, BATCH, [0, 0], &[], &mut [], &mut []));
            refused(isa, &what, || {
                conv.run(&pool, BATCH, [8, 8], &[], &mut [], &mut vec![0; 1 << 20]);
            });
            refused(isa, &what, || {
                conv.scratch_len(1, BATCH, [0, 0]);
            });
        }
        let linear = int8::Linear::new(isa, 8, 16, &[1; 128], &[0; 16], 0, &requantize(16));
        refused(isa, "linear", || linear.run(&pool, BATCH, &[], &mut []));
        let max = int8::MaxPool2d::new(isa, WINDOW, 8);
        refused(isa, "max pool", || max.run(&pool, BATCH, [0, 0], &[], &mut []));
        let mean = int8::AdaptiveAvgPool2d::new(isa, 8, [1, 1], 0);
        refused(isa, "average pool", || mean.run(&pool, BATCH, [1, 1], &[], &mut []));
        let padding = Padding::symmetric(2, 2);
        refused(isa, "pad", || pad(BATCH, [0, 0], 8, padding, 0_u8, &[], &mut []));
    }
}

#[test]
fn f32_operators_refuse_lengths_that_wrap() {
    let pool = Pool::new(2);
    for isa in Isa::supported() {
        for g in convolutions() {
            let weight = vec![1.0; g.out_channels * g.taps_per_output()];
            let conv = f32::Conv2d::new(isa, g, &weight, None, Clamp::NONE);
            let what = format!("{} {g:?}", conv.kernel_name());
            refused(isa, &what, || conv.run(&pool, BATCH, [0, 0], &[], &mut [], &mut []));
            refused(isa, &what, || {
                conv.run(&pool, BATCH, [8, 8], &[], &mut [], &mut vec![0.0; 1 << 20]);
            });
            refused(isa, &what, || {
                conv.scratch_len(1, BATCH, [0, 0]);
            });
            // The length of a padded row wraps around, although input and output are small.
            let far = Padding { left: 1 << 62, right: 1 << 61, ..g.padding };
            let wide = Conv2dGeometry { padding: far, stride: [1, 1 << 62], ..g };
            let conv = f32::Conv2d::new(isa, wide, &weight, None, Clamp::NONE);
            refused(isa, &format!("{} {wide:?}", conv.kernel_name()), || {
                let [oh, ow] = wide.output_size([0, 0]).expect("the window fits");
                let mut output = vec![0.0; oh * ow * wide.out_channels];
                conv.run(&pool, 1, [0, 0], &[], &mut output, &mut vec![0.0; 1 << 20]);
            });
        }
        // The number of elements of a strip of rows would wrap around, so there is none.
        let far = Padding::symmetric(1 << 31, 1 << 31);
        let dilation = [1 << 31, 1];
        let tall = Conv2dGeometry {
            padding: far,
            dilation,
            stride: [1 << 32; 2],
            ..Conv2dGeometry::square([2, 8], 3, 1, 1)
        };
        let conv = f32::Conv2d::new(isa, tall, &[1.0; 8 * 2 * 9], None, Clamp::NONE);
        assert!(!conv.kernel_name().contains("strip"), "{}", conv.kernel_name());
        let [oh, ow] = tall.output_size([1, 1]).expect("the window fits");
        let mut output = vec![f32::NAN; oh * ow * 8];
        conv.run(&pool, 1, [1, 1], &[1.0; 2], &mut output, &mut vec![0.0; 1 << 20]);
        assert!(output.iter().all(|y| [0.0, 2.0].contains(y)), "{output:?}");
        let linear = f32::Linear::new(isa, 8, 16, &[1.0; 128], None, Clamp::NONE);
        refused(isa, "linear", || linear.run(&pool, BATCH, &[], &mut []));
        refused(isa, "max pool", || {
            f32::max_pool2d(isa, &pool, WINDOW, BATCH, [0, 0], 8, &[], &mut []);
        });
        refused(isa, "average pool", || {
            f32::adaptive_avg_pool2d(isa, &pool, BATCH, [1, 1], 8, [1, 1], &[], &mut []);
        });
        let padding = Padding::symmetric(2, 2);
        refused(isa, "pad", || pad(BATCH, [0, 0], 8, padding, 0.0_f32, &[], &mut []));
    }
}

#[test]
fn training_refuses_lengths_that_wrap() {
    let pool = Pool::new(2);
    for isa in Isa::supported() {
        for g in convolutions() {
            let weight = vec![1.0; g.out_channels * g.taps_per_output()];
            let conv = training::Conv2d::new(isa, g);
            let what = format!("{g:?}");
            let empty: &[f32] = &[];
            refused(isa, &what, || {
                conv.forward(&pool, BATCH, [0, 0], empty, &weight, &mut [], &mut []);
            });
            refused(isa, &what, || {
                let gradients = Gradients { input: Some(&mut []), ..Gradients::default() };
                conv.backward(&pool, BATCH, [0, 0], empty, &weight, empty, gradients, &mut []);
            });
            refused(isa, &what, || {
                conv.scratch_len(1, BATCH, [0, 0]);
            });
        }
        refused(isa, "average pool", || {
            training::adaptive_avg_pool2d_backward(
                isa,
                &pool,
                BATCH,
                [1, 1],
                8,
                [1, 1],
                &[],
                &mut [],
            );
        });
        refused(isa, "max pool", || {
            training::max_pool2d_backward(&pool, WINDOW, BATCH, [0, 0], 8, &[], &[], &mut []);
        });
        refused(isa, "stats", || {
            let mut stats = ChannelStats::new(8);
            training::channel_stats(isa, &pool, BATCH, 8, &[], &mut stats);
        });
    }
}

#[test]
fn weights_and_images_that_wrap_are_refused() {
    let isa = Isa::SCALAR;
    let huge =
        Conv2dGeometry { kernel: [1 << 32, 1 << 32], ..Conv2dGeometry::square([1, 1], 1, 1, 1) };
    refused(isa, "int8", || {
        int8::Conv2d::new(isa, huge, &[], &[0], 0, &requantize(1));
    });
    refused(isa, "f32", || {
        f32::Conv2d::new(isa, huge, &[], None, Clamp::NONE);
    });
    refused(isa, "training", || {
        training::Conv2d::new(isa, huge);
    });
    refused(isa, "linear", || {
        f32::Linear::new(isa, 1 << 32, 1 << 32, &[], None, Clamp::NONE);
    });
    refused(isa, "image", || {
        RgbView::new(&[], 0, 1 << 32, 1 << 32);
    });
}
