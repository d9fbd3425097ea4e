//! Plans and runs what it loads. Arbitrary bytes are read as a saved model, and the model's graph is also
//! used for a float network with weights of its own. Each must be refused, or give the same outputs with
//! one thread and with two, again and again, and in int8 on every instruction set.
#![no_main]

mod mutate;

use std::sync::Arc;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use posterize::format::SavedModel;
use posterize::graph::Graph;
use posterize::model::Parameters;
use posterize::runtime::{Input, Isa, Model, Options, compile};
use posterize::{FloatModel, Tensor};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::mutate(data, size, max_size, seed)
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(saved) = SavedModel::from_bytes("fuzz", bytes) else { return };
    let graph = saved.model.graph().clone();
    // Sizes of pictures from 1 x 1 to 24 x 24, which depend on nothing but the bytes.
    let byte = |at: usize| usize::from(bytes.get(at).copied().unwrap_or(0));
    let [height, width] = [1 + byte(bytes.len() / 2) % 24, 1 + byte(bytes.len() - 1) % 24];
    let int8_everywhere = match &saved.model {
        Model::Quantized(model) => model.float_layers().is_empty() && model.weights().is_empty(),
        _ => false,
    };
    run(&saved.model, [height, width], int8_everywhere);
    if let Some(float) = float(graph) {
        run(&(&float).into(), [height, width], false);
        if let Ok(fused) = float.fuse() {
            run(&(&fused).into(), [height, width], false);
        }
    }
});

fn run(model: &Model, [height, width]: [usize; 2], same_on_every_isa: bool) {
    let graph = match model {
        Model::Float(model) => model.graph(),
        Model::Quantized(model) => model.graph(),
        _ => return,
    };
    let pictures: Vec<Tensor> = graph
        .inputs()
        .enumerate()
        .map(|(number, _)| {
            let values = (0..2 * 3 * height * width)
                .map(|place| ((place * 37 + number * 11) % 101) as f32 / 25.0 - 2.0)
                .collect();
            Tensor::new([2, 3, height, width], values).unwrap()
        })
        .collect();
    let inputs: Vec<Input<'_>> = pictures.iter().map(Input::from).collect();
    let outputs = |threads: usize, isa: Isa| {
        let mut options = Options::new(threads).unwrap();
        options.isa = isa;
        options.max_memory = Some(64 << 20);
        options.max_work = 1 << 23;
        let mut engine = compile(model.clone(), options).ok()?;
        let first = engine.run_all(&inputs).ok()?;
        assert_eq!(bits(&engine.run_all(&inputs).unwrap()), bits(&first), "the second run");
        Some(bits(&first))
    };
    let expected = outputs(1, Isa::detect());
    // Whether there is memory for a plan depends on the number of threads.
    if let (Some(expected), Some(found)) = (&expected, &outputs(2, Isa::detect())) {
        assert_eq!(found, expected, "two threads");
    }
    for isa in Isa::supported().into_iter().filter(|_| same_on_every_isa) {
        if let (Some(expected), Some(found)) = (&expected, &outputs(1, isa)) {
            assert_eq!(found, expected, "{isa:?}");
        }
    }
}

/// Returns the outputs' bits, in which NaN equals NaN.
fn bits(outputs: &[Tensor]) -> Vec<(Vec<usize>, Vec<u32>)> {
    let bits = |tensor: &Tensor| tensor.data().iter().map(|value| value.to_bits()).collect();
    outputs.iter().map(|tensor| (tensor.shape().to_vec(), bits(tensor))).collect()
}

/// Returns the graph as a float network with small weights, unless they are too many.
fn float(graph: Graph) -> Option<FloatModel> {
    let wanted = graph.parameters();
    let sizes = wanted.iter().map(|found| {
        found.parameter.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
    });
    let total = sizes.sum::<Option<usize>>()?;
    if total > 1 << 20 {
        return None;
    }
    let parameters: Parameters = wanted
        .into_iter()
        .map(|found| {
            let shape = found.parameter.shape;
            let values = (0..shape.iter().product())
                .map(|place: usize| (place * 29 % 64) as f32 / 64.0 + 0.01)
                .collect();
            (found.key, Arc::new(Tensor::new(shape, values).unwrap()))
        })
        .collect();
    FloatModel::new(graph, parameters).ok()
}
