//! Tests of rounding, on networks whose exact solution is known and on one with every kind of layer.

use proptest::prelude::*;

use super::*;
use crate::Architecture;
use crate::nn::Sequential;
use crate::ops::{Activation, AdaptiveAvgPool2d, Conv2d, Flatten, Linear, Padding};
use crate::quantization::{BiasCorrection, PostTraining, QConfig, QConfigMapping};

/// Returns numbers from −1 to 1 that look random.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |i: usize| (i * 2_654_435_761 + seed * 40_503) % 10_007;
    (0..count).map(|i| number(i) as f32 / 5003.0 - 1.0).collect()
}

fn problem(weights: usize, outputs: usize, seed: usize) -> (Quadratic, Grid) {
    let isa = Options::new(1).unwrap().isa.kernels();
    // Inputs that depend on each other, by which nearest rounding is not the best.
    let mut inputs = numbers(50 * weights, seed);
    for row in inputs.chunks_exact_mut(weights) {
        for at in 1..weights {
            row[at] = 0.9 * row[at - 1] + 0.3 * row[at];
        }
    }
    let float = numbers(weights * outputs, seed + 1);
    let problem = Quadratic::new(isa, &Pool::new(1), &inputs, &float, weights);
    let scales: Vec<f32> = (0..outputs).map(|output| 0.1 + 0.02 * output as f32).collect();
    let grid = Grid::new(&float, &scales, (-127, 127));
    (problem, grid)
}

fn error(problem: &Quadratic, grid: &Grid, up: &[bool]) -> f64 {
    let channels = up.chunks_exact(problem.weights).enumerate();
    channels.map(|(output, up)| problem.error(output, &grid.dequantized(output, up))).sum()
}

#[test]
fn the_gradient_is_that_of_differences() {
    let (problem, grid) = problem(7, 2, 3);
    let mut rounded = grid.dequantized(1, &grid.nearest()[7..]);
    let gradient = problem.half_gradient(1, &rounded);
    for (at, found) in gradient.iter().enumerate() {
        let mut at_offset = |offset: f32| {
            rounded[at] += offset;
            let error = problem.error(1, &rounded);
            rounded[at] -= offset;
            error
        };
        let expected = (at_offset(0.01) - at_offset(-0.01)) / 0.04;
        assert!((f64::from(*found) - expected).abs() < 1e-4, "{at}: {found}, {expected}");
    }
}

#[test]
fn both_methods_come_near_the_best_of_all_roundings() {
    let (isa, pool) = (Options::new(1).unwrap().isa.kernels(), Pool::new(2));
    let (mut nearest, mut descended, mut learned, mut best) = (0.0, 0.0, 0.0, 0.0);
    for seed in 0..12 {
        let (problem, grid) = problem(9, 1, seed);
        let of = |up: &[bool]| error(&problem, &grid, up);
        let up = grid.nearest();
        nearest += of(&up);
        descended += of(&descent::descend(&pool, &problem, &grid, &up));
        learned += of(&adaround::learn(isa, &pool, &problem, &grid));
        let all =
            (0..1 << 9).map(|bits| of(&(0..9).map(|at| bits >> at & 1 == 1).collect::<Vec<_>>()));
        best += all.fold(f64::INFINITY, f64::min);
    }
    assert!(best < 0.8 * nearest, "{best} of {nearest}");
    for found in [descended, learned] {
        assert!(
            found >= best && found < best + 0.3 * (nearest - best),
            "{found}: {best}, {nearest}"
        );
    }
}

proptest! {
    #[test]
    fn no_weight_can_be_rounded_the_other_way_after_descent(
        weights in 1usize..12,
        outputs in 1usize..4,
        seed in 0usize..1000,
    ) {
        let (problem, grid) = problem(weights, outputs, seed);
        let start = grid.nearest();
        let up = descent::descend(&Pool::new(1), &problem, &grid, &start);
        let smallest = error(&problem, &grid, &up);
        prop_assert!(smallest <= error(&problem, &grid, &start) * (1.0 + 1e-5));
        for at in 0..up.len() {
            let mut other = up.clone();
            other[at] = !other[at];
            prop_assert!(error(&problem, &grid, &other) > smallest * (1.0 - 1e-3));
        }
    }

    #[test]
    fn the_grid_is_around_the_weight(w in -20.0f32..20.0, scale in 0.05f32..1.0) {
        let grid = Grid::new(&[w], &[scale], (-127, 127));
        let [low, high] = [false, true].map(|up| grid.dequantized(0, &[up])[0]);
        let clamped = w.clamp(-127.0 * scale, 127.0 * scale);
        prop_assert!(low <= clamped + 1e-4 && clamped <= high + 1e-4, "{low}, {w}, {high}");
        let nearest = (w / scale).round_ties_even().clamp(-127.0, 127.0) as i8;
        prop_assert_eq!(grid.integers(&grid.nearest()), [nearest]);
    }
}

fn float() -> FloatModel {
    let same = Padding::all(1);
    let net = Sequential::new()
        .then(Conv2d::new(3, 12, 3).padding(same).stride(2))
        .then(Activation::ReLU6)
        .then(Conv2d::new(12, 12, 3).padding(same).groups(12))
        .then(Activation::ReLU)
        .then(Conv2d::new(12, 8, 2).groups(2).dilation(2))
        .then(AdaptiveAvgPool2d::new([1, 1]))
        .then(Flatten)
        .then(Linear::new(8, 5));
    Architecture::trace(&net).unwrap().init(5).fuse().unwrap()
}

fn pictures() -> Vec<Tensor> {
    let batch = |seed| Tensor::new([3, 3, 13, 11], numbers(3 * 3 * 13 * 11, seed)).unwrap();
    (0..3).map(batch).collect()
}

fn quantized(rounding: Rounding, threads: usize, seed: u64) -> QuantizedModel {
    let passes = PostTraining::pytorch().rounding(rounding).seed(seed);
    let passes = passes.bias_correction(BiasCorrection::Empirical);
    let (mapping, options) = (QConfigMapping::global(QConfig::qnnpack()), Options::new(threads));
    float().quantize(&mapping, &passes, options.unwrap(), &mut pictures()).unwrap().model
}

#[test]
fn weights_stay_within_a_step_and_do_not_depend_on_threads() {
    let nearest = quantized(Rounding::Nearest, 1, 0);
    for rounding in [Rounding::CoordinateDescent, Rounding::AdaRound] {
        let model = quantized(rounding, 1, 0);
        assert_eq!(model, quantized(rounding, 3, 0));
        let mut changed = 0;
        for (id, layer) in model.layers() {
            let before = nearest.layer(*id).unwrap();
            assert_eq!((&layer.shape, &layer.qparams), (&before.shape, &before.qparams));
            for (a, b) in layer.weight.iter().zip(&before.weight) {
                assert!((i32::from(*a) - i32::from(*b)).abs() <= 1);
                changed += usize::from(a != b);
            }
        }
        assert!(changed > 10, "{rounding:?} changes {changed} weights");
    }
}

#[test]
fn samples_are_the_windows_of_the_layer() {
    let conv = Conv2d::new(4, 6, 3).padding(Padding::all(1)).stride(2).groups(2);
    let op = crate::ops::Op::from(conv);
    let rows = Rows::draw(&op, &[5, 4, 6, 5], 5, [1, 2]).unwrap();
    // All positions are taken if there are few.
    assert_eq!((rows.len(), rows.width()), (5 * 3 * 3, 4 * 9));
    let values: Vec<u8> = (0..5 * 6 * 5 * 4).map(|i| (i * 7 % 251) as u8).collect();
    let gathered = rows.gather(&Pool::new(2), &values, 5, 128);
    for (sample, row) in gathered.chunks_exact(36).enumerate() {
        let (picture, oy, ox) = (sample / 9, sample / 3 % 3, sample % 3);
        for (at, &found) in row.iter().enumerate() {
            let (channel, ky, kx) = (at / 9, at / 3 % 3, at % 3);
            let (y, x) = ((2 * oy + ky).wrapping_sub(1), (2 * ox + kx).wrapping_sub(1));
            let inside = y < 6 && x < 5;
            let expected =
                if inside { values[((picture * 6 + y) * 5 + x) * 4 + channel] } else { 128 };
            assert_eq!(found, expected, "{sample}, {at}");
        }
    }
}

#[test]
fn samples_of_many_positions_are_drawn_by_the_seed() {
    let op = crate::ops::Op::from(Conv2d::new(2, 2, 1));
    let draw = |seed| Rows::draw(&op, &[9, 2, 40, 40], 9, [seed, 0]).unwrap();
    let values: Vec<u8> = (0..9 * 40 * 40 * 2).map(|i| (i % 241) as u8).collect();
    let gather = |rows: &Rows| rows.gather(&Pool::new(1), &values, 9, 0);
    assert_eq!(draw(3).len(), 1024);
    assert_eq!(gather(&draw(3)), gather(&draw(3)));
    assert_ne!(gather(&draw(3)), gather(&draw(4)));
}
