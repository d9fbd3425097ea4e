//! Tests that pixels in every order and with gaps give the same bits as dense RGB pixels, on every
//! instruction set and with any number of threads, and that pixels that do not fit are errors.

mod nets;

use std::sync::{LazyLock, Mutex};

use nets::{mobilenet, others, preprocessing, quantized};
use posterize::data::{Picture, PixelBatch, Preprocessing};
use posterize::nn::Sequential;
use posterize::ops::{Activation, AdaptiveAvgPool2d, Conv2d, Flatten, Linear};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::{Engine, Isa, Normalize, Options, compile};
use posterize::{
    Architecture, Error, FloatModel, PixelOrder, PixelStrides, PixelView, QuantizedModel, Tensor,
};
use proptest::prelude::*;

const ORDERS: [PixelOrder; 5] =
    [PixelOrder::Rgb, PixelOrder::Bgr, PixelOrder::Rgba, PixelOrder::Bgra, PixelOrder::Gray];

const GRAY: Normalize = Normalize::Gray { mean: 0.2860, std: 0.3530 };

fn colours() -> Normalize {
    let Preprocessing { mean, std, .. } = preprocessing();
    Normalize::Rgb { mean, std }
}

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

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.data().iter().map(|value| value.to_bits()).collect()
}

/// A network of one channel.
fn one_channel() -> FloatModel {
    let net = Sequential::new()
        .then(Conv2d::new(1, 8, 3).stride(2))
        .then(Activation::ReLU)
        .then(AdaptiveAvgPool2d::new([2, 2]))
        .then(Flatten)
        .then(Linear::new(32, 10));
    Architecture::trace(&net).unwrap().init(7).fuse().unwrap()
}

fn quantized_one_channel() -> QuantizedModel {
    let mapping = QConfigMapping::global(QConfig::recommended());
    let mut observed = one_channel().prepare(&mapping).unwrap();
    let values = gray_values(&noise(5, 4 * 28 * 28));
    let images = Tensor::new([4, 1, 28, 28], values).unwrap();
    observed.calibrate(Options::new(1).unwrap(), [Ok(images)]).unwrap();
    observed.convert().unwrap()
}

fn gray_values(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|&v| (f32::from(v) / 255.0 - 0.2860) / 0.3530).collect()
}

/// A network's name, its channels, and its engine for every instruction set and one or two threads.
type Networks = Vec<(&'static str, usize, Vec<Engine>)>;

static NETWORKS: LazyLock<Mutex<Networks>> = LazyLock::new(|| {
    let every = |model: &dyn Fn(Options) -> Engine| {
        let isas = Isa::supported().into_iter();
        let options = isas.flat_map(|isa| [1, 2].map(|threads| (isa, threads)));
        options.map(|(isa, threads)| model(Options::new(threads).unwrap().isa(isa))).collect()
    };
    let colours = |options: Options| options.normalize(colours());
    let (mobilenet, others, gray) = (mobilenet(), others(), one_channel());
    let (mobilenet8, others8, gray8) =
        (quantized(&mobilenet), quantized(&others), quantized_one_channel());
    let float = |model: &FloatModel, options| compile(model, options).unwrap();
    let int8 = |model: &QuantizedModel, options| compile(model, options).unwrap();
    Mutex::new(vec![
        ("mobilenet", 3, every(&|options| float(&mobilenet, colours(options)))),
        ("mobilenet int8", 3, every(&|options| int8(&mobilenet8, colours(options)))),
        ("others", 3, every(&|options| float(&others, colours(options)))),
        ("others int8", 3, every(&|options| int8(&others8, colours(options)))),
        ("one channel", 1, every(&|options| float(&gray, options.normalize(GRAY)))),
        ("one channel int8", 1, every(&|options| int8(&gray8, options.normalize(GRAY)))),
    ])
});

/// Returns the pixels as dense RGB values, or as dense gray values for one channel.
fn dense(pixels: PixelView<'_>, channels: usize) -> Vec<u8> {
    let [n, h, _] = pixels.shape();
    let mut values = Vec::new();
    for (picture, y) in (0..n).flat_map(|picture| (0..h).map(move |y| (picture, y))) {
        for pixel in pixels.row(picture, y).chunks(pixels.order().bytes()) {
            let rgb = match (pixels.order(), pixel) {
                (PixelOrder::Rgb, &[r, g, b])
                | (PixelOrder::Bgr, &[b, g, r])
                | (PixelOrder::Rgba, &[r, g, b, _])
                | (PixelOrder::Bgra, &[b, g, r, _]) => [r, g, b],
                (PixelOrder::Gray, &[y]) => [y; 3],
                other => panic!("{other:?}"),
            };
            values.extend_from_slice(&rgb[..channels]);
        }
    }
    values
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn orders_and_gaps_change_no_bit(
        n in 1_usize..3, h in 33_usize..36, w in 33_usize..42, row_gap in 0_usize..70,
        picture_gap in 0_usize..9, seed: u64,
    ) {
        let mut networks = NETWORKS.lock().unwrap();
        for (name, channels, engines) in &mut *networks {
            let orders = ORDERS.into_iter().filter(|&order| *channels == 3 || order == PixelOrder::Gray);
            for order in orders {
                let row = w * order.bytes() + row_gap;
                let strides = PixelStrides { row, picture: h * row + picture_gap };
                let data = noise(seed, n * strides.picture);
                let view = PixelView::with_strides([n, h, w], order, strides, &data).unwrap();
                let copy = dense(view, *channels);
                let order = if *channels == 3 { PixelOrder::Rgb } else { PixelOrder::Gray };
                let copy = PixelView::new([n, h, w], order, &copy).unwrap();
                for engine in engines.iter_mut() {
                    let expected = bits(&engine.run(copy).unwrap());
                    prop_assert_eq!(bits(&engine.run(view).unwrap()), expected, "{} {:?}", name, view);
                }
            }
        }
    }
}

#[test]
fn pixels_of_one_channel_give_the_same_bits_as_their_tensor() {
    let pixels = noise(3, 2 * 28 * 28);
    let images = Tensor::new([2, 1, 28, 28], gray_values(&pixels)).unwrap();
    let view = PixelView::new([2, 28, 28], PixelOrder::Gray, &pixels).unwrap();
    let options = Options::new(1).unwrap().normalize(GRAY).picture([1, 28, 28]);
    for mut engine in [
        compile(one_channel(), options).unwrap(),
        compile(quantized_one_channel(), options).unwrap(),
    ] {
        let expected = bits(&engine.run(&images).unwrap());
        assert_eq!(expected.len(), 20);
        assert_eq!(bits(&engine.run(view).unwrap()), expected);
        assert_eq!(bits(&engine.run_observed(view, &mut |_, _| Ok(())).unwrap()), expected);
    }
}

#[track_caller]
fn text<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("it is accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn shapes_strides_and_lengths_that_do_not_fit_are_errors() {
    let data = [0; 100];
    let new = |shape, order| text(PixelView::new(shape, order, &data));
    assert_eq!(
        new([1, 5, 5], PixelOrder::Rgb),
        "pixels: RGB pixels of shape [N, H, W] = [1, 5, 5] without gaps are 75 bytes, found 100"
    );
    assert_eq!(
        new([0, 5, 5], PixelOrder::Bgr),
        "pixels: the shape [N, H, W] = [0, 5, 5] has an empty axis; expected at least 1 everywhere"
    );
    assert_eq!(
        new([1 << 40, 1 << 40, 5], PixelOrder::Gray),
        "pixels: gray pixels of shape [N, H, W] = [1099511627776, 1099511627776, 5] are more bytes \
         than memory can hold"
    );
    let rows = |row_stride, data| {
        PixelView::with_row_stride([1, 5, 5], PixelOrder::Rgba, row_stride, data)
    };
    assert_eq!(
        text(rows(19, &data)),
        "pixels: a row of 5 RGBA pixels takes 20 bytes, but the row stride is 19"
    );
    assert_eq!(
        text(rows(21, &data)),
        "pixels: RGBA pixels of shape [N, H, W] = [1, 5, 5], rows 21 and pictures 105 bytes apart, \
         take at least 104 bytes, found 100"
    );
    assert_eq!(
        text(rows(usize::MAX / 2, &data)),
        "pixels: RGBA pixels of shape [N, H, W] = [1, 5, 5] are more bytes than memory can hold"
    );
    // The slice may end with the last pixel, without the gap after the last row.
    let frame = [0; 105];
    for len in [104, 105] {
        assert_eq!(rows(21, &frame[..len]).unwrap().row(0, 4).len(), 20);
    }
    let strides = PixelStrides { row: 5, picture: 24 };
    assert_eq!(
        text(PixelView::with_strides([4, 5, 5], PixelOrder::Gray, strides, &data)),
        "pixels: a picture of 5 rows, 5 bytes apart, takes 25 bytes, but the picture stride is 24"
    );
    assert_eq!(
        text(PixelBatch::new([2, 3, 4], vec![0; 71])),
        "pixels: RGB pixels of shape [N, H, W] = [2, 3, 4] without gaps are 72 bytes, found 71"
    );
    assert!(text(PixelBatch::new([0, 3, 4], vec![])).contains("[0, 3, 4] has an empty axis"));
}

#[test]
fn channels_that_do_not_fit_are_errors() {
    let data = [0; 3 * 1600];
    let one = Options::new(1).unwrap();
    let colours = one.normalize(colours());
    let view = |order: PixelOrder| {
        PixelView::new([1, 40, 40], order, &data[..1600 * order.bytes()]).unwrap()
    };
    let mut gray = compile(one_channel(), one.normalize(GRAY)).unwrap();
    assert_eq!(
        text(gray.run(view(PixelOrder::Bgr))),
        "pixels: the network takes one channel, of gray pixels, found BGR pixels: make them gray, or \
         compile it with Normalize::Rgb if it takes three"
    );
    assert!(gray.run(view(PixelOrder::Gray)).is_ok());

    let mut wrong = compile(one_channel(), colours).unwrap();
    assert_eq!(
        text(wrong.run(view(PixelOrder::Gray))),
        "0: expected 1 channels, found 3 in an input of [1, 3, 40, 40]; compile it with Normalize::Gray \
         to give it pixels"
    );
    let mut wrong = compile(mobilenet(), one.normalize(GRAY)).unwrap();
    assert_eq!(
        text(wrong.run(view(PixelOrder::Gray))),
        "features.0.0: expected 3 channels, found 1 in an input of [1, 1, 40, 40]; compile it with \
         Normalize::Rgb to give it pixels"
    );
    let mut four =
        compile(Architecture::trace(&Conv2d::new(4, 8, 3)).unwrap().init(0), colours).unwrap();
    let message = text(four.run(view(PixelOrder::Rgb)));
    assert!(
        message.ends_with("expected 4 channels, found 3 in an input of [1, 3, 40, 40]"),
        "{message}"
    );

    let flat = Normalize::Gray { mean: 0.5, std: 0.0 };
    assert_eq!(
        text(compile(one_channel(), one.normalize(flat))),
        "normalization with mean [0.5], std [0.0]; expected finite numbers, std not zero"
    );
}

#[test]
fn pictures_and_batches_are_views() {
    let data = noise(1, 2 * 3 * 4 * 3);
    let batch = PixelBatch::new([2, 3, 4], data.clone()).unwrap();
    assert_eq!(batch.shape(), [2, 3, 4]);
    let view = PixelView::from(&batch);
    assert_eq!(view, PixelView::new([2, 3, 4], PixelOrder::Rgb, &data).unwrap());
    assert_eq!(view.row(1, 2).as_ptr(), batch.data()[60..].as_ptr());
    let picture = Picture::new(4, 6, data).unwrap();
    let view = PixelView::from(&picture);
    assert_eq!((view.shape(), view.order()), ([1, 6, 4], PixelOrder::Rgb));
    assert_eq!(view.row(0, 5).as_ptr(), picture.data()[60..].as_ptr());
}
