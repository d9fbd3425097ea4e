//! Windows of poolings.

use posterize_kernels::{self as kernels, Pool2dGeometry};

use super::limits::check_sizes;
use super::{Padding, python};

/// The hyper-parameters of the windows of a pooling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) kernel_size: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: Padding,
    pub(super) dilation: [usize; 2],
    pub(super) ceil_mode: bool,
}

impl Window {
    /// Checks the hyper-parameters.
    pub(super) fn validate(self) -> Result<(), String> {
        let Self { kernel_size, stride, padding, dilation, .. } = self;
        for pair in [kernel_size, stride, dilation] {
            check_sizes(&pair)?;
            if pair.contains(&0) {
                return Err(format!(
                    "kernel_size, stride and dilation must be at least 1, found {}, {} and {}",
                    python::one_or_pair(kernel_size),
                    python::one_or_pair(stride),
                    python::one_or_pair(dilation)
                ));
            }
        }
        if let Padding::Explicit { top, bottom, left, right } = padding {
            check_sizes(&[top, bottom, left, right])?;
            let [h, w] = self.reach();
            for (side, reach) in [(top, h), (bottom, h), (left, w), (right, w)] {
                if side >= reach && side > 0 {
                    return Err(format!(
                        "padding must be smaller than the window, found {side} and {reach}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns the padding in pixels for an input of `size`.
    pub(super) fn pixels(self, size: [usize; 2]) -> kernels::Padding {
        self.padding.resolve(self.kernel_size, self.stride, self.dilation, size)
    }

    /// Returns the kernel's geometry for an input of `size`.
    ///
    /// With `ceil_mode` the padding at the bottom and right is as much larger as the last windows
    /// reach beyond it. As in PyTorch and ONNX, the last window begins in the input or in the padding
    /// before it.
    pub(super) fn geometry(self, size: [usize; 2]) -> Pool2dGeometry {
        let mut padding = self.pixels(size);
        if self.ceil_mode {
            padding.bottom += self.extra(0, size[0], padding.top, padding.bottom);
            padding.right += self.extra(1, size[1], padding.left, padding.right);
        }
        let Self { kernel_size, stride, dilation, .. } = self;
        Pool2dGeometry { kernel: kernel_size, stride, dilation, padding }
    }

    /// Returns height and width of the output.
    pub(super) fn output_size(self, size: [usize; 2]) -> Result<[usize; 2], String> {
        self.geometry(size).output_size(size).ok_or_else(|| {
            format!(
                "a window of {}x{} with padding {:?} does not fit into an input of {}x{}",
                self.kernel_size[0], self.kernel_size[1], self.padding, size[0], size[1]
            )
        })
    }

    /// Returns the pixels of a window along each axis, with those between its taps.
    fn reach(self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let between = self.kernel_size[axis].saturating_sub(1);
            between.saturating_mul(self.dilation[axis]).saturating_add(1)
        })
    }

    /// Returns how far the last window along an axis reaches beyond the padded input.
    fn extra(self, axis: usize, size: usize, before: usize, after: usize) -> usize {
        let (stride, reach) = (self.stride[axis].max(1), self.reach()[axis]);
        let padded = size.saturating_add(before).saturating_add(after);
        // The start of the last window, if the number of windows is rounded up.
        let Some(room) = padded.saturating_add(stride - 1).checked_sub(reach) else { return 0 };
        let mut last = room / stride * stride;
        if last >= size.saturating_add(before) {
            last = last.saturating_sub(stride);
        }
        last.saturating_add(reach).saturating_sub(padded)
    }
}
