//! Tests of saved models.

mod container;
mod float;
mod graph_v1;
mod graph_v2;
mod hostile;
mod round_trip;

use std::borrow::Cow;
use std::io::Write;

use safetensors::Dtype;
use serde_json::Value;

use super::SavedModel;
use super::container::{Container, RawTensor};
use super::model::MODEL;
use crate::data::{Class, Preprocessing};
use crate::error::Error;
use crate::nn::Sequential;
use crate::ops::{Activation, BatchNorm, Conv2d, Flatten, Linear, MaxPool2d, Padding};
use crate::quantization::{QConfig, QConfigMapping, QuantizedModel};
use crate::runtime::Options;
use crate::tensor::Tensor;
use crate::{Architecture, FloatModel};

const FILE: &str = "folder/small.safetensors";
const GRAPH: &str = "graph.json.zlib";
const CLASSES: &str = "classes.json.zlib";

fn noise(batch: usize, size: usize) -> Tensor {
    let mut state = 7u32;
    let values = (0..batch * 3 * size * size).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    });
    Tensor::new([batch, 3, size, size], values.collect()).unwrap()
}

fn quantize(float: &FloatModel, mapping: &QConfigMapping, size: usize) -> QuantizedModel {
    let mut observed = float.prepare(mapping).unwrap();
    observed.calibrate(Options::new(1).unwrap(), [Ok(noise(4, size))]).unwrap();
    observed.convert().unwrap()
}

/// A small network for pictures of 8 x 8 pixels with three classes, whose last layer is in float.
fn small() -> SavedModel {
    let net = Sequential::new()
        .then(Conv2d::new(3, 8, 3).stride(2).padding(Padding::Same).bias(false))
        .then(BatchNorm::two_d(8))
        .then(Activation::ReLU6)
        .then(Conv2d::new(8, 8, 3).padding(Padding::all(1)).groups(8))
        .then(MaxPool2d::new(2))
        .then(Conv2d::new(8, 4, 1))
        .then(Flatten)
        .then(Linear::new(16, 3));
    let float = Architecture::trace(&net).unwrap().init(5).fuse().unwrap();
    let mapping = QConfigMapping::global(QConfig::recommended()).set_object_type("Linear", None);
    let class = |name: &str| Class { folder: format!("n{name}"), name: name.into() };
    SavedModel::new(quantize(&float, &mapping, 8))
        .with_name("small")
        .with_preprocessing(Preprocessing::imagenet().with_sizes(9, 8))
        .with_classes(["ant", "bee", "great \"grey\" cat"].map(class))
}

/// Returns the error of reading a file, without the file's name.
#[track_caller]
fn refused(bytes: &[u8]) -> String {
    let error = SavedModel::from_bytes(FILE, bytes).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error:?}");
    let error = error.to_string();
    error.strip_prefix("folder/small.safetensors: ").expect("it names the file").to_owned()
}

/// Returns the file of [`small`] with changed content and a correct digest.
fn crafted(change: &dyn Fn(&mut Container<'_>)) -> Vec<u8> {
    let bytes = small().to_bytes().unwrap();
    let mut container = Container::decode(&MODEL, &bytes).unwrap();
    change(&mut container);
    container.encode(&MODEL)
}

/// Returns the file of [`small`] with a changed graph and a correct digest.
fn with_graph(change: &dyn Fn(&mut Value)) -> Vec<u8> {
    crafted(&|container| {
        let mut graph: Value = serde_json::from_str(&unzlib(&container.tensors[GRAPH])).unwrap();
        change(&mut graph);
        container.tensors.insert(GRAPH.into(), zlib(graph.to_string().as_bytes()));
    })
}

fn zlib(json: &[u8]) -> RawTensor<'static> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(json).unwrap();
    let bytes = encoder.finish().unwrap();
    RawTensor { dtype: Dtype::U8, shape: vec![bytes.len()], bytes: Cow::Owned(bytes) }
}

fn unzlib(tensor: &RawTensor<'_>) -> String {
    std::io::read_to_string(flate2::read::ZlibDecoder::new(&*tensor.bytes)).unwrap()
}
