//! Measures how long a network takes, without reading pictures.

mod compare;
mod times;

pub(crate) use compare::{Comparison, Ratio, compare};
pub(crate) use times::Times;

use std::time::{Duration, Instant};

use posterize::{
    Tensor,
    data::PixelBatch,
    runtime::{Engine, Input},
};

use crate::{error::Result, ui::Ui};

/// The warm-up takes at least this many runs and this long, so that caches, branch predictors and the
/// clock frequency settle.
const WARM_UP_RUNS: u32 = 5;
const WARM_UP: Duration = Duration::from_millis(300);

/// The input of the timed runs.
pub(crate) enum Pictures {
    Tensor(Tensor),
    Pixels(PixelBatch),
}

impl Pictures {
    pub(crate) fn input(&self) -> Input<'_> {
        match self {
            Self::Tensor(images) => images.into(),
            Self::Pixels(images) => images.into(),
        }
    }
}

/// Times `runs` runs after a warm-up, and returns the milliseconds per picture of each.
pub(crate) fn times(
    engine: &mut Engine,
    images: Input<'_>,
    runs: u32,
    ui: &Ui,
) -> Result<Vec<f64>> {
    warm_up(engine, images)?;
    let bar = ui.steps_bar("timing", u64::from(runs));
    let mut times = Vec::new();
    for _ in 0..runs {
        times.push(time(engine, images)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(times)
}

/// Times several engines alternately, each with its own input: `turns` times `runs` runs of each. So
/// anything that slows the machine down for a while slows all of them alike.
pub(crate) fn times_in_turns(
    engines: &mut [Engine],
    images: &[Input<'_>],
    turns: u32,
    runs: u32,
    ui: &Ui,
) -> Result<Vec<Vec<f64>>> {
    for (engine, &images) in engines.iter_mut().zip(images) {
        warm_up(engine, images)?;
    }
    let mut times = vec![Vec::new(); engines.len()];
    let bar = ui.steps_bar("timing", u64::from(turns) * engines.len() as u64);
    for _ in 0..turns {
        for ((engine, &images), times) in engines.iter_mut().zip(images).zip(&mut times) {
            // Not timed, because the caches hold the weights of the engine that ran before.
            engine.run(images)?;
            for _ in 0..runs {
                times.push(time(engine, images)?);
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(times)
}

fn warm_up(engine: &mut Engine, images: Input<'_>) -> Result<()> {
    let start = Instant::now();
    let mut run = 0;
    while run < WARM_UP_RUNS || start.elapsed() < WARM_UP {
        engine.run(images)?;
        run += 1;
    }
    Ok(())
}

/// Returns the milliseconds per picture of one run.
fn time(engine: &mut Engine, images: Input<'_>) -> Result<f64> {
    let count = images.batch();
    let start = Instant::now();
    engine.run(images)?;
    Ok(start.elapsed().as_secs_f64() * 1e3 / count as f64)
}

/// Returns noise `[N, 3, H, W]` in the range of normalized pictures, -2 to 2, the same every time.
pub(crate) fn pictures(count: usize, [height, width]: [usize; 2]) -> Result<Tensor> {
    values(count, [3, height, width])
}

/// Returns noise as [`pictures`] does, for an input of these channels, height and width.
pub(crate) fn values(count: usize, [channels, height, width]: [usize; 3]) -> Result<Tensor> {
    let mut state = 1u32;
    let values = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    });
    let values = values.take(count * channels * height * width).collect();
    Ok(Tensor::channels_last([count, channels, height, width], values)?)
}

/// Returns noise `[N, H, W, 3]` of 8-bit values, the same every time.
pub(crate) fn pixels(count: usize, [height, width]: [usize; 2]) -> Result<PixelBatch> {
    let mut state = 1u32;
    let values = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let data = values.take(count * height * width * 3).collect();
    Ok(PixelBatch::new([count, height, width], data)?)
}

/// Returns the smallest value that is at least as large as `share` of the values: the nearest-rank
/// percentile.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values[rank.saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use super::{percentile, pictures};

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.0), 1.0);
        assert_eq!(percentile(&mut values, 0.5), 100.0);
        assert_eq!(percentile(&mut values, 0.99), 198.0);
        assert_eq!(percentile(&mut [3.0], 0.99), 3.0);
    }

    #[test]
    fn pictures_are_noise_with_mean_zero() {
        let images = pictures(2, [32, 32]).unwrap();
        assert!(images.data().iter().all(|value| (-2.0..2.0).contains(value)));
        let mean = images.data().iter().sum::<f32>() / images.data().len() as f32;
        assert!(mean.abs() < 0.1, "{mean}");
    }
}
