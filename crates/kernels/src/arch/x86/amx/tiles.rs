//! The instructions on tiles: their configuration, and blocks of up to 2 x 2 tiles of outputs.

use std::arch::asm;

use super::token::Amx;

/// What `ldtilecfg` loads.
#[repr(C, align(64))]
pub(super) struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Tiles 0 to 3 hold accumulators and 4 and 5 activations, each of `rows` rows; tiles 6 and 7
    /// hold weights. Activations and weights are `step` values deep.
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

    /// Configures the thread's tiles.
    #[inline]
    pub(super) fn load(&self) {
        // SAFETY: reads 64 bytes, a valid configuration; only code behind an `Amx` comes here.
        unsafe { asm!("ldtilecfg [{}]", in(reg) self, options(readonly, nostack, preserves_flags)) }
    }
}

/// Gives the tiles up, so that the system need not save them.
#[inline]
pub(super) fn release() {
    // SAFETY: no tile is in use between blocks; only code behind an `Amx` comes here.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
}

/// Multiplies whole tiles, `loops` times four products of 16 x 16 outputs of depth 64, and nothing
/// else: what tiles reach at most.
pub(super) fn multiply_tiles(_: Amx, loops: u64) {
    Configuration::new(16, 64).load();
    // SAFETY: tiles are configured, and zero.
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

/// What the blocks of a panel have in common.
pub(super) struct Block {
    /// Bytes from one row to the next.
    pub(super) stride: usize,
    /// From the rows of the first tile to those of the second.
    pub(super) second: usize,
    pub(super) bias: *const u8,
    pub(super) weights: *const u8,
    /// Bytes of a tile of weights.
    pub(super) tile: usize,
    pub(super) steps: usize,
    /// For each step where it begins in a row.
    pub(super) offsets: *const usize,
    /// From where on blocks that fetch do so: 1024 bytes a step, twice as
    /// many for one tile of rows.
    pub(super) ahead: *const u8,
}

/// Fetches eight lines of weights for later.
macro_rules! fetch {
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

/// In place of [`fetch!`] in blocks that fetch nothing.
macro_rules! no_fetch {
    () => {
        ""
    };
}

/// One function that computes a block: `init` loads biases into accumulators, `step` multiplies
/// one step of the rows at `at` with weights, moving the pointer to the weights on, `store` stores
/// accumulators. What only some blocks need are the operands behind these.
macro_rules! block {
    ($name:ident: $init:literal, $step:expr, $store:literal $(, $operand:ident = $value:ident)*) => {
        /// # Safety
        /// Tiles must be configured for the step and the rows of this block, whose bytes must be
        /// readable; there must be as many biases, offsets and weights as the name and the steps
        /// say, and room for as many accumulators.
        #[inline]
        pub(super) unsafe fn $name(&self, rows: *const u8, accumulators: *mut i32) {
            // SAFETY: reads rows, biases, offsets and weights and writes accumulators, as promised.
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

/// A block of two tiles of rows and two of columns.
macro_rules! two_by_two {
    ($name:ident, $fetch:ident $(, $ahead:ident)?) => {
        block!($name:
            "tileloadd tmm0, [{bias} + {zero}]
            tileloadd tmm1, [{bias} + {zero} + 64]
            tileloadd tmm2, [{bias} + {zero}]
            tileloadd tmm3, [{bias} + {zero} + 64]",
            concat!(
                "tileloadd tmm4, [{at} + {stride}]
            tileloadd tmm6, [{weights} + {line}]
            tdpbusd tmm0, tmm4, tmm6\n",
                $fetch!(),
                "add {weights}, {tile}
            tileloadd tmm7, [{weights} + {line}]
            tdpbusd tmm1, tmm4, tmm7
            add {weights}, {tile}
            add {at}, {second}
            tileloadd tmm5, [{at} + {stride}]
            tdpbusd tmm2, tmm5, tmm6\n",
                $fetch!(),
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

/// A block of one tile of rows and two of columns.
macro_rules! one_by_two {
    ($name:ident, $fetch:ident $(, $ahead:ident)?) => {
        block!($name:
            "tileloadd tmm0, [{bias} + {zero}]
            tileloadd tmm1, [{bias} + {zero} + 64]",
            concat!(
                "tileloadd tmm4, [{at} + {stride}]
            tileloadd tmm6, [{weights} + {line}]
            tdpbusd tmm0, tmm4, tmm6\n",
                $fetch!(),
                $fetch!(),
                "add {weights}, {tile}
            tileloadd tmm7, [{weights} + {line}]
            tdpbusd tmm1, tmm4, tmm7\n",
                $fetch!(),
                $fetch!(),
                "add {weights}, {tile}"
            ),
            "tilestored [{accumulators} + {line}], tmm0
            tilestored [{accumulators} + {line} + 1024], tmm1"
            $(, $ahead = $ahead)?
        );
    };
}

impl Block {
    two_by_two!(two_by_two, no_fetch);
    two_by_two!(two_by_two_fetching, fetch, ahead);
    one_by_two!(one_by_two, no_fetch);
    one_by_two!(one_by_two_fetching, fetch, ahead);

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
