//! How many multiply-adds a second the instructions of a set reach at most, measured.
//!
//! The loops touch no memory: what they reach is the roof over every kernel of that instruction
//! set, at the clock that the CPU has under such load.

pub(crate) mod kernel;

use std::sync::Barrier;
use std::time::{Duration, Instant};

pub use self::kernel::Arithmetic;
use crate::isa::Isa;

/// How long one measurement takes at least.
const SAMPLE: Duration = Duration::from_millis(2);
/// The first samples, in which the clock settles, are slower.
const SAMPLES: usize = 6;

/// Multiply-adds a second of `threads` threads (at least 1) together, the best of some samples of a
/// few milliseconds; `None` for [`Isa::SCALAR`], whose code the compiler chooses.
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
            // Every thread takes as many samples, whatever its speed: they wait for each other.
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
    fn wider_instructions_do_more() {
        let peaks = |arithmetic| -> Vec<f64> {
            Isa::supported().into_iter().filter_map(|isa| peak(isa, arithmetic, 1)).collect()
        };
        for peaks in [peaks(Arithmetic::F32), peaks(Arithmetic::Int8)] {
            // A few multiply-adds a cycle at a few GHz.
            assert!(peaks.iter().all(|&peak| peak > 1e9), "{peaks:?}");
        }
    }
}
