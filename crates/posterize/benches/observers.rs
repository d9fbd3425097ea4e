//! The throughput of observers and fake quantization: `cargo bench -p posterize --bench observers`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use posterize::quantization::{FakeQuantize, ObserverKind, ObserverSpec, QConfig};

/// Returns a batch of activations. With `relu`, about half of them are zero.
fn activations(count: usize, relu: bool) -> Vec<f32> {
    let mut state = 1u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count)
        .map(|_| {
            let x = uniform() + uniform() + uniform() + uniform() - 2.0;
            if relu { x.max(0.0) } else { x }
        })
        .collect()
}

fn observe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("observe");
    let count = 96 * 112 * 112;
    group.throughput(Throughput::Elements(count as u64)).sample_size(20);
    for (name, relu) in [("linear", false), ("relu", true)] {
        let values = activations(count, relu);
        for kind in [ObserverKind::MinMax, ObserverKind::Histogram] {
            let mut observer = ObserverSpec::new(kind).build().unwrap();
            group.bench_function(BenchmarkId::new(kind.to_string(), name), |bencher| {
                bencher.iter(|| observer.observe(black_box(&values), &[count]).unwrap());
            });
        }
    }
    group.finish();

    let mut observer = ObserverSpec::histogram().build().unwrap();
    observer.observe(&activations(count, true), &[count]).unwrap();
    criterion.bench_function("calculate_qparams/HistogramObserver", |bencher| {
        bencher.iter(|| black_box(&observer).calculate_qparams());
    });
}

fn fake_quantize(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fake_quantize");
    let count = 96 * 112 * 112;
    group.throughput(Throughput::Elements(count as u64)).sample_size(20);
    let values = activations(count, true);
    let mut output = vec![0.0; count];
    let mut module = FakeQuantize::new(&QConfig::recommended_qat().activation).unwrap();
    group.bench_function("forward", |bencher| {
        bencher.iter(|| module.forward(black_box(&values), &[count], &mut output).unwrap());
    });
    group.bench_function("backward", |bencher| {
        bencher.iter(|| module.backward(black_box(&values), &[count], &mut output).unwrap());
    });
    group.finish();
}

criterion_group!(benches, observe, fake_quantize);
criterion_main!(benches);
