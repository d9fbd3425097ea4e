//! Benchmarks the f32 kernels for the layers of real networks, by kind of layer and for all layers
//! in order. Throughput is in multiply-adds per second. The number after a network's name is the
//! number of threads.
//!
//! ```text
//! cargo bench -p posterize-kernels --bench f32 -- mobilenet_v2/1
//! POSTERIZE_ISA=avx2 cargo bench -p posterize-kernels --bench f32 -- resnet50/layers
//! ```

mod layers;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use layers::{Class, Layer};
use posterize_kernels::f32::{Clamp, Conv2d};
use posterize_kernels::{Isa, Pool};

const CLASSES: [Class; 5] =
    [Class::First, Class::Pointwise, Class::Depthwise, Class::General, Class::Linear];

/// A layer with its packed weights.
struct PackedLayer {
    layer: Layer,
    conv: Conv2d,
}

impl PackedLayer {
    fn new(isa: Isa, layer: Layer) -> Self {
        let geometry = layer.geometry;
        let weight = vec![0.01; geometry.out_channels * geometry.taps_per_output()];
        let bias = vec![0.1; geometry.out_channels];
        Self { layer, conv: Conv2d::new(isa, geometry, &weight, Some(&bias), Clamp::RELU6) }
    }

    fn inputs(&self) -> usize {
        self.layer.size[0] * self.layer.size[1] * self.layer.geometry.in_channels
    }

    fn outputs(&self) -> usize {
        let [h, w] = self.layer.output_size();
        h * w * self.layer.geometry.out_channels
    }
}

/// Runs the layers one after another; each reads the output of the one before it.
fn bench_layers(c: &mut Criterion, group: &str, name: &str, pool: &Pool, layers: &[&PackedLayer]) {
    let max_len = layers.iter().map(|l| l.inputs().max(l.outputs())).max().unwrap_or(0);
    let scratch = layers.iter().map(|l| l.conv.scratch_len(pool.threads(), 1, l.layer.size)).max();
    let (mut from, mut to) = (vec![0.5; max_len], vec![0.5; max_len]);
    let mut scratch = vec![0.0; scratch.unwrap_or(0)];
    let mut group = c.benchmark_group(group);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(layers.iter().map(|l| l.layer.macs()).sum()));
    group.bench_function(BenchmarkId::from_parameter(name), |b| {
        b.iter(|| {
            for l in layers {
                let (input, output) = (&from[..l.inputs()], &mut to[..l.outputs()]);
                l.conv.run(pool, 1, l.layer.size, input, output, &mut scratch);
                std::mem::swap(&mut from, &mut to);
            }
        });
    });
    group.finish();
}

fn networks(c: &mut Criterion) {
    let isa = Isa::from_env().expect("POSTERIZE_ISA names no instruction set of this CPU");
    for (network, layers) in layers::networks() {
        let packed: Vec<PackedLayer> =
            layers.into_iter().map(|layer| PackedLayer::new(isa, layer)).collect();
        for threads in [1, 2] {
            let pool = Pool::new(threads);
            let group = format!("f32/{isa}/{network}/{threads}");
            bench_layers(c, &group, "all", &pool, &packed.iter().collect::<Vec<_>>());
            for class in CLASSES {
                let some: Vec<&PackedLayer> =
                    packed.iter().filter(|l| l.layer.class == class).collect();
                if !some.is_empty() {
                    bench_layers(c, &group, class.name(), &pool, &some);
                }
            }
        }
        let pool = Pool::new(1);
        let mut seen = Vec::new();
        for l in &packed {
            let name = l.layer.name();
            if !seen.contains(&name) {
                let group = format!("f32/{isa}/{network}/layers");
                bench_layers(c, &group, &name, &pool, &[l]);
                seen.push(name);
            }
        }
    }
}

criterion_group!(benches, networks);
criterion_main!(benches);
