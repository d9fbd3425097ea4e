//! Definitions shared by the int8 matrix products of several instruction sets: panels of columns,
//! steps of four channels, and unrolled loops over rows.

/// Repeats a block for each listed row that is less than `R`, with the row as a constant.
///
/// The compiler does not unroll some loops over rows. Accumulators indexed by a variable are then
/// kept in memory instead of registers, which makes a kernel three times slower.
macro_rules! for_rows {
    ($row:ident in $($index:literal)* => $block:block) => {{
        $(if $index < R {
            const $row: usize = $index;
            $block
        })*
    }};
}
pub(super) use for_rows;

/// The place of a panel of packed columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    /// Number of vectors of columns.
    pub(super) vectors: usize,
    /// First column.
    pub(super) first: usize,
    /// Number of columns; the remaining lanes of the last vector are unused.
    pub(super) columns: usize,
    /// Offset of the panel in the packed bytes.
    pub(super) offset: usize,
}

/// Returns the step of four channels in which a channel is multiplied, and its place within the
/// step.
///
/// If the number of channels is not a multiple of four, the last step reads the last four channels,
/// so that nothing beyond them is read; those that an earlier step has already multiplied have
/// weight 0.
pub(super) fn position(channel: usize, channels: usize) -> (usize, usize) {
    let whole = channels / 4 * 4;
    if channel < whole || channels < 4 {
        (channel / 4, channel % 4)
    } else {
        (whole / 4, channel + 4 - channels)
    }
}

/// Returns the four channels of a row that the last step multiplies; see [`position`].
///
/// If there are fewer than four channels, the last one is repeated; the repetitions have weight 0.
///
/// # Safety
/// `row` must be valid for reads of `channels` bytes, and `channels` must not be 0.
#[inline]
pub(super) unsafe fn last_step(row: *const u8, channels: usize) -> i32 {
    // SAFETY: with at least four channels, the last four bytes of the row are read; otherwise each
    // index is at most `channels - 1`. The caller guarantees that these bytes are valid for reads.
    unsafe {
        if channels >= 4 {
            return row.add(channels - 4).cast::<i32>().read_unaligned();
        }
        let [second, third] = [1.min(channels - 1), 2.min(channels - 1)];
        i32::from_le_bytes([*row, *row.add(second), *row.add(third), 0])
    }
}
