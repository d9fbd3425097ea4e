//! Reads arbitrary bytes as an ONNX file, and runs the network once if there is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posterize::Tensor;
use posterize::import::onnx::{OnnxModel, OnnxOptions};
use posterize::runtime::{Input, Options, compile};

fuzz_target!(|bytes: &[u8]| {
    let options = OnnxOptions::new().size(8, 8);
    let Ok(onnx) = OnnxModel::from_bytes("fuzz.onnx", bytes.to_vec(), &options) else { return };
    let inputs: Vec<Tensor> = onnx
        .inputs()
        .iter()
        .filter(|input| input.shape().iter().product::<usize>() <= 1 << 16)
        .map(|input| Tensor::zeros(input.shape().to_vec()))
        .collect();
    if inputs.len() != onnx.inputs().len() {
        return;
    }
    let options = Options::new(1).unwrap().max_memory(1 << 26).max_work(1 << 28);
    let Ok(mut engine) = compile(&onnx.into_model(), options) else { return };
    let inputs: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
    let _ = engine.run_all(&inputs);
});
