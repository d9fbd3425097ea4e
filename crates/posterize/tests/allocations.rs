//! Tests that a warm engine does not allocate. This file has only one test because the allocations
//! of all threads are counted.

mod nets;

use std::time::Duration;

use nets::{mobilenet, others, pixels, preprocessed, preprocessing, quantized};
use posterize::runtime::{Engine, Input, Model, Options, compile};
use posterize::{MemoryFormat, PixelOrder, PixelView, Tensor};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Returns the number of allocations of a call of `work`. A thread may allocate while it starts, so
/// this is repeated until the number is `expected`.
fn allocations(expected: u64, work: &mut dyn FnMut()) -> u64 {
    const TIMES: u64 = 5;
    let mut found = 0;
    for _ in 0..100 {
        let before = dhat::HeapStats::get().total_blocks;
        (0..TIMES).for_each(|_| work());
        found = dhat::HeapStats::get().total_blocks - before;
        if found == expected * TIMES {
            return expected;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    found / TIMES
}

fn check(name: &str, model: impl Into<Model>) {
    let model = model.into();
    for (threads, batch) in [(1, 1), (1, 3), (2, 1), (2, 3)] {
        let options = Options::new(threads).unwrap().batch(batch);
        let mut engine = compile(model.clone(), options.pictures(&preprocessing())).unwrap();
        let pixels = pixels(batch, 1);
        let last = preprocessed(&pixels);
        let first = last.to_format(MemoryFormat::Contiguous);
        let one = Tensor::channels_last(
            [1, 3, nets::SIDE, nets::SIDE],
            last.data()[..3 * nets::SIDE * nets::SIDE].to_vec(),
        );
        let one = one.unwrap();
        let frames = vec![9; batch * nets::SIDE * 200];
        let frames = PixelView::with_row_stride(
            [batch, nets::SIDE, nets::SIDE],
            PixelOrder::Bgra,
            200,
            &frames,
        );
        let inputs: [(&str, Input<'_>); 5] = [
            ("pixels", (&pixels).into()),
            ("pixels with gaps", frames.unwrap().into()),
            ("channels last", (&last).into()),
            ("contiguous", (&first).into()),
            ("a smaller batch", (&one).into()),
        ];
        for (kind, input) in inputs {
            let mut output = vec![0.0; if kind == "a smaller batch" { 10 } else { 10 * batch }];
            let mut into =
                |engine: &mut Engine| engine.run_into(input, &mut output).expect("it runs");
            let what = format!("{name}, {threads} threads, batch {batch}, {kind}");
            assert_eq!(allocations(0, &mut || into(&mut engine)), 0, "{what}");
            // One allocation for the tensor's values and one for its shape.
            let mut run = || drop(engine.run(input).expect("it runs"));
            assert_eq!(allocations(2, &mut run), 2, "{what}, into a tensor");
        }
    }
}

#[test]
fn a_warm_engine_allocates_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    for (name, model) in [("mobilenet", mobilenet()), ("others", others())] {
        check(name, &model);
        check(&format!("{name} int8"), quantized(&model));
    }
}
