//! Networks in ONNX files, where a command takes a model.

use std::path::Path;

use clap::ValueEnum;
use posterize::{
    MemoryFormat,
    format::SavedModel,
    import::onnx::{OnnxInput, OnnxModel, OnnxOptions},
};

use crate::{
    error::{CliError, Result},
    ui::Ui,
};

/// Whether a path is that of an ONNX file, by its extension.
pub(crate) fn is_onnx(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

/// The order of the axes of an ONNX file's input.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Layout {
    Nchw,
    Nhwc,
}

impl Layout {
    /// Returns the order as the library calls it.
    pub(crate) fn format(self) -> MemoryFormat {
        match self {
            Self::Nchw => MemoryFormat::Contiguous,
            Self::Nhwc => MemoryFormat::ChannelsLast,
        }
    }
}

/// A network from an ONNX file, and what the file says about its pictures.
pub(crate) struct OnnxFile {
    /// The network. It has a preprocessing if that is in the file's metadata.
    pub(crate) saved: SavedModel,
    /// Channels, height and width of the input for pictures; `None` for another input.
    pub(crate) input: Option<[usize; 3]>,
    /// Whether it takes pixels of 0 to 255.
    pub(crate) takes_pixels: bool,
    /// The inputs of the file.
    pub(crate) inputs: Vec<OnnxInput>,
}

/// Reads an ONNX file.
pub(crate) fn open(path: &str, options: &OnnxOptions, ui: &Ui) -> Result<OnnxFile> {
    let onnx = OnnxModel::open_with(path, options)?;
    for warning in onnx.warnings() {
        ui.warn(format_args!("{path}: {warning}"));
    }
    let input = match onnx.inputs().iter().map(OnnxInput::shape).collect::<Vec<_>>()[..] {
        [&[_, channels, height, width]] => Some([channels, height, width]),
        _ => None,
    };
    let (inputs, takes_pixels) = (onnx.inputs().to_vec(), onnx.takes_pixels());
    let preprocessing = onnx.preprocessing().cloned();
    let saved = SavedModel::new(onnx.into_model()).with_preprocessing(preprocessing);
    Ok(OnnxFile { saved, input, takes_pixels, inputs })
}

/// Returns the error for a network whose preprocessing is not known.
pub(crate) fn ask_for_preprocessing(path: &str, input: Option<[usize; 3]>) -> CliError {
    let what = match input {
        Some([3, height, width]) => {
            format!(
                "takes pictures of {height} x {width} pixels, but does not say how their values \
                     are normalized"
            )
        }
        Some([channels, height, width]) => format!(
            "takes inputs of [N, {channels}, {height}, {width}]; this command needs pictures of \
             three channels"
        ),
        None => "does not take one picture; this command needs a classifier of pictures".to_owned(),
    };
    CliError::Usage(format!(
        "{path}: the network {what}. Pass --mean and --std as it was trained: torchvision's and most \
         of timm's networks have --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225, TensorFlow's \
         MobileNets and EfficientNet-Lite --mean 0.5 --std 0.5, Caffe's --bgr --input-range 0,255 \
         --mean 104,117,123; --resize or --crop-ratio say how much of the picture is seen, and \
         --preprocessing reads all of it from a file"
    ))
}
