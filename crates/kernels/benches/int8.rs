//! Benchmarks the int8 convolutions of MobileNetV2, EfficientNet-Lite0 and ResNet-50, for one image
//! and one thread.
//!
//! ```text
//! cargo bench -p posterize-kernels --bench int8 -- mobilenet_v2/pointwise
//! POSTERIZE_ISA=avx2 cargo bench -p posterize-kernels --bench int8
//! ```
//!
//! Throughput is in multiply-adds per second.

mod layers;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use posterize_kernels::int8::{Conv2d, Requantize};
use posterize_kernels::{Isa, Pool};

use self::layers::{Layer, networks};

/// Pseudo-random bytes.
fn bytes(len: usize) -> impl Iterator<Item = u8> {
    (0..len).scan(1u32, |state, _| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    })
}

fn convolution(layer: &Layer, isa: Isa) -> Conv2d {
    let channels = layer.geometry.out_channels;
    let weights = channels * layer.geometry.taps_per_output();
    let weight: Vec<i8> = bytes(weights).map(|byte| byte as i8).collect();
    let multiplier = vec![1e-3; channels];
    let requantize = Requantize { multiplier, zero_point: 3, min: 3, max: 255 };
    Conv2d::new(isa, layer.geometry, &weight, &vec![100; channels], 120, &requantize)
}

fn convolutions(c: &mut Criterion) {
    let isa = Isa::from_env().expect("POSTERIZE_ISA names no instruction set of this CPU");
    let pool = Pool::new(1);
    for (network, layers) in networks() {
        let mut group = c.benchmark_group(format!("int8/{isa}/{network}"));
        group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
        let mut seen = BTreeSet::new();
        for layer in &layers {
            if !seen.insert(layer.name()) {
                continue;
            }
            let conv = convolution(layer, isa);
            let (size, [oh, ow]) = (layer.size, layer.output_size());
            let input: Vec<u8> = bytes(size[0] * size[1] * layer.geometry.in_channels).collect();
            let mut output = vec![0; oh * ow * layer.geometry.out_channels];
            let mut scratch = vec![0; conv.scratch_len(1, 1, size)];
            group.throughput(Throughput::Elements(layer.macs()));
            group.bench_function(format!("{}/{}", layer.class.name(), layer.name()), |b| {
                b.iter(|| {
                    let input = black_box(&input);
                    conv.run(&pool, 1, size, input, black_box(&mut output), &mut scratch);
                });
            });
        }
    }
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
