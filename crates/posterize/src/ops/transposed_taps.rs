//! The products of a transposed convolution.

use std::ops::Range;

/// A transposed convolution of inputs of one size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps {
    /// Height and width of the input and the output.
    pub(super) size: [usize; 2],
    pub(super) new: [usize; 2],
    /// Channels of the input and the output.
    pub(super) channels: [usize; 2],
    pub(super) groups: usize,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Rows and columns that are cut off the output at the top and on the left.
    pub(super) before: [usize; 2],
}

impl Taps {
    /// Calls `visit` with the offset of each input pixel of an output pixel and the element of the kernel
    /// that it is multiplied with.
    ///
    /// Input pixel `i` and element `k` make output `i · stride + k · dilation − before`.
    pub(super) fn each(&self, pixel: usize, mut visit: impl FnMut(usize, usize)) {
        let ([h, w], [new_h, new_w]) = (self.size, self.new);
        let picture = pixel / new_w / new_h;
        for (ky, y) in self.along(0, pixel / new_w % new_h) {
            for (kx, x) in self.along(1, pixel % new_w) {
                let at = (picture * h + y) * w + x;
                visit(at * self.channels[0], ky * self.kernel[1] + kx);
            }
        }
    }

    /// Returns the elements of the kernel and the input positions of an output position along an axis.
    fn along(&self, axis: usize, index: usize) -> impl Iterator<Item = (usize, usize)> {
        let (stride, dilation, size) = (self.stride[axis], self.dilation[axis], self.size[axis]);
        let full = index + self.before[axis];
        (0..self.kernel[axis]).filter_map(move |k| {
            let start = full.checked_sub(k * dilation)?;
            (start % stride == 0 && start / stride < size).then_some((k, start / stride))
        })
    }

    /// Returns a weight `[out_channels, in_channels / groups, kh, kw]` in the order in which it is used.
    pub(super) fn pack<T: Copy>(&self, weight: &[T]) -> Packed<T> {
        let [inputs, outputs] = self.channels.map(|channels| channels / self.groups);
        let elements = self.kernel[0] * self.kernel[1];
        let mut packed = Vec::with_capacity(weight.len());
        for group in 0..self.groups {
            for element in 0..elements {
                for input in 0..inputs {
                    packed.extend((0..outputs).map(|output| {
                        weight[((group * outputs + output) * inputs + input) * elements + element]
                    }));
                }
            }
        }
        Packed(packed)
    }
}

/// A weight `[groups, kh · kw, in_channels / groups, out_channels / groups]`.
#[derive(Debug)]
pub(super) struct Packed<T>(Vec<T>);

impl<T> Packed<T> {
    /// Returns the values of the input pixel at an offset for a group, the weights
    /// `[in_channels / groups, out_channels / groups]` of an element of the kernel, and the range of the
    /// output's channels.
    pub(super) fn of<'a, X>(
        &'a self,
        taps: &Taps,
        input: &'a [X],
        at: usize,
        element: usize,
        group: usize,
    ) -> (&'a [X], &'a [T], Range<usize>) {
        let [inputs, outputs] = taps.channels.map(|channels| channels / taps.groups);
        let elements = taps.kernel[0] * taps.kernel[1];
        let first = (group * elements + element) * inputs * outputs;
        let weight = &self.0[first..first + inputs * outputs];
        (&input[at + group * inputs..][..inputs], weight, group * outputs..(group + 1) * outputs)
    }
}
