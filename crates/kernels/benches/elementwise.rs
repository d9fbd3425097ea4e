//! Benchmarks int8 operators without weights at the sizes of MobileNetV2, for one image and one
//! thread.
//!
//! ```text
//! cargo bench -p posterize-kernels --bench elementwise
//! ```
//!
//! Throughput is in elements per second.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use posterize_kernels::int8::{
    AdaptiveAvgPool2d, Add, PixelTable, QParams8, dequantize, quantize, requantize_u8,
};
use posterize_kernels::pixels::{PixelOrder, PixelStrides, PixelView};
use posterize_kernels::{Isa, Pool, f32};

fn operators(c: &mut Criterion) {
    let isa = Isa::from_env().expect("POSTERIZE_ISA names no instruction set of this CPU");
    let pool = Pool::new(1);
    let a = QParams8 { scale: 0.02, zero_point: 120 };
    let b = QParams8 { scale: 0.03, zero_point: 100 };
    let mut group = c.benchmark_group(format!("int8/{isa}/elementwise"));
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));

    let image = 224 * 224 * 3;
    let rgb: Vec<u8> = (0..image).map(|i| (i * 7) as u8).collect();
    let real: Vec<f32> = rgb.iter().map(|&v| f32::from(v) / 100.0 - 1.2).collect();
    let mut output = vec![0; image];
    let mut real_output = vec![0.0; image];
    group.throughput(Throughput::Elements(image as u64));
    let normalized = f32::PixelTable::new([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let quantized = PixelTable::new(&normalized, a, 0, 255);
    let bytes = vec![7; 224 * (224 * 4 + 32)];
    for order in [PixelOrder::Rgb, PixelOrder::Bgr, PixelOrder::Bgra, PixelOrder::Gray] {
        let dense = &bytes[..224 * 224 * order.bytes()];
        let dense = PixelView::dense([1, 224, 224], order, dense).unwrap();
        let row = 224 * order.bytes() + 32;
        let strides = PixelStrides { row, picture: 224 * row };
        let padded = PixelView::strided([1, 224, 224], order, strides, &bytes).unwrap();
        for (name, pixels) in [("pixels", dense), ("padded pixels", padded)] {
            group.bench_function(format!("{name}/{order}/224x224x3"), |bench| {
                bench.iter(|| quantized.run(&pool, black_box(pixels), &mut output));
            });
            group.bench_function(format!("{name} in f32/{order}/224x224x3"), |bench| {
                bench.iter(|| normalized.run(&pool, black_box(pixels), &mut real_output));
            });
        }
    }
    group.bench_function("quantize/224x224x3", |bench| {
        bench.iter(|| quantize(isa, &pool, a, 0, 255, black_box(&real), &mut output));
    });
    group.bench_function("dequantize/224x224x3", |bench| {
        bench.iter(|| dequantize(isa, &pool, a, black_box(&rgb), &mut real_output));
    });
    group.bench_function("requantize/224x224x3", |bench| {
        bench.iter(|| requantize_u8(&pool, a, b, [0, 255], black_box(&rgb), &mut output));
    });

    // The additions of MobileNetV2's ten residual blocks.
    for (size, channels) in [(56, 24), (28, 32), (14, 64), (14, 96), (7, 160)] {
        let len = size * size * channels;
        let add = Add::new(isa, a, b, a, 0, 255);
        group.throughput(Throughput::Elements(len as u64));
        group.bench_function(format!("add/{size}x{size}x{channels}"), |bench| {
            let (left, right) = (&rgb[..len], &rgb[1..=len]);
            bench.iter(|| add.run(&pool, black_box(left), right, &mut output[..len]));
        });
    }

    let mean = AdaptiveAvgPool2d::new(isa, 1280, [1, 1], 0);
    group.throughput(Throughput::Elements(7 * 7 * 1280));
    group.bench_function("average/7x7x1280", |bench| {
        let input = &rgb[..7 * 7 * 1280];
        bench.iter(|| mean.run(&pool, 1, [7, 7], black_box(input), &mut output[..1280]));
    });
}

criterion_group!(benches, operators);
criterion_main!(benches);
