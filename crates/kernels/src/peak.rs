//! Measures the peak arithmetic throughput of an instruction set.
//!
//! The loops do not access memory, so what they reach is an upper bound for every kernel of that
//! instruction set, at the clock frequency that the CPU sustains under such load.

pub(crate) mod kernel;

use std::sync::Barrier;
use std::time::{Duration, Instant};

pub use self::kernel::Arithmetic;
use crate::isa::Isa;

/// Minimum duration of one sample.
const SAMPLE: Duration = Duration::from_millis(2);
/// Number of samples; the first are slower because the clock frequency has not settled.
const SAMPLES: usize = 6;

/// Measures the multiply-adds per second that `threads` threads (at least 1) reach together.
///
/// The result is the best of a few samples of some milliseconds; `None` for [`Isa::SCALAR`], for
/// which the compiler chooses the instructions.
///
/// ```
/// use posterize_kernels::Isa;
/// use posterize_kernels::peak::{Arithmetic, peak};
///
/// let isa = Isa::detect();
/// assert_eq!(peak(isa, Arithmetic::F32, 1).is_some(), isa != Isa::SCALAR);
/// assert_eq!(peak(Isa::SCALAR, Arithmetic::Int8, 1), None);
/// ```
pub fn peak(isa: Isa, arithmetic: Arithmetic, threads: usize) -> Option<f64> {
    let kernel = isa.backend().peak(arithmetic)?;
    let barrier = Barrier::new(threads.max(1));
    let measure = || {
        let mut loops = 1000;
        let mut best = 0.0_f64;
        let mut samples = 0;
        while samples < SAMPLES {
            barrier.wait();
            let start = Instant::now();
            kernel.run(loops);
            let time = start.elapsed();
            best = best.max((loops * kernel.multiply_adds()) as f64 / time.as_secs_f64());
            // All threads take the same number of samples, because they meet at the barrier for
            // each.
            loops = (best * SAMPLE.as_secs_f64()) as u64 / kernel.multiply_adds() + 1;
            samples += 1;
        }
        best
    };
    Some(std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(measure)).collect();
        let own = measure();
        others.into_iter().fold(own, |sum, other| sum + other.join().unwrap_or(0.0))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_isa_but_scalar_reaches_a_billion_a_second() {
        let peaks = |arithmetic| -> Vec<f64> {
            Isa::supported().into_iter().filter_map(|isa| peak(isa, arithmetic, 1)).collect()
        };
        for peaks in [peaks(Arithmetic::F32), peaks(Arithmetic::Int8)] {
            // A few multiply-adds per cycle at a few GHz.
            assert!(peaks.iter().all(|&peak| peak > 1e9), "{peaks:?}");
        }
    }
}
