//! What the int8 products of several instruction sets share: panels of columns, steps of four
//! channels, and loops over rows that are unrolled.

/// Repeats a block for those of the listed rows that are less than `R`, each as a constant.
///
/// The compiler gives up on unrolling some loops over rows, and accumulators that a variable picks
/// live in memory: a kernel is three times slower then.
macro_rules! for_rows {
    ($row:ident in $($index:literal)* => $block:block) => {{
        $(if $index < R {
            const $row: usize = $index;
            $block
        })*
    }};
}
pub(super) use for_rows;

/// A panel of packed columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    /// Vectors of columns.
    pub(super) vectors: usize,
    /// The first column.
    pub(super) first: usize,
    /// How many of the vectors' columns exist.
    pub(super) columns: usize,
    /// Where it begins in the packed bytes.
    pub(super) offset: usize,
}

/// The step of four channels that multiplies a channel, and the channel's place in the step.
///
/// Where the channels are no multiple of four, the last step reads the last four channels again, so
/// that nothing behind them is read; weights of zero stand where an earlier step has been.
pub(super) fn position(channel: usize, channels: usize) -> (usize, usize) {
    let whole = channels / 4 * 4;
    if channel < whole || channels < 4 {
        (channel / 4, channel % 4)
    } else {
        (whole / 4, channel + 4 - channels)
    }
}

/// The four channels of a row that the last step multiplies; see [`position`]. Of fewer channels the
/// last stands in for the missing ones, whose weights are zero.
///
/// # Safety
/// `row` must have `channels` readable bytes, and `channels` must not be zero.
#[inline]
pub(super) unsafe fn last_step(row: *const u8, channels: usize) -> i32 {
    // SAFETY: these are bytes of the row.
    unsafe {
        if channels >= 4 {
            return row.add(channels - 4).cast::<i32>().read_unaligned();
        }
        let [second, third] = [1.min(channels - 1), 2.min(channels - 1)];
        i32::from_le_bytes([*row, *row.add(second), *row.add(third), 0])
    }
}
