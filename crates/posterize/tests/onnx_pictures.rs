//! What ONNX files say about their pictures: testdata/onnx/pictures.

use std::path::{Path, PathBuf};

use posterize::data::{ChannelOrder, Interpolation, Picture, Preprocessing, Resize};
use posterize::import::onnx::{OnnxModel, OnnxOptions};
use posterize::{MemoryFormat, Tensor};
use safetensors::SafeTensors;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/onnx")
}

fn open(file: &str) -> OnnxModel {
    OnnxModel::open(folder().join("pictures").join(file)).unwrap()
}

fn assert_close(found: &Tensor, expected: &[f32]) {
    assert_eq!(found.shape(), [2, 5]);
    for (found, expected) in found.data().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
    }
}

#[test]
fn the_normalization_of_bytes_is_folded_into_the_preprocessing() {
    let bytes = std::fs::read(folder().join("pictures/golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let pixels = golden.tensor("input").unwrap().data().to_vec();
    let expected: Vec<f32> = golden
        .tensor("output")
        .unwrap()
        .data()
        .as_chunks()
        .0
        .iter()
        .copied()
        .map(f32::from_le_bytes)
        .collect();

    let onnx = open("pixels.onnx");
    let input = &onnx.inputs()[0];
    assert!(input.is_uint8() && input.is_channels_last() && onnx.takes_pixels());
    assert_eq!((onnx.preprocessing(), onnx.warnings().len()), (None, 0));
    assert_eq!(onnx.metadata(), [("author".to_owned(), "nobody".to_owned())]);
    let values = pixels.iter().map(|&pixel| f32::from(pixel)).collect();
    let x = Tensor::channels_last([2, 3, 12, 16], values).unwrap();
    assert_close(&onnx.model().forward(&x).unwrap(), &expected);

    let as_they_are = Preprocessing {
        resize: Resize::Exact([12, 16]),
        crop: [12, 16],
        mean: [0.0; 3],
        std: [1.0 / 255.0; 3],
        ..Preprocessing::imagenet()
    };
    let (folded, preprocessing) = onnx.model().fold_normalization(&as_they_are).unwrap();
    let kinds: Vec<_> = folded.graph().nodes().iter().map(|node| node.op.kind()).collect();
    assert_eq!(kinds[..2], ["Input", "Conv2d"]);
    let imagenet = Preprocessing::imagenet();
    for (found, expected) in preprocessing.mean.iter().zip(imagenet.mean) {
        assert!((found - expected).abs() < 1e-6, "{preprocessing}");
    }
    let pictures: Vec<Picture> = pixels
        .chunks(12 * 16 * 3)
        .map(|pixels| Picture::new(16, 12, pixels.to_vec()).unwrap())
        .collect();
    let x = preprocessing.tensor(&pictures).unwrap();
    assert_close(&folded.forward(&x).unwrap(), &expected);
}

#[test]
fn metadata_have_the_preprocessing() {
    let onnx = open("metadata.onnx");
    let expected = Preprocessing {
        resize: Resize::Exact([14, 18]),
        crop: [12, 16],
        interpolation: Interpolation::Bicubic,
        channels: ChannelOrder::Bgr,
        mean: [0.25, 0.5, 0.75],
        std: [0.5, 0.25, 0.125],
    };
    assert_eq!((onnx.preprocessing(), onnx.warnings().len()), (Some(&expected), 0));
    assert!(!onnx.takes_pixels() && !onnx.inputs()[0].is_uint8());
}

#[test]
fn metadata_of_other_tools_are_a_warning() {
    let onnx = open("other_metadata.onnx");
    assert_eq!(onnx.preprocessing(), None);
    assert!(onnx.warnings()[0].contains("the metadata `preprocessing` is ignored"));
}

#[test]
fn the_layout_of_the_input_can_be_given() {
    let open = |file: &str, layout| {
        let options = OnnxOptions::new().layout(layout);
        OnnxModel::open_with(folder().join(file), &options).unwrap().inputs()[0].clone()
    };
    let last = open("pictures/pixels.onnx", MemoryFormat::ChannelsLast);
    assert_eq!((last.shape(), last.is_channels_last()), (&[1, 3, 12, 16][..], true));
    let first = open("pictures/metadata.onnx", MemoryFormat::Contiguous);
    assert_eq!((first.shape(), first.is_channels_last()), (&[1, 3, 12, 16][..], false));
    // As if 12 were channels.
    let wrong = open("pictures/pixels.onnx", MemoryFormat::Contiguous);
    assert_eq!((wrong.shape(), wrong.is_channels_last()), (&[1, 12, 16, 3][..], false));
}
