//! The interface of the matrix-product kernels that each instruction set implements.

use std::fmt::Debug;
use std::ops::Range;

use crate::geometry::Conv2dGeometry;
use crate::int8::elementwise::formula::AddFormula;
use crate::int8::pack::Operand;
use crate::int8::requantize::Requantize;

/// A convolution as matrix products, one for each group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    /// The operand of each group; at least one.
    pub(crate) groups: &'a [Operand<'a>],
    pub(crate) requantize: &'a Requantize,
    #[allow(dead_code, reason = "only kernels written for an instruction set use it")]
    pub(crate) geometry: &'a Conv2dGeometry,
}

/// The packed weights of all groups of a [`Product`].
#[derive(Debug)]
pub(crate) struct Kernels {
    pub(crate) groups: Vec<Box<dyn Packed>>,
    pub(crate) names: Names,
}

impl Kernels {
    /// Packs the weights of each group.
    pub(crate) fn pack<P: Packed + 'static>(
        product: &Product<'_>,
        names: Names,
        pack: impl Fn(&Operand<'_>, &Requantize) -> P,
    ) -> Self {
        let boxed = |operand| Box::new(pack(operand, product.requantize)) as Box<dyn Packed>;
        Self { groups: product.groups.iter().map(boxed).collect(), names }
    }
}

/// The names, for profiles, of an instruction set's matrix-product kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    /// For 1x1 windows.
    pub(crate) pointwise: &'static str,
    /// For larger windows.
    pub(crate) general: &'static str,
    /// Both with a residual addition; `None` if the kernels do not support it.
    pub(crate) adding: Option<[&'static str; 2]>,
    /// For inverted-residual blocks whose last layer the product is.
    pub(crate) inverted_residual: &'static str,
}

/// The [`Names`] for an instruction set; with `adds`, its kernels support residual additions.
macro_rules! gemm_names {
    ($isa:literal) => {
        $crate::int8::gemm::kernel::Names {
            pointwise: concat!("pointwise_", $isa),
            general: concat!("general_", $isa),
            adding: None,
            inverted_residual: concat!("inverted_residual_", $isa),
        }
    };
    ($isa:literal, adds) => {
        $crate::int8::gemm::kernel::Names {
            adding: Some([concat!("pointwise_add_", $isa), concat!("general_add_", $isa)]),
            ..gemm_names!($isa)
        }
    };
}
pub(crate) use gemm_names;

/// The maximum number of rows of a block.
pub(crate) const MAX_ROWS: usize = 128;

/// Pointers to the pixels under the taps of some windows. Each points to as many bytes as the group
/// has input channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// `[taps, capacity]`; the first `len` pointers of each tap are set.
    pub(crate) taps: &'a [*const u8],
    /// Number of windows for which each tap has room.
    pub(crate) capacity: usize,
    /// Number of windows: the rows of the left operand.
    pub(crate) len: usize,
}

/// The packed weights of one group, and the kernels that multiply blocks of rows with them.
pub(crate) trait Packed: Send + Sync + Debug {
    /// Number of panels into which the columns are divided.
    fn panels(&self) -> usize;

    /// Maximum number of rows of a block; at most [`MAX_ROWS`].
    fn block_rows(&self) -> usize;

    /// Number of rows that each block should have if there are `rows` in total; at most
    /// [`Packed::block_rows`].
    fn block_rows_of(&self, _rows: usize) -> usize {
        self.block_rows()
    }

    /// Number of bytes of scratch memory that [`Packed::multiply`] needs.
    fn scratch_bytes(&self) -> usize {
        0
    }

    /// Multiplies `rows` with the columns of `panels`, requantizes, and writes to `output`; or writes the
    /// accumulators, if it is one of [`Output::accumulators`].
    ///
    /// # Safety
    /// - `rows` must have as many taps as were packed, and each of its pointers must be valid for
    ///   reads of as many bytes as channels were packed.
    /// - For each row `i` and each column of `panels`, `output.at(i, column)` must be valid for
    ///   writes, and no other thread may access it during the call; the byte of `output.added` at
    ///   the same place must be valid for reads. The same holds for `output.accumulator(i, column)`, which
    ///   must be aligned, if it is one of [`Output::accumulators`].
    /// - `scratch` must have [`Packed::scratch_bytes`] bytes.
    unsafe fn multiply(
        &self,
        rows: &Rows<'_>,
        panels: Range<usize>,
        output: Output,
        scratch: &mut [u8],
    );
}

/// A pointer to the outputs of a block.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    /// Pointer to the first column of the first row.
    pub(crate) start: *mut u8,
    /// Outputs from one row to the next.
    pub(crate) stride: usize,
    /// The residual addition, if any.
    pub(crate) added: Option<Added>,
    /// Whether accumulators are stored as i32 instead of requantized: `start` and `stride` are then in
    /// units of an i32, and nothing is added.
    pub(crate) accumulators: bool,
}

/// A residual to be added to outputs; it has their shape and stride.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    /// Pointer to the value that is added to the first column of the first row.
    pub(crate) start: *const u8,
    pub(crate) formula: AddFormula,
}

impl Output {
    /// Describes rows of `columns` outputs without gaps, and the residual that is added to them.
    pub(crate) fn new(start: *mut u8, columns: usize, added: Option<(AddFormula, &[u8])>) -> Self {
        let added = added.map(|(formula, residual)| Added { start: residual.as_ptr(), formula });
        Self { start, stride: columns, added, accumulators: false }
    }

    /// Describes rows of `columns` accumulators without gaps.
    pub(crate) fn accumulators(start: *mut i32, columns: usize) -> Self {
        Self { start: start.cast(), stride: columns, added: None, accumulators: true }
    }

    /// Returns the same with `row` and `column` as its first row and column.
    #[inline]
    pub(crate) fn from(self, row: usize, column: usize) -> Self {
        if self.accumulators {
            return Self { start: self.accumulator(row, column).cast(), ..self };
        }
        let start = self.at(row, column);
        let skipped = row * self.stride + column;
        let added = self
            .added
            .map(|Added { start, formula }| Added { start: start.wrapping_add(skipped), formula });
        Self { start, added, ..self }
    }

    #[inline]
    pub(crate) fn at(self, row: usize, column: usize) -> *mut u8 {
        self.start.wrapping_add(row * self.stride + column)
    }

    /// Returns the place of an accumulator, if this is one of [`Self::accumulators`].
    #[inline]
    #[allow(clippy::cast_ptr_alignment, reason = "`start` was made of a pointer to i32")]
    pub(crate) fn accumulator(self, row: usize, column: usize) -> *mut i32 {
        self.start.cast::<i32>().wrapping_add(row * self.stride + column)
    }
}
