//! AMX instructions: the tile configuration, and blocks of up to 2 x 2 tiles of outputs.

use std::arch::asm;

use super::permission::Permission;

/// The tile configuration that `ldtilecfg` loads, in the layout that it prescribes.
#[repr(C, align(64))]
pub(super) struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Configures tiles 0 to 3 as accumulators and 4 and 5 as activations, each with `rows` rows,
    /// and tiles 6 and 7 as weights. Activations and weights have depth `step`.
    pub(super) fn new(rows: usize, step: usize) -> Self {
        let (accumulators, activations) = ((64, rows as u8), (step as u16, rows as u8));
        let weights = (64, (step / 4) as u8);
        let mut configuration = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes_per_row: [0; 16],
            rows: [0; 16],
        };
        let shapes = [[accumulators; 2], [accumulators; 2], [activations; 2], [weights; 2]];
        for (tile, &(bytes, rows)) in shapes.as_flattened().iter().enumerate() {
            configuration.bytes_per_row[tile] = bytes;
            configuration.rows[tile] = rows;
        }
        configuration
    }

    /// Configures the tiles of the current thread.
    #[inline]
    pub(super) fn load(&self) {
        // SAFETY: reads the 64 bytes of `self`, which are a valid configuration. The CPU has the
        // instruction, because only code that a `Permission` was passed to calls this.
        unsafe { asm!("ldtilecfg [{}]", in(reg) self, options(readonly, nostack, preserves_flags)) }
    }
}

/// Resets the tiles, so that the system does not have to save them.
#[inline]
pub(super) fn release() {
    // SAFETY: no tile's contents are needed between blocks. The CPU has the instruction, because
    // only code that a `Permission` was passed to calls this.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
}

/// Executes four products of 16 x 16 outputs of depth 64, `loops` times, for the measurement of
/// peak throughput.
pub(super) fn multiply_tiles(_: Permission, loops: u64) {
    Configuration::new(16, 64).load();
    // SAFETY: the permission proves that the CPU has AMX, and the tiles are configured for these
    // products; all of them are declared as clobbered, and no memory is accessed.
    unsafe {
        asm!(
            ".irp i, 0,1,2,3,4,5,6,7",
            "tilezero tmm\\i",
            ".endr",
            "2:",
            "tdpbusd tmm0, tmm4, tmm6",
            "tdpbusd tmm1, tmm4, tmm7",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "dec {loops}",
            "jnz 2b",
            loops = inout(reg) loops.max(1) => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nomem, nostack),
        );
    }
    release();
}

/// The operands that the blocks of a panel have in common.
pub(super) struct Block {
    /// Bytes from one row of activations to the next.
    pub(super) stride: usize,
    /// Bytes from the first tile of rows to the second.
    pub(super) second: usize,
    /// One or two tiles of 16 biases.
    pub(super) bias: *const u8,
    /// The weights of the first step.
    pub(super) weights: *const u8,
    /// Bytes of a tile of weights.
    pub(super) tile: usize,
    /// Number of steps.
    pub(super) steps: usize,
    /// Offset of each step in a row.
    pub(super) offsets: *const usize,
    /// Start of the weights that the prefetching blocks prefetch: 1024 bytes for each step, or 2048
    /// with one tile of rows.
    pub(super) ahead: *const u8,
}

/// Prefetches eight cache lines of later weights.
macro_rules! prefetch {
    () => {
        "prefetcht1 [{ahead}]
        prefetcht1 [{ahead} + 64]
        prefetcht1 [{ahead} + 128]
        prefetcht1 [{ahead} + 192]
        prefetcht1 [{ahead} + 256]
        prefetcht1 [{ahead} + 320]
        prefetcht1 [{ahead} + 384]
        prefetcht1 [{ahead} + 448]
        add {ahead}, 512
        "
    };
}

/// Replaces [`prefetch!`] in blocks that do not prefetch.
macro_rules! no_prefetch {
    () => {
        ""
    };
}

/// Defines a function that computes a block.
///
/// `$init` loads biases into accumulators. `$step` multiplies one step of the rows at `at` with
/// weights and advances the pointer to the weights. `$store` stores the accumulators. Operands that
/// only some blocks need follow.
macro_rules! block {
    ($name:ident: $init:literal, $step:expr, $store:literal $(, $operand:ident = $value:ident)*) => {
        /// Computes a block of so many tiles of rows by so many tiles of columns.
        ///
        /// # Safety
        /// - The CPU must support AMX-INT8, and its tiles must be configured for the rows and the
        ///   step of this block.
        /// - `rows` and the fields of `self` must be valid for reads of all rows, biases, offsets
        ///   and weights of the block's tiles and steps, of which there must be at least one.
        /// - `accumulators` must be valid for writes of the block's tiles of accumulators.
        #[inline]
        pub(super) unsafe fn $name(&self, rows: *const u8, accumulators: *mut i32) {
            // SAFETY: the statement reads the rows, biases, offsets and weights and writes the
            // accumulators of the block, which the caller guarantees to be valid; all tiles it uses
            // are declared as clobbered.
            unsafe {
                asm!(
                    $init,
                    "2:",
                    "mov {at}, [{offsets}]",
                    "add {offsets}, 8",
                    "add {at}, {rows}",
                    $step,
                    "dec {steps}",
                    "jnz 2b",
                    $store,
                    rows = in(reg) rows,
                    at = out(reg) _,
                    stride = in(reg) self.stride,
                    bias = in(reg) self.bias,
                    zero = in(reg) 0usize,
                    line = in(reg) 64usize,
                    weights = inout(reg) self.weights => _,
                    tile = in(reg) self.tile,
                    steps = inout(reg) self.steps => _,
                    offsets = inout(reg) self.offsets => _,
                    accumulators = in(reg) accumulators,
                    $($operand = inout(reg) self.$value => _,)*
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

/// Defines a block of two tiles of rows and two of columns.
macro_rules! two_by_two {
    ($name:ident, $prefetch:ident $(, $ahead:ident)?) => {
        block!($name:
            "tileloadd tmm0, [{bias} + {zero}]
            tileloadd tmm1, [{bias} + {zero} + 64]
            tileloadd tmm2, [{bias} + {zero}]
            tileloadd tmm3, [{bias} + {zero} + 64]",
            concat!(
                "tileloadd tmm4, [{at} + {stride}]
            tileloadd tmm6, [{weights} + {line}]
            tdpbusd tmm0, tmm4, tmm6\n",
                $prefetch!(),
                "add {weights}, {tile}
            tileloadd tmm7, [{weights} + {line}]
            tdpbusd tmm1, tmm4, tmm7
            add {weights}, {tile}
            add {at}, {second}
            tileloadd tmm5, [{at} + {stride}]
            tdpbusd tmm2, tmm5, tmm6\n",
                $prefetch!(),
                "tdpbusd tmm3, tmm5, tmm7"
            ),
            "tilestored [{accumulators} + {line}], tmm0
            tilestored [{accumulators} + {line} + 1024], tmm1
            tilestored [{accumulators} + {line} + 2048], tmm2
            tilestored [{accumulators} + {line} + 3072], tmm3",
            second = second $(, $ahead = $ahead)?
        );
    };
}

/// Defines a block of one tile of rows and two of columns.
macro_rules! one_by_two {
    ($name:ident, $prefetch:ident $(, $ahead:ident)?) => {
        block!($name:
            "tileloadd tmm0, [{bias} + {zero}]
            tileloadd tmm1, [{bias} + {zero} + 64]",
            concat!(
                "tileloadd tmm4, [{at} + {stride}]
            tileloadd tmm6, [{weights} + {line}]
            tdpbusd tmm0, tmm4, tmm6\n",
                $prefetch!(),
                $prefetch!(),
                "add {weights}, {tile}
            tileloadd tmm7, [{weights} + {line}]
            tdpbusd tmm1, tmm4, tmm7\n",
                $prefetch!(),
                $prefetch!(),
                "add {weights}, {tile}"
            ),
            "tilestored [{accumulators} + {line}], tmm0
            tilestored [{accumulators} + {line} + 1024], tmm1"
            $(, $ahead = $ahead)?
        );
    };
}

impl Block {
    two_by_two!(two_by_two, no_prefetch);
    two_by_two!(two_by_two_prefetching, prefetch, ahead);
    one_by_two!(one_by_two, no_prefetch);
    one_by_two!(one_by_two_prefetching, prefetch, ahead);

    block!(two_by_one:
        "tileloadd tmm0, [{bias} + {zero}]
        tileloadd tmm2, [{bias} + {zero}]",
        "tileloadd tmm4, [{at} + {stride}]
        tileloadd tmm6, [{weights} + {line}]
        tdpbusd tmm0, tmm4, tmm6
        add {weights}, {tile}
        add {at}, {second}
        tileloadd tmm5, [{at} + {stride}]
        tdpbusd tmm2, tmm5, tmm6",
        "tilestored [{accumulators} + {line}], tmm0
        tilestored [{accumulators} + {line} + 1024], tmm2",
        second = second
    );

    block!(one_by_one:
        "tileloadd tmm0, [{bias} + {zero}]",
        "tileloadd tmm4, [{at} + {stride}]
        tileloadd tmm6, [{weights} + {line}]
        tdpbusd tmm0, tmm4, tmm6
        add {weights}, {tile}",
        "tilestored [{accumulators} + {line}], tmm0"
    );
}
