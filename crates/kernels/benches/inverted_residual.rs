//! Benchmarks the int8 inverted residual blocks of MobileNetV2 and EfficientNet-Lite0, as one
//! kernel and layer by layer.
//!
//! ```text
//! cargo bench -p posterize-kernels --bench inverted_residual -- mobilenet_v2/1x1
//! POSTERIZE_ISA=avx512vnni cargo bench -p posterize-kernels --bench inverted_residual
//! ```
//!
//! `2x30` in a name means 2 threads and 30 images. Throughput is in multiply-adds per second.

#[allow(dead_code, reason = "some items are used by other benchmarks only")]
mod layers;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use posterize_kernels::int8::{Add, Conv2d, InvertedResidual, QParams8, Requantize};
use posterize_kernels::{Isa, Pool};

use self::layers::{Class, Layer, networks};

/// Pseudo-random bytes.
fn bytes(len: usize) -> impl Iterator<Item = u8> {
    (0..len).scan(1u32, |state, _| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    })
}

/// Packs a convolution with random weights.
fn convolution(layer: &Layer, isa: Isa) -> Arc<Conv2d> {
    let channels = layer.geometry.out_channels;
    let weights = channels * layer.geometry.taps_per_output();
    let weight: Vec<i8> = bytes(weights).map(|byte| byte as i8).collect();
    let requantize =
        Requantize { multiplier: vec![1e-3; channels], zero_point: 0, min: 0, max: 255 };
    Arc::new(Conv2d::new(isa, layer.geometry, &weight, &vec![100; channels], 0, &requantize))
}

/// The layers of a block, and buffers for the activations between them.
struct Block {
    expand: Option<Arc<Conv2d>>,
    depthwise: Arc<Conv2d>,
    project: Arc<Conv2d>,
    add: Option<Add>,
    size: [usize; 2],
    output_size: [usize; 2],
    expanded: Vec<u8>,
    filtered: Vec<u8>,
    projected: Vec<u8>,
}

impl Block {
    fn run(
        &mut self,
        pool: &Pool,
        batch: usize,
        input: &[u8],
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        let Self { expand, depthwise, project, add, size, output_size, .. } = self;
        let (size, output_size) = (*size, *output_size);
        let expanded = match expand {
            Some(expand) => {
                expand.run(pool, batch, size, input, &mut self.expanded, scratch);
                &self.expanded
            }
            None => input,
        };
        depthwise.run(pool, batch, size, expanded, &mut self.filtered, scratch);
        match add {
            Some(add) => {
                let projected = &mut self.projected;
                project.run(pool, batch, output_size, &self.filtered, projected, scratch);
                add.run(pool, input, projected, output);
            }
            None => project.run(pool, batch, output_size, &self.filtered, output, scratch),
        }
    }
}

fn blocks(c: &mut Criterion) {
    let isa = Isa::from_env().expect("POSTERIZE_ISA names no instruction set of this CPU");
    for (network, layers) in networks() {
        for (threads, batch) in [(1, 1), (2, 1), (2, 30)] {
            let pool = Pool::new(threads);
            let mut group =
                c.benchmark_group(format!("inverted_residual/{isa}/{network}/{threads}x{batch}"));
            group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
            let mut seen = BTreeSet::new();
            for (at, depthwise) in layers.iter().enumerate() {
                if depthwise.class != Class::Depthwise {
                    continue;
                }
                let [before, project] = [&layers[at - 1], &layers[at + 1]];
                let expand = Some(before).filter(|layer| layer.class == Class::Pointwise);
                let first = expand.unwrap_or(depthwise);
                let (inputs, outputs) = (first.geometry.in_channels, project.geometry.out_channels);
                let (size, output_size) = (depthwise.size, depthwise.output_size());
                let name = format!("{} {outputs}", depthwise.name());
                if !seen.insert(name.clone()) {
                    continue;
                }
                let values = QParams8 { scale: 0.02, zero_point: 3 };
                let adds = (inputs, size) == (outputs, output_size);
                let add = adds.then(|| Add::new(isa, values, values, values, 0, 255));
                let [pixels, output_pixels] = [size, output_size].map(|[h, w]| batch * h * w);
                let hidden = depthwise.geometry.in_channels;
                let mut block = Block {
                    expand: expand.map(|layer| convolution(layer, isa)),
                    depthwise: convolution(depthwise, isa),
                    project: convolution(project, isa),
                    add,
                    size,
                    output_size,
                    expanded: vec![0; if expand.is_some() { pixels * hidden } else { 0 }],
                    filtered: vec![0; output_pixels * hidden],
                    projected: vec![0; output_pixels * outputs],
                };
                let fused = InvertedResidual::new(
                    block.expand.clone(),
                    Arc::clone(&block.depthwise),
                    Arc::clone(&block.project),
                    block.add.clone(),
                    size,
                )
                .expect("the layers form an inverted residual");
                let input: Vec<u8> = bytes(pixels * inputs).collect();
                let mut output = vec![0; output_pixels * outputs];
                let expanding = expand.map_or(0, Layer::macs);
                let macs = expanding + depthwise.macs() + project.macs();
                group.throughput(Throughput::Elements(macs * batch as u64));
                let mut scratch = vec![0; fused.scratch_len(threads)];
                group.bench_function(format!("{name}/fused"), |b| {
                    b.iter(|| {
                        fused.run(&pool, batch, black_box(&input), &mut output, &mut scratch);
                    });
                });
                group.bench_function(format!("{name}/layers"), |b| {
                    b.iter(|| {
                        block.run(&pool, batch, black_box(&input), &mut output, &mut scratch);
                    });
                });
            }
        }
    }
}

criterion_group!(benches, blocks);
criterion_main!(benches);
