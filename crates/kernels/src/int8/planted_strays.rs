//! Tests that the checks for stray accesses detect them: planted stray accesses, each in a process
//! of its own, must end the process.
//!
//! Without this, [`super::guard_pages`] and `scripts/sanitize` would also pass if they checked
//! nothing.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use super::guard_pages::{Against, Guarded};
use super::testing::bytes;
use super::{Conv2d, Requantize};
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::pool::Pool;

/// The environment variable that tells a process of this test program which access to plant.
pub(crate) const PLANTED: &str = "POSTERIZE_PLANTED_STRAY";
/// Number of the signal SIGSEGV.
const SEGMENTATION_FAULT: i32 = 11;

/// Runs one test of this program in a new process.
pub(crate) fn run(test: &str, planted: &str) -> Output {
    let program = std::env::current_exe().expect("this program");
    Command::new(program)
        .args(["--exact", test, "--nocapture"])
        .env(PLANTED, planted)
        // Otherwise the sanitizer handles the signal, prints the fault and exits normally.
        .env("ASAN_OPTIONS", "handle_segv=0")
        .output()
        .expect("this program runs")
}

/// Convolutions whose slices consist of whole vectors, and the sizes of their inputs.
fn layers() -> [(Conv2dGeometry, [usize; 2]); 4] {
    [
        (Conv2dGeometry::square([64, 32], 1, 1, 1), [4, 8]),
        (Conv2dGeometry::square([64, 32], 3, 1, 1), [4, 8]),
        (Conv2dGeometry::square([64, 64], 3, 1, 64), [5, 9]),
        (Conv2dGeometry::square([3, 32], 3, 2, 1), [7, 33]),
    ]
}

/// Runs a layer on slices next to inaccessible pages, with the input and the output shifted towards
/// the page by `moved` bytes.
fn run_moved(isa: Isa, layer: usize, against: Against, moved: [usize; 2]) {
    let (geometry, size) = layers()[layer];
    let channels = geometry.out_channels;
    let weight = vec![1; channels * geometry.taps_per_output()];
    let requantize =
        Requantize { multiplier: vec![1e-3; channels], zero_point: 7, min: 0, max: 255 };
    let conv = Conv2d::new(isa, geometry, &weight, &vec![9; channels], 11, &requantize);
    let tiles = isa.backend().has_tiles() && geometry.groups == 1 && geometry.in_channels >= 24;
    assert_eq!(tiles, conv.kernel_name().ends_with("_amx"), "AMX kernels must be tested");
    let [oh, ow] = geometry.output_size(size).expect("the window fits");
    let input = Guarded::copy_of(&bytes(size[0] * size[1] * geometry.in_channels, 5), against);
    let output = Guarded::new(oh * ow * channels, against);
    let mut scratch = vec![0; conv.scratch_len(1, 1, size)];
    let [input_start, output_start] = [(&input, moved[0]), (&output, moved[1])].map(|(of, by)| {
        let forward = of.start.wrapping_add(by);
        if against == Against::End { forward } else { of.start.wrapping_sub(by) }
    });
    // SAFETY: only the map's owner refers to these bytes. Where `moved` is not 0, some of them lie
    // in an inaccessible page, which is unsound on purpose: an access to them ends the process,
    // which was started to show that.
    let (input, output) = unsafe {
        (
            std::slice::from_raw_parts(input_start, input.len),
            std::slice::from_raw_parts_mut(output_start, output.len),
        )
    };
    conv.run(&Pool::new(1), 1, size, input, output, &mut scratch);
}

/// A shift by one byte ends the process, for every kernel, for its loads and for its stores.
#[test]
fn a_stray_access_of_one_byte_is_detected() {
    let isas = Isa::supported();
    if let Ok(planted) = std::env::var(PLANTED) {
        let numbers: Vec<usize> = planted.split(' ').map(|n| n.parse().unwrap()).collect();
        let against = if numbers[2] == 0 { Against::Start } else { Against::End };
        run_moved(isas[numbers[0]], numbers[1], against, [numbers[3], numbers[4]]);
        return;
    }
    for (index, isa) in isas.iter().enumerate() {
        for layer in 0..layers().len() {
            for against in 0..2 {
                for moved in ["0 0", "1 0", "0 1"] {
                    let planted = format!("{index} {layer} {against} {moved}");
                    let output = run(
                        "int8::planted_strays::a_stray_access_of_one_byte_is_detected",
                        &planted,
                    );
                    let signal = output.status.signal();
                    if moved == "0 0" {
                        assert!(output.status.success(), "{isa}, {planted}: {output:?}");
                    } else {
                        assert_eq!(signal, Some(SEGMENTATION_FAULT), "{isa}, {planted}");
                    }
                }
            }
        }
    }
}
