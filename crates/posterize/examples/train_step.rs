//! Measures training steps on command, for the comparison with PyTorch in
//! `bench/peers/train_step.py`.
//!
//! It reads commands from stdin, one a line, and prints one line of JSON for each: `run N` runs N steps
//! and prints their times in milliseconds, `memory` prints the peak memory of the process in MiB. Any
//! other line ends it.
//!
//! ```text
//! echo "run 5" | cargo run --release -p posterize --example train_step -- tf_mobilenet_v2 qat 30 2
//! ```

use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

use posterize::models::{self, Config};
use posterize::ops::Activation;
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::Options;
use posterize::training::{CrossEntropy, Network, Optimizer, Sgd, SgdOptions, TrainedMut};
use posterize::{MemoryFormat, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, kind, batch, threads] = arguments.as_slice() else {
        return Err("usage: train_step MODEL float|qat BATCH THREADS".into());
    };
    let (batch, options) = (batch.parse::<usize>()?, Options::new(threads.parse()?)?);
    let qat = kind == "qat";
    // With ReLU, as in PyTorch's tutorial on quantization-aware training.
    let activation = qat.then_some(Activation::ReLU);
    let model = models::by_name(name, &Config { activation, ..models::config(name)? })?.init(0);
    let mut network = if qat {
        let mapping = QConfigMapping::global(QConfig::fbgemm_qat());
        Network::qat(model.prepare_qat(&mapping)?, options)?
    } else {
        Network::float(&model, options)?
    };
    let [height, width] = models::preprocessing(name)?.crop;
    let values = (0..batch * 3 * height * width)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 16 & 0xFFF) as f32 / 1024.0 - 2.0)
        .collect();
    let images =
        Tensor::new([batch, 3, height, width], values)?.to_format(MemoryFormat::ChannelsLast);
    let labels: Vec<usize> = (0..batch).collect();
    let (loss, mut sgd) = (CrossEntropy::default(), Sgd::new(SgdOptions::default())?);
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line == "memory" {
            println!("{}", peak_memory()?);
            continue;
        }
        let Some(count) = line.strip_prefix("run ") else { break };
        let mut times = Vec::new();
        for _ in 0..count.parse()? {
            let start = Instant::now();
            network.forward_backward(&images, &labels, &loss)?;
            let mut trained: Vec<TrainedMut<'_>> = network.trained().collect();
            sgd.step(1e-4, &mut trained);
            times.push((start.elapsed().as_secs_f64() * 1e4).round() / 10.0);
        }
        println!("{times:?}");
    }
    Ok(())
}

/// Returns the peak memory of this process in MiB; 0 if the system does not report it.
fn peak_memory() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) / 1024)
}
