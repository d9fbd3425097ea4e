//! Options of an import.

use crate::tensor::{MemoryFormat, Tensor};

/// Which axis of the values of an ONNX file is the batch.
///
/// ```
/// use posterize::import::onnx::{BatchAxis, OnnxOptions};
///
/// let options = OnnxOptions::new().batch_axis(BatchAxis::None);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchAxis {
    /// The first axis of each input, as in networks that take pictures.
    #[default]
    First,
    /// None: all axes of the file belong to one item. The network has one axis more than the file, in
    /// front of the others, for a batch of such items.
    None,
}

/// Options for reading an ONNX file.
///
/// ```
/// use posterize::import::onnx::OnnxOptions;
///
/// let options = OnnxOptions::new().size(224, 224).output("logits");
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct OnnxOptions {
    /// Height and width where the file leaves them open.
    pub(super) size: Option<[usize; 2]>,
    /// The order of pictures' axes; found by the file's transposes if it is `None`.
    pub(super) layout: Option<MemoryFormat>,
    /// The outputs; those of the file if there are none.
    pub(super) outputs: Vec<String>,
    /// The inputs that are constants, by their names in the file.
    pub(super) constants: Vec<(String, Tensor)>,
    pub(super) batch_axis: BatchAxis,
}

impl OnnxOptions {
    /// Creates the default options: the sizes and outputs of the file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the height and width of the network's input, in pixels, where the file leaves them open.
    #[must_use]
    pub fn size(mut self, height: usize, width: usize) -> Self {
        self.size = Some([height, width]);
        self
    }

    /// Sets the order of the axes of inputs with four axes: [`MemoryFormat::Contiguous`] for
    /// `[N, C, H, W]`, [`MemoryFormat::ChannelsLast`] for `[N, H, W, C]`. Without it, they are
    /// `[N, H, W, C]` if the last one has 1, 3 or 4 values and the graph transposes such pictures.
    #[must_use]
    pub fn layout(mut self, layout: MemoryFormat) -> Self {
        self.layout = Some(layout);
        self
    }

    /// Adds an output: a value of the file by its name, such as the one before a detector's
    /// post-processing. What no output depends on is not imported.
    #[must_use]
    pub fn output(mut self, name: impl Into<String>) -> Self {
        self.outputs.push(name.into());
        self
    }

    /// Gives an input of the file a value that does not change: weights, or integers such as axes and
    /// sizes, which posterize must know at import. The network does not have that input.
    #[must_use]
    pub fn constant(mut self, name: impl Into<String>, value: Tensor) -> Self {
        self.constants.push((name.into(), value));
        self
    }

    /// Sets which axis of the file's values is the batch; the first by default.
    #[must_use]
    pub fn batch_axis(mut self, axis: BatchAxis) -> Self {
        self.batch_axis = axis;
        self
    }
}
