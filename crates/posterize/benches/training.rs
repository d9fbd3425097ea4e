//! The time of the forward and backward pass in training: `cargo bench -p posterize --bench training`.
//!
//! The arguments and their defaults are the network (`tf_mobilenet_v2`), the batch size (30), the
//! number of threads (2) and the number of steps (5). `bench/peers/training.py` measures PyTorch on
//! the same network, with the step of the optimizer.

use std::time::Instant;

use posterize::models::{self, Config};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::Options;
use posterize::training::{CrossEntropy, Network};
use posterize::{Result, Tensor};

fn main() -> Result<()> {
    // `cargo bench` adds the option `--bench`.
    let given: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let number = |index: usize, default: usize| -> usize {
        given.get(index).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let name = given.first().map_or("tf_mobilenet_v2", String::as_str);
    let (batch, threads, steps) = (number(1, 30), number(2, 2), number(3, 5));
    let model = models::by_name(name, &Config::default())?.init(0);
    let mut state = 1u32;
    let values = (0..batch * 3 * 224 * 224).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    });
    let images = Tensor::channels_last([batch, 3, 224, 224], values.collect())?;
    let labels: Vec<usize> = (0..batch).map(|picture| picture * 7 % 1000).collect();
    let options = Options::new(threads)?;
    let qat = model.prepare_qat(&QConfigMapping::global(QConfig::recommended_qat()))?;
    println!("{name}, {batch} pictures, {threads} threads, {steps} steps: minimum and median");
    for (kind, mut network) in
        [("float", Network::float(&model, options)?), ("qat", Network::qat(qat, options)?)]
    {
        network.forward_backward(&images, &labels, &CrossEntropy::default())?;
        let mut times = Vec::with_capacity(steps);
        for _ in 0..steps {
            let start = Instant::now();
            network.forward_backward(&images, &labels, &CrossEntropy::default())?;
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        println!(
            "{kind:6} {:.3} s {:.3} s, {:.0} MB of values and gradients",
            times[0],
            times[times.len() / 2],
            network.activation_bytes() as f64 / 1e6
        );
    }
    Ok(())
}
