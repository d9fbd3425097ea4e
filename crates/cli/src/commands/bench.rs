//! `posterize bench MODEL`.

use std::{
    fmt,
    time::{Duration, Instant},
};

use clap::Args;
use posterize::Tensor;
use serde::Serialize;

use crate::{
    args::ThreadArgs,
    error::Result,
    model::ModelArgs,
    ui::{Align, Table, Ui},
};

/// Times a network alone, without reading pictures: after a warm-up, over many runs of one batch.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    #[command(flatten)]
    model: ModelArgs,

    /// Pictures in a run
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,

    /// How many runs are timed
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// Leave batch norms and activations layers of their own
    #[arg(long)]
    no_fuse: bool,

    #[command(flatten)]
    threads: ThreadArgs,
}

/// Milliseconds per picture.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    precision: &'static str,
    median_ms: f64,
    min_ms: f64,
    p99_ms: f64,
    images_per_second: f64,
    batch: u16,
    threads: usize,
    runs: u32,
    isa: String,
    fused: bool,
}

/// Caches, branch predictors and the clock settle over at least this many runs and this long.
const WARM_UP_RUNS: u32 = 5;
const WARM_UP: Duration = Duration::from_millis(300);

impl Bench {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        self.model.refuse_with_file(&[("--no-fuse", self.no_fuse)])?;
        let options = self.threads.options()?;
        let loaded = self.model.with_given_weights(ui)?;
        let loaded = if self.no_fuse { loaded } else { loaded.fuse()? };
        let images = pictures(usize::from(self.batch), loaded.preprocessing.crop)?;
        let mut engine = loaded.engine(options);

        let start = Instant::now();
        let mut run = 0;
        while run < WARM_UP_RUNS || start.elapsed() < WARM_UP {
            engine.run(&images)?;
            run += 1;
        }
        let bar = ui.steps_bar("timing", u64::from(self.runs));
        let mut times = Vec::with_capacity(self.runs as usize);
        for _ in 0..self.runs {
            let start = Instant::now();
            engine.run(&images)?;
            times.push(start.elapsed().as_secs_f64() * 1e3 / f64::from(self.batch));
            bar.inc(1);
        }
        bar.finish_and_clear();

        let report = Report {
            median_ms: percentile(&mut times, 0.5),
            min_ms: percentile(&mut times, 0.0),
            p99_ms: percentile(&mut times, 0.99),
            images_per_second: 1e3 * times.len() as f64 / times.iter().sum::<f64>(),
            precision: loaded.precision(),
            model: loaded.name,
            batch: self.batch,
            threads: options.threads,
            runs: self.runs,
            isa: options.isa.to_string(),
            fused: !self.no_fuse,
        };
        ui.result(&report, &report)
    }
}

/// Noise in the range of normalized pictures, the same every time.
fn pictures(count: usize, size: usize) -> Result<Tensor> {
    let mut state = 1u32;
    let values = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    });
    let values = values.take(count * 3 * size * size).collect();
    Ok(Tensor::channels_last([count, 3, size, size], values)?)
}

/// The smallest value that at least `share` of the values do not exceed (the nearest rank).
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values[rank.saturating_sub(1)]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("model", Align::Left),
            ("batch", Align::Right),
            ("threads", Align::Right),
            ("isa", Align::Left),
            ("median ms", Align::Right),
            ("min ms", Align::Right),
            ("p99 ms", Align::Right),
            ("pictures/s", Align::Right),
        ]);
        table.row([
            self.model.clone(),
            self.batch.to_string(),
            self.threads.to_string(),
            self.isa.clone(),
            format!("{:.3}", self.median_ms),
            format!("{:.3}", self.min_ms),
            format!("{:.3}", self.p99_ms),
            format!("{:.1}", self.images_per_second),
        ]);
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::{percentile, pictures};

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.0), 1.0);
        assert_eq!(percentile(&mut values, 0.5), 100.0);
        assert_eq!(percentile(&mut values, 0.99), 198.0);
        assert_eq!(percentile(&mut [3.0], 0.99), 3.0);
    }

    #[test]
    fn pictures_are_noise_around_zero() {
        let images = pictures(2, 32).unwrap();
        assert!(images.data().iter().all(|value| (-2.0..2.0).contains(value)));
        let mean = images.data().iter().sum::<f32>() / images.data().len() as f32;
        assert!(mean.abs() < 0.1, "{mean}");
    }
}
