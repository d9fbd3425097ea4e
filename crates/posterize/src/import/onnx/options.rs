//! Options of an import.

use crate::tensor::MemoryFormat;

/// Options for reading an ONNX file.
///
/// ```
/// use posterize::import::onnx::OnnxOptions;
///
/// let options = OnnxOptions::new().size(224, 224).output("logits");
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnnxOptions {
    /// Height and width where the file leaves them open.
    pub(super) size: Option<[usize; 2]>,
    /// The order of pictures' axes; found by the file's transposes if it is `None`.
    pub(super) layout: Option<MemoryFormat>,
    /// The outputs; those of the file if there are none.
    pub(super) outputs: Vec<String>,
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
}
