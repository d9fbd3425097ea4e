//! The kernels of matrix products, as every instruction set has them.

use std::fmt::Debug;
use std::ops::Range;

use crate::geometry::Conv2dGeometry;
use crate::int8::elementwise::formula::AddFormula;
use crate::int8::pack::Operand;
use crate::int8::requantize::Requantize;

/// A convolution as matrix products, one for each group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    /// The weights of each group; at least one.
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

/// What profiles call the products of an instruction set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    /// Windows of one tap.
    pub(crate) pointwise: &'static str,
    /// Windows of several taps.
    pub(crate) general: &'static str,
    /// The same two where they add; `None` where they cannot.
    pub(crate) adding: Option<[&'static str; 2]>,
    /// Blocks whose last layer they are.
    pub(crate) inverted_residual: &'static str,
}

/// The [`Names`] of an instruction set; `adds` says that its kernels can add.
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

/// The most rows a block may have.
pub(crate) const MAX_ROWS: usize = 128;

/// Pointers to the taps of some windows, each to as many bytes as the group has channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// `[taps, capacity]`; of each tap's pointers the first `len` are set.
    pub(crate) taps: &'a [*const u8],
    /// How many windows each tap has room for.
    pub(crate) capacity: usize,
    /// How many windows there are.
    pub(crate) len: usize,
}

/// One group's packed weights, and the kernels that multiply blocks of rows with them.
pub(crate) trait Packed: Send + Sync + Debug {
    /// How many panels the columns are divided into.
    fn panels(&self) -> usize;

    /// How many rows a block has at most; at most [`MAX_ROWS`].
    fn block_rows(&self) -> usize;

    /// How many rows each block should have where there are `rows`; at most
    /// [`Packed::block_rows`].
    fn block_rows_of(&self, _rows: usize) -> usize {
        self.block_rows()
    }

    /// Bytes of scratch memory for [`Packed::multiply`].
    fn scratch_bytes(&self) -> usize {
        0
    }

    /// Multiplies `rows` with `panels`. `scratch` has [`Packed::scratch_bytes`] bytes.
    ///
    /// # Safety
    /// `rows` must point to values of as many taps and channels as were packed. For each row `i`
    /// and each column of `panels`, the byte `output.at(i, column)` must be part of the allocation
    /// that `output` points to, and nobody else may access it meanwhile; so must what is added to it
    /// be readable.
    unsafe fn multiply(
        &self,
        rows: &Rows<'_>,
        panels: Range<usize>,
        output: Output,
        scratch: &mut [u8],
    );
}

/// Where the outputs of a block lie.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    /// The first column of the first row.
    pub(crate) start: *mut u8,
    /// From one row to the next.
    pub(crate) stride: usize,
    /// What is added to the outputs.
    pub(crate) added: Option<Added>,
}

/// Values to add to outputs, which lie as these do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    /// The one that is added to the first column of the first row.
    pub(crate) start: *const u8,
    pub(crate) formula: AddFormula,
}

impl Output {
    /// All rows of so many columns, and what is added to them.
    pub(crate) fn new(start: *mut u8, columns: usize, added: Option<(AddFormula, &[u8])>) -> Self {
        let added = added.map(|(formula, residual)| Added { start: residual.as_ptr(), formula });
        Self { start, stride: columns, added }
    }

    /// That which begins at another row and column.
    #[inline]
    pub(crate) fn from(self, row: usize, column: usize) -> Self {
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
}
