//! Applies a function of two elements over broadcast inputs.

#![expect(
    clippy::inline_always,
    reason = "without inlining, the code would not be compiled for the caller's target features"
)]

use super::{Broadcast, Piece};
use crate::Isa;
use crate::int8::vectorize::{Loop, vectorize};
use crate::pool::{Pool, SharedMut};

/// A function of two elements. Implementations of `apply` must be `#[inline(always)]`.
pub(crate) trait Pairwise<T>: Copy + Sync {
    fn apply(self, a: T, b: T) -> T;
}

/// Sets each element of `output` to `f` of the broadcast elements of `a` and `b`, which may hold
/// several tensors of the plan's shapes.
///
/// # Panics
/// If the lengths are not the same multiple of the plan's.
pub(crate) fn combine<T: Copy + Default + Send + Sync>(
    isa: Isa,
    pool: &Pool,
    plan: &Broadcast,
    f: impl Pairwise<T>,
    a: &[T],
    b: &[T],
    output: &mut [T],
) {
    let count = plan.check(a.len(), b.len(), output.len());
    let moves = plan.row_moves();
    let output = SharedMut::new(output);
    plan.run(pool, count, |piece| {
        // SAFETY: `run` gives each part of the output to one call, so the slices do not overlap.
        let output = unsafe { output.slice(piece.range()) };
        vectorize(isa, Rows { f, piece, moves, a, b, output });
    });
}

struct Rows<'a, T, F> {
    f: F,
    piece: Piece,
    /// For each input, whether its row is as long as the output's; otherwise it is one element.
    moves: [bool; 2],
    a: &'a [T],
    b: &'a [T],
    output: &'a mut [T],
}

impl<T: Copy + Default, F: Pairwise<T>> Loop for Rows<'_, T, F> {
    #[inline(always)]
    fn run(self) {
        let Self { f, piece, moves, a, b, output } = self;
        let Piece { input: [first_a, first_b], rows, len, step: [step_a, step_b], .. } = piece;
        let (a, b) = (&a[first_a..], &b[first_b..]);
        match moves {
            [true, true] if len < SHORT && rows > 1 && step_b == 0 => {
                repeated(output, &a[..rows * len], &b[..len], f);
            }
            [true, true] if len < SHORT && rows > 1 && step_a == 0 => {
                repeated(output, &b[..rows * len], &a[..len], Exchanged(f));
            }
            [true, true] => {
                for (row, output) in output.chunks_exact_mut(len).enumerate() {
                    let (a, b) = (&a[row * step_a..][..len], &b[row * step_b..][..len]);
                    zip(output, a, b, f);
                }
            }
            [true, false] => {
                for (row, output) in output.chunks_exact_mut(len).enumerate() {
                    let (a, b) = (&a[row * step_a..][..len], b[row * step_b]);
                    for (to, &a) in output.iter_mut().zip(a) {
                        *to = f.apply(a, b);
                    }
                }
            }
            _ => {
                for (row, output) in output.chunks_exact_mut(len).enumerate() {
                    let (a, b) = (a[row * step_a], &b[row * step_b..][..len]);
                    for (to, &b) in output.iter_mut().zip(b) {
                        *to = f.apply(a, b);
                    }
                }
            }
        }
    }
}

/// Rows shorter than this are combined several at a time, since a loop for each would be slow.
const SHORT: usize = 128;

/// Combines each row of `a` with the single row `b`, of which a few hundred elements of copies are
/// made first.
#[inline(always)]
fn repeated<T: Copy + Default>(output: &mut [T], a: &[T], b: &[T], f: impl Pairwise<T>) {
    let mut memory = [T::default(); 4 * SHORT];
    let rows = (memory.len() / b.len()).min(output.len() / b.len());
    let many = &mut memory[..rows * b.len()];
    for row in many.chunks_exact_mut(b.len()) {
        row.copy_from_slice(b);
    }
    for (output, a) in output.chunks_mut(many.len()).zip(a.chunks(many.len())) {
        zip(output, a, many, f);
    }
}

/// Combines elements up to the length of the shortest slice.
#[inline(always)]
fn zip<T: Copy>(output: &mut [T], a: &[T], b: &[T], f: impl Pairwise<T>) {
    for ((to, &a), &b) in output.iter_mut().zip(a).zip(b) {
        *to = f.apply(a, b);
    }
}

/// A function with its two arguments exchanged.
#[derive(Clone, Copy)]
struct Exchanged<F>(F);

impl<T, F: Pairwise<T>> Pairwise<T> for Exchanged<F> {
    #[inline(always)]
    fn apply(self, a: T, b: T) -> T {
        self.0.apply(b, a)
    }
}
