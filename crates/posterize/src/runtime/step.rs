//! The steps of a plan.

use posterize_kernels::int8::{PixelTable, QParams8};

use crate::graph::NodeId;
use crate::ops::kernel::Kernel;

/// What a step computes.
#[derive(Debug)]
pub(super) enum StepKernel {
    /// From f32 to f32.
    Float(Box<dyn Kernel<f32>>),
    /// From u8 to u8.
    Int8(Box<dyn Kernel<u8>>),
    /// From f32 to u8.
    Quantize(Quantize),
    /// From u8 to f32.
    Dequantize(QParams8),
}

/// Quantizes f32 values; where they are the network's input, pixels as well.
#[derive(Debug)]
pub(super) struct Quantize {
    pub(super) to: QParams8,
    /// From pixels in one step, with the same bits.
    pub(super) pixels: Option<PixelTable>,
}

impl StepKernel {
    /// What runs, as a profile names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Float(kernel) => kernel.name(),
            Self::Int8(kernel) => kernel.name(),
            Self::Quantize(_) => "quantize",
            Self::Dequantize(_) => "dequantize",
        }
    }

    /// The type of its output: `float32` or `int8`.
    pub(super) fn precision(&self) -> &'static str {
        match self {
            Self::Float(_) | Self::Dequantize(_) => "float32",
            Self::Int8(_) | Self::Quantize(_) => "int8",
        }
    }
}

/// A kernel's turn in a plan.
#[derive(Debug)]
pub(super) struct Step {
    /// The nodes it computes, in execution order; its output is the last one's, and those of the
    /// others exist nowhere.
    pub(super) nodes: Vec<NodeId>,
    pub(super) kernel: StepKernel,
    /// The nodes whose outputs it takes.
    pub(super) inputs: Vec<NodeId>,
}

impl Step {
    /// Bytes of its kernel's scratch memory.
    pub(super) fn scratch_bytes(&self, threads: usize, batch: usize) -> usize {
        match &self.kernel {
            StepKernel::Float(kernel) => {
                kernel.scratch_len(threads, batch).saturating_mul(size_of::<f32>())
            }
            StepKernel::Int8(kernel) => kernel.scratch_len(threads, batch),
            StepKernel::Quantize(_) | StepKernel::Dequantize(_) => 0,
        }
    }

    /// The node whose output is the step's.
    pub(super) fn output(&self) -> NodeId {
        self.nodes[self.nodes.len() - 1]
    }
}
