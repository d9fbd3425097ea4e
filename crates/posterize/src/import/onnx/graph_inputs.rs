//! The inputs of a file's graph.

use super::options::{BatchAxis, OnnxOptions};
use super::proto::ValueInfoProto;
use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::dimension;
use super::proto::type_proto;
use super::view::View;
use crate::error::printable;
use crate::graph::NodeId;
use crate::tensor::MemoryFormat;

/// An input of an ONNX file.
///
/// ```
/// use posterize::import::onnx::{OnnxModel, OnnxOptions};
///
/// # let bytes = b"\x08\x08:,\x0a\x0c\x0a\x01x\x12\x01y\x22\x04Relu\x12\x01gZ\x14\x0a\x01x\x12\x0f\x0a\x0d\x08\x01\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x03b\x03\x0a\x01yB\x04\x0a\x00\x10\x11";
/// // The bytes of a file with a ReLU of `x`, of shape `[n, 3]`.
/// let onnx = OnnxModel::from_bytes("relu.onnx", bytes.to_vec(), &OnnxOptions::new())?;
/// let x = &onnx.inputs()[0];
/// assert_eq!((x.name(), x.shape(), x.batch()), ("x", &[1, 3][..], None));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnnxInput {
    name: String,
    shape: Vec<usize>,
    channels_last: bool,
    uint8: bool,
    batch: Option<usize>,
}

impl OnnxInput {
    /// Returns its name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the shape of the network's input for a batch of one: `[1, C, H, W]` for pictures, also
    /// where the file has `[1, H, W, C]`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns whether pictures are `[N, H, W, C]` in the file, as in TensorFlow.
    pub fn is_channels_last(&self) -> bool {
        self.channels_last
    }

    /// Returns whether its values are bytes in the file, such as pixels of 0 to 255.
    pub fn is_uint8(&self) -> bool {
        self.uint8
    }

    /// Returns the size of the batch in the file; `None` if it is left open. Posterize runs any batch
    /// size. `None`, too, if the file has no batch axis.
    pub fn batch(&self) -> Option<usize> {
        self.batch
    }

    /// Returns the value of the input, as the file sees it.
    pub(super) fn view(&self, node: NodeId) -> View {
        let view = View::of(node, self.shape.clone());
        if self.channels_last { view.permute(&[0, 2, 3, 1]) } else { view }
    }
}

/// What to do about an input without a batch axis.
const NO_BATCH: &str = "or --no-batch, BatchAxis::None, if the file has no batch axis";

/// Reads the type and shape of an input. `transposes_pictures` is whether the graph transposes values
/// from `[N, H, W, C]` to `[N, C, H, W]`, as those do whose pictures have the channels last.
///
/// # Errors
/// Returns an error if it is no tensor of numbers, has no batch axis, or if a size is left open.
pub(super) fn read(
    input: &ValueInfoProto,
    transposes_pictures: bool,
    options: &OnnxOptions,
) -> Result<OnnxInput, String> {
    let name = input.name().to_owned();
    let shown = printable(name.as_bytes());
    let Some(type_proto::Value::TensorType(tensor)) =
        input.r#type.as_ref().and_then(|kind| kind.value.as_ref())
    else {
        return Err(format!("the input `{shown}` is no tensor"));
    };
    let data_type = tensor.elem_type();
    let known = DataType::try_from(data_type).unwrap_or_default();
    let is_number = matches!(
        known,
        DataType::Float
            | DataType::Float16
            | DataType::Bfloat16
            | DataType::Double
            | DataType::Uint8
    );
    let uint8 = known == DataType::Uint8;
    if !is_number {
        return Err(format!(
            "the input `{shown}` has the type {}; inputs of floats or uint8 are supported",
            known.as_str_name()
        ));
    }
    let Some(shape) = &tensor.shape else {
        return Err(format!("the input `{shown}` has no shape; export the model with one"));
    };
    let sizes: Vec<Option<usize>> = shape
        .dim
        .iter()
        .map(|dim| match dim.value {
            Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok().filter(|&s| s > 0),
            _ => None,
        })
        .collect();
    if options.batch_axis == BatchAxis::None {
        let known = sizes.iter().copied().collect::<Option<Vec<usize>>>().ok_or_else(|| {
            format!("the input `{shown}` leaves the size of an axis open; export the model with it")
        })?;
        let shape = std::iter::once(1).chain(known).collect();
        return Ok(OnnxInput { name, shape, channels_last: false, uint8, batch: None });
    }
    let [batch, rest @ ..] = sizes.as_slice() else {
        return Err(format!("the input `{shown}` is a scalar; expected a batch axis, {NO_BATCH}"));
    };
    if rest.is_empty() {
        return Err(format!(
            "the input `{shown}` has one axis; expected a batch axis and others, {NO_BATCH}"
        ));
    }
    let few = |size: Option<usize>| size.is_some_and(|size| matches!(size, 1 | 3 | 4));
    let channels_last = rest.len() == 3
        && match options.layout {
            Some(layout) => layout == MemoryFormat::ChannelsLast,
            None => transposes_pictures && few(rest[2]) && !few(rest[0]),
        };
    let order = if channels_last { [2, 0, 1] } else { [0, 1, 2] };
    let of_picture = |index: usize| if rest.len() == 3 { rest[order[index]] } else { rest[index] };
    let mut found = vec![1];
    for index in 0..rest.len() {
        let size = match (of_picture(index), options.size) {
            (Some(size), _) => size,
            (None, Some([height, _])) if rest.len() == 3 && index == 1 => height,
            (None, Some([_, width])) if rest.len() == 3 && index == 2 => width,
            (None, _) if rest.len() == 3 && index > 0 => {
                return Err(format!(
                    "the input `{shown}` leaves its height or width open; say which to use with \
                     --size HxW, or OnnxOptions::size"
                ));
            }
            (None, _) => {
                return Err(format!(
                    "the input `{shown}` leaves the size of axis {} open; export the model with it",
                    index + 1
                ));
            }
        };
        found.push(size);
    }
    Ok(OnnxInput { name, shape: found, channels_last, uint8, batch: *batch })
}
