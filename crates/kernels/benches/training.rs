//! Benchmarks the convolutions of a training step for the layers of real networks: forward with
//! statistics, and backward with both gradients and the sums for the batch normalization before,
//! with fused activations and fake quantization. Throughput is in multiply-adds of a forward pass
//! per second.
//!
//! ```text
//! cargo bench -p posterize-kernels --bench training -- mobilenet_v2/forward
//! POSTERIZE_BATCH=4 cargo bench -p posterize-kernels --bench training -- backward/depthwise
//! ```

#[allow(dead_code, reason = "some items are used by other benchmarks only")]
mod layers;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use layers::{Class, Layer};
use posterize_kernels::f32::Clamp;
use posterize_kernels::f32::training::{
    Activation, ChannelStats, ChannelSums, Conv2d, FakeQuant, GradOutput, Gradients, Input,
    NormBackward,
};
use posterize_kernels::{Isa, Pool};

type Pass = fn(Isa, &Pool, usize, &Layer, &mut Buffers);

const CLASSES: [Class; 5] =
    [Class::First, Class::Pointwise, Class::Depthwise, Class::General, Class::Linear];

/// The buffers that all layers of a network share.
struct Buffers {
    values: Vec<f32>,
    output: Vec<f32>,
    grad_output: Vec<f32>,
    grad_input: Vec<f32>,
    weight: Vec<f32>,
    grad_weight: Vec<f32>,
    scratch: Vec<f32>,
    /// Factors for each channel.
    factors: Vec<f32>,
}

impl Buffers {
    fn new(isa: Isa, pool: &Pool, batch: usize, layers: &[Layer]) -> Self {
        let max = |len: &dyn Fn(&Layer) -> usize| layers.iter().map(len).max().unwrap_or(0);
        let inputs = max(&|l| batch * inputs(l));
        let outputs = max(&|l| batch * outputs(l));
        let weights = max(&|l| l.geometry.out_channels * l.geometry.taps_per_output());
        let scratch =
            max(&|l| Conv2d::new(isa, l.geometry).scratch_len(pool.threads(), batch, l.size));
        Self {
            values: vec![0.5; inputs],
            output: vec![0.5; outputs],
            grad_output: vec![0.25; outputs],
            grad_input: vec![0.25; inputs],
            weight: vec![0.01; weights],
            grad_weight: vec![0.0; weights],
            scratch: vec![0.0; scratch],
            factors: vec![0.5; max(&|l| l.geometry.in_channels.max(l.geometry.out_channels))],
        }
    }
}

fn inputs(layer: &Layer) -> usize {
    layer.size[0] * layer.size[1] * layer.geometry.in_channels
}

fn outputs(layer: &Layer) -> usize {
    let [h, w] = layer.output_size();
    h * w * layer.geometry.out_channels
}

fn activation(factors: &[f32], channels: usize) -> Activation<'_> {
    Activation {
        scale: &factors[..channels],
        shift: &factors[..channels],
        clamp: Clamp::RELU6,
        fake_quant: Some(FakeQuant {
            scale: 6.0 / 255.0,
            zero_point: 0,
            quant_min: 0,
            quant_max: 255,
        }),
    }
}

fn forward(isa: Isa, pool: &Pool, batch: usize, l: &Layer, b: &mut Buffers) {
    let geometry = l.geometry;
    let first = l.class == Class::First;
    let input = Input {
        values: &b.values[..batch * inputs(l)],
        activation: (!first).then(|| activation(&b.factors, geometry.in_channels)),
    };
    let weight = &b.weight[..geometry.out_channels * geometry.taps_per_output()];
    let output = &mut b.output[..batch * outputs(l)];
    let mut stats = ChannelStats::default();
    Conv2d::new(isa, geometry).forward_with_stats(
        pool,
        batch,
        l.size,
        input,
        weight,
        output,
        &mut stats,
        &mut b.scratch,
    );
}

fn backward(isa: Isa, pool: &Pool, batch: usize, l: &Layer, b: &mut Buffers) {
    let geometry = l.geometry;
    let first = l.class == Class::First;
    let input = Input {
        values: &b.values[..batch * inputs(l)],
        activation: (!first).then(|| activation(&b.factors, geometry.in_channels)),
    };
    let weights = geometry.out_channels * geometry.taps_per_output();
    let factors = &b.factors[..geometry.out_channels];
    let norm = NormBackward {
        y: &b.output[..batch * outputs(l)],
        activation: activation(&b.factors, geometry.out_channels),
        a: factors,
        b: factors,
        c: factors,
    };
    let grad_output = GradOutput { values: &b.grad_output[..batch * outputs(l)], norm: Some(norm) };
    let mut sums = ChannelSums::default();
    let gradients = Gradients {
        input: (!first).then_some(&mut b.grad_input[..batch * inputs(l)]),
        weight: Some(&mut b.grad_weight[..weights]),
        sums: (!first).then_some(&mut sums),
    };
    Conv2d::new(isa, geometry).backward(
        pool,
        batch,
        l.size,
        input,
        &b.weight[..weights],
        grad_output,
        gradients,
        &mut b.scratch,
    );
}

fn networks(c: &mut Criterion) {
    let isa = Isa::from_env().expect("POSTERIZE_ISA names no instruction set of this CPU");
    let batch = std::env::var("POSTERIZE_BATCH")
        .map_or(30, |batch| batch.parse().expect("POSTERIZE_BATCH is not a number of images"));
    let pool = Pool::new(2);
    for (network, layers) in layers::networks() {
        let mut buffers = None;
        for (pass, run) in [("forward", forward as Pass), ("backward", backward)] {
            let group_name = format!("training/{isa}/{network}/{pass}");
            let mut group = c.benchmark_group(&group_name);
            group.sample_size(10).warm_up_time(Duration::from_millis(500));
            group.measurement_time(Duration::from_secs(3));
            let mut bench = |name: &str, some: &[&Layer]| {
                let macs = batch as u64 * some.iter().map(|l| l.macs()).sum::<u64>();
                group.throughput(Throughput::Elements(macs));
                group.bench_function(BenchmarkId::from_parameter(name), |b| {
                    // Allocated only for a network that is measured.
                    let buffers =
                        buffers.get_or_insert_with(|| Buffers::new(isa, &pool, batch, &layers));
                    b.iter(|| some.iter().for_each(|l| run(isa, &pool, batch, l, buffers)));
                });
            };
            bench("all", &layers.iter().collect::<Vec<_>>());
            for class in CLASSES {
                let some: Vec<&Layer> = layers.iter().filter(|l| l.class == class).collect();
                if !some.is_empty() {
                    bench(class.name(), &some);
                }
            }
        }
    }
}

criterion_group!(benches, networks);
criterion_main!(benches);
