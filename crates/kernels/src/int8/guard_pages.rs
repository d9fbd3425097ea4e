//! Tests that no kernel accesses a byte outside its slices, by placing each slice next to an
//! inaccessible page.
//!
//! This detects what AddressSanitizer (`scripts/sanitize`) cannot: accesses by inline assembly,
//! such as the loads of AMX tiles. A stray access ends the test process with a segmentation fault,
//! which [`super::planted_strays`] tests.

use std::ffi::{c_int, c_long, c_void};
use std::ptr;

use super::testing::bytes;
use super::{Add, Conv2d, DynamicLinear, QParams8, Requantize};
use crate::f32::Clamp;
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::pool::Pool;
use crate::reference;

unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        len: usize,
        access: c_int,
        flags: c_int,
        file: c_int,
        offset: c_long,
    ) -> *mut c_void;
    fn mprotect(at: *mut c_void, len: usize, access: c_int) -> c_int;
    fn munmap(at: *mut c_void, len: usize) -> c_int;
}

const NO_ACCESS: c_int = 0;
const READ_WRITE: c_int = 3;
const PRIVATE_ANONYMOUS: c_int = 0x22;
/// Size of a page on x86-64 Linux; larger page sizes are multiples of it.
const PAGE: usize = 4096;

/// The end of a slice that is next to an inaccessible page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Against {
    Start,
    End,
}

/// A buffer between two inaccessible pages.
pub(super) struct Guarded {
    map: *mut u8,
    mapped: usize,
    pub(super) start: *mut u8,
    pub(super) len: usize,
}

impl Guarded {
    pub(super) fn new(len: usize, against: Against) -> Self {
        let inside = len.next_multiple_of(PAGE).max(PAGE);
        let mapped = inside + 2 * PAGE;
        // SAFETY: without an address, the kernel chooses one that is not in use.
        let map = unsafe { mmap(ptr::null_mut(), mapped, NO_ACCESS, PRIVATE_ANONYMOUS, -1, 0) };
        assert!(!map.is_null() && map.addr() != usize::MAX, "no memory");
        let map: *mut u8 = map.cast();
        // SAFETY: these pages lie between the first and the last page of the new map.
        let changed = unsafe { mprotect(map.add(PAGE).cast(), inside, READ_WRITE) };
        assert_eq!(changed, 0, "mprotect");
        let skip = match against {
            Against::Start => 0,
            Against::End => inside - len,
        };
        Self { map, mapped, start: map.wrapping_add(PAGE + skip), len }
    }

    pub(super) fn copy_of(bytes: &[u8], against: Against) -> Self {
        let mut guarded = Self::new(bytes.len(), against);
        guarded.bytes().copy_from_slice(bytes);
        guarded
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `start` points to `len` bytes in accessible pages, initialized to 0 by the
        // system; `self`, which is mutably borrowed, is the only owner.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: `map` and `mapped` are those of the map, and no reference to it is left.
        unsafe { munmap(self.map.cast(), self.mapped) };
    }
}

fn check(geometry: Conv2dGeometry, batch: usize, size: [usize; 2]) {
    let Some([oh, ow]) = geometry.output_size(size) else { return };
    let channels = geometry.out_channels;
    let weight: Vec<i8> =
        bytes(channels * geometry.taps_per_output(), 3).iter().map(|&b| b as i8).collect();
    let requantize =
        Requantize { multiplier: vec![1e-3; channels], zero_point: 7, min: 0, max: 255 };
    let values = bytes(batch * size[0] * size[1] * geometry.in_channels, 5);
    let pool = Pool::new(2);
    let mut expected = None;
    for isa in Isa::supported() {
        let conv = Conv2d::new(isa, geometry, &weight, &vec![9; channels], 11, &requantize);
        for against in [Against::Start, Against::End] {
            let mut input = Guarded::copy_of(&values, against);
            let mut output = Guarded::new(batch * oh * ow * channels, against);
            let mut scratch = Guarded::new(conv.scratch_len(2, batch, size), against);
            let (output, scratch) = (output.bytes(), scratch.bytes());
            conv.run(&pool, batch, size, input.bytes(), output, scratch);
            let expected = expected.get_or_insert_with(|| output.to_vec());
            assert_eq!(output, expected, "{} against its {against:?}", conv.kernel_name());
            if conv.adds() {
                let side = QParams8 { scale: 0.5, zero_point: 3 };
                let add = Add::new(isa, side, side, side, 3, 255);
                let mut residual = Guarded::copy_of(expected, against);
                let (input, added) = (input.bytes(), (&add, &*residual.bytes()));
                conv.run_and_add(&pool, (batch, size), input, added, output, scratch);
            }
        }
    }
}

#[test]
fn pointwise_kernels_stay_within_their_slices() {
    for in_channels in [1, 3, 16, 24, 25, 63, 64, 65, 100, 130] {
        for out_channels in [1, 8, 16, 17, 24, 33, 64, 70] {
            for size in [[1, 1], [3, 5], [4, 8], [5, 7], [6, 11]] {
                check(Conv2dGeometry::square([in_channels, out_channels], 1, 1, 1), 1, size);
            }
        }
        check(Conv2dGeometry::square([in_channels, 20], 1, 2, 1), 2, [7, 9]);
    }
}

/// Returns guarded memory as f32; its start is aligned.
fn floats(guarded: &mut Guarded) -> &mut [f32] {
    // SAFETY: every bit pattern is a valid f32.
    let (before, floats, after) = unsafe { guarded.bytes().align_to_mut() };
    assert!(before.is_empty() && after.is_empty());
    floats
}

#[test]
fn dynamic_linear_layers_stay_within_their_slices() {
    for in_features in [1, 3, 16, 25, 64, 65, 130] {
        for out_features in [1, 8, 17, 33, 64, 70] {
            let weight: Vec<i8> =
                bytes(in_features * out_features, 3).iter().map(|&b| b as i8).collect();
            let linear = reference::DynamicLinear {
                in_features,
                out_features,
                weight: &weight,
                scale: &vec![0.5; out_features],
                bias: None,
                clamp: Clamp::NONE,
            };
            for batch in [1, 2, 5, 33] {
                let values: Vec<f32> =
                    bytes(batch * in_features, 5).iter().map(|&b| f32::from(b) - 100.0).collect();
                let expected = linear.run(batch, &values);
                for (isa, against) in Isa::supported()
                    .into_iter()
                    .flat_map(|isa| [(isa, Against::Start), (isa, Against::End)])
                {
                    let packed = DynamicLinear::new(isa, &linear);
                    let guarded = |len| Guarded::new(len * size_of::<f32>(), against);
                    let mut input = guarded(values.len());
                    floats(&mut input).copy_from_slice(&values);
                    let (mut output, mut scratch) =
                        (guarded(expected.len()), guarded(packed.scratch_len(batch)));
                    let (input, output) = (floats(&mut input), floats(&mut output));
                    packed.run(&Pool::new(2), batch, input, output, floats(&mut scratch));
                    assert_eq!(output, expected, "{isa} against its {against:?}");
                }
            }
        }
    }
}

#[test]
fn general_kernels_stay_within_their_slices() {
    for in_channels in [2, 5, 16, 24, 31, 64] {
        for out_channels in [4, 17, 32, 50] {
            for (stride, size) in [(1, [5, 6]), (2, [9, 8]), (1, [1, 3]), (2, [12, 7])] {
                check(Conv2dGeometry::square([in_channels, out_channels], 3, stride, 1), 1, size);
            }
        }
    }
    check(Conv2dGeometry::square([12, 8], 3, 1, 4), 2, [6, 5]);
}

#[test]
fn depthwise_and_first_kernels_stay_within_their_slices() {
    for channels in [1, 16, 24, 32, 33, 63, 64, 96, 100] {
        for kernel in [3, 5] {
            for (stride, size) in [(1, [5, 9]), (2, [8, 9]), (1, [1, 1]), (2, [5, 6])] {
                check(Conv2dGeometry::square([channels; 2], kernel, stride, channels), 2, size);
            }
        }
    }
    for (kernel, stride, out_channels) in [(3, 2, 32), (7, 2, 64), (3, 1, 5)] {
        for width in [4, 9, 31, 140] {
            check(Conv2dGeometry::square([3, out_channels], kernel, stride, 1), 1, [6, width]);
        }
    }
}
