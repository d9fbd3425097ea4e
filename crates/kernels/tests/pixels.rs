//! Pixels of every order, with any gaps between rows and pictures and on any number of threads, become
//! what dense RGB pixels become, and that is what normalizing and quantizing value by value gives.

use posterize_kernels::int8::{self, QParams8, quantize};
use posterize_kernels::pixels::{PixelOrder, PixelStrides, PixelView};
use posterize_kernels::{Isa, Pool, f32};
use proptest::prelude::*;

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];
const TO: QParams8 = QParams8 { scale: 0.018_658_4, zero_point: 114 };

const ORDERS: [PixelOrder; 5] =
    [PixelOrder::Rgb, PixelOrder::Bgr, PixelOrder::Rgba, PixelOrder::Bgra, PixelOrder::Gray];

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(len)
    .collect()
}

/// Red, green and blue of every pixel, read one by one by the meaning of the order.
fn rgb(pixels: PixelView<'_>) -> Vec<u8> {
    let [n, h, _] = pixels.shape();
    let mut rgb = Vec::new();
    for (picture, y) in (0..n).flat_map(|picture| (0..h).map(move |y| (picture, y))) {
        for pixel in pixels.row(picture, y).chunks(pixels.order().bytes()) {
            rgb.extend(match (pixels.order(), pixel) {
                (PixelOrder::Rgb, &[r, g, b])
                | (PixelOrder::Bgr, &[b, g, r])
                | (PixelOrder::Rgba, &[r, g, b, _])
                | (PixelOrder::Bgra, &[b, g, r, _]) => [r, g, b],
                (PixelOrder::Gray, &[y]) => [y; 3],
                other => panic!("{other:?}"),
            });
        }
    }
    rgb
}

/// Values `[…, C]` normalized one by one.
fn normalized(values: &[u8], mean: &[f32], std: &[f32]) -> Vec<f32> {
    let value = |(i, &v): (usize, &u8)| {
        let channel = i % mean.len();
        (f32::from(v) / 255.0 - mean[channel]) / std[channel]
    };
    values.iter().enumerate().map(value).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Checks the f32 and the int8 table on pixels that become `expected`.
fn check(table: &f32::PixelTable, pool: &Pool, pixels: PixelView<'_>, expected: &[f32]) {
    let mut output = vec![f32::NAN; expected.len()];
    table.run(pool, pixels, &mut output);
    assert_eq!(bits(&output), bits(expected), "{pixels:?}");

    for (qmin, qmax) in [(0, 255), (7, 201)] {
        let mut quantized = vec![0x5A; expected.len()];
        quantize(Isa::SCALAR, pool, TO, qmin, qmax, expected, &mut quantized);
        let mut output = vec![0xA5; expected.len()];
        int8::PixelTable::new(table, TO, qmin, qmax).run(pool, pixels, &mut output);
        assert_eq!(output, quantized, "{pixels:?}");
    }
}

fn check_all(pool: &Pool, pixels: PixelView<'_>) {
    let rgb = rgb(pixels);
    let table = f32::PixelTable::new(MEAN, STD);
    check(&table, pool, pixels, &normalized(&rgb, &MEAN, &STD));
    if pixels.order() == PixelOrder::Gray {
        let gray: Vec<u8> = rgb.iter().copied().step_by(3).collect();
        let table = f32::PixelTable::gray(MEAN[1], STD[1]);
        check(&table, pool, pixels, &normalized(&gray, &MEAN[1..2], &STD[1..2]));
    }
}

proptest! {
    #[test]
    fn orders_and_gaps_change_no_bit(
        n in 1_usize..4, h in 1_usize..20, w in 1_usize..40, row_gap in 0_usize..9,
        picture_gap in 0_usize..9, beyond in 0_usize..9, threads in 1_usize..4, seed: u64,
    ) {
        let pool = Pool::new(threads);
        for order in ORDERS {
            let row_bytes = w * order.bytes();
            let row = row_bytes + row_gap;
            let picture = (h - 1) * row + row_bytes + picture_gap;
            let data = noise(seed, (n - 1) * picture + (h - 1) * row + row_bytes + beyond);
            let strides = PixelStrides { row, picture };
            check_all(&pool, PixelView::strided([n, h, w], order, strides, &data).unwrap());
            let dense = n * h * row_bytes;
            let data = noise(seed ^ 2, dense);
            check_all(&pool, PixelView::dense([n, h, w], order, &data).unwrap());
        }
    }
}

#[test]
fn threads_share_large_batches() {
    for (threads, gap) in [(1, 0), (2, 0), (3, 5)] {
        let pool = Pool::new(threads);
        for order in ORDERS {
            let (n, h, w) = (2, 97, 131);
            let row = w * order.bytes() + gap;
            let strides = PixelStrides { row, picture: h * row };
            let data = noise(9, n * h * row);
            check_all(&pool, PixelView::strided([n, h, w], order, strides, &data).unwrap());
        }
    }
}

#[test]
#[should_panic(expected = "RGB pixels for a network with one channel, which needs gray pixels")]
fn one_channel_takes_no_colours() {
    let pixel = PixelView::dense([1, 1, 1], PixelOrder::Rgb, &[1, 2, 3]).unwrap();
    f32::PixelTable::gray(0.0, 1.0).run(&Pool::new(1), pixel, &mut [0.0]);
}

#[test]
#[should_panic(expected = "the output has 4 elements, but shape [1, 3] has 3")]
fn an_output_of_another_length_is_refused() {
    let pixel = PixelView::dense([1, 1, 1], PixelOrder::Rgb, &[1, 2, 3]).unwrap();
    f32::PixelTable::new(MEAN, STD).run(&Pool::new(1), pixel, &mut [0.0; 4]);
}
