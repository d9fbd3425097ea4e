//! The strips or tiles of a TIFF.

use super::compression::Coding;
use super::samples::Samples;
use super::tags::{
    Integers, ROWS_PER_STRIP, STRIP_BYTE_COUNTS, STRIP_OFFSETS, TILE_BYTE_COUNTS, TILE_LENGTH,
    TILE_OFFSETS, TILE_WIDTH, Tags, unsupported,
};

/// The parts into which a picture is cut, from left to right, then down, then by planes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks<'a> {
    /// Columns of a strip or tile.
    pub(super) width: u64,
    /// Rows of a strip or tile.
    pub(super) height: u64,
    picture: [u64; 2],
    are_tiles: bool,
    offsets: Integers<'a>,
    /// The numbers of bytes in the file, which nobody reads if there is no compression.
    counts: Option<Integers<'a>>,
}

/// The pixels of a strip or tile that are in the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    number: u64,
    pub(super) left: u64,
    pub(super) top: u64,
    pub(super) width: u64,
    pub(super) height: u64,
}

impl<'a> Chunks<'a> {
    /// # Errors
    /// Returns a sentence if the tags contradict one another.
    pub(super) fn of(
        tags: &Tags<'a>,
        width: u64,
        height: u64,
        samples: &Samples,
        coding: Coding,
    ) -> Result<Self, String> {
        let tile = (tags.integer(TILE_WIDTH)?, tags.integer(TILE_LENGTH)?);
        let strips = tags.integers(STRIP_OFFSETS)?;
        let picture = [width, height];
        let chunks = match (strips, tile) {
            (Some(offsets), (None, None)) => {
                let rows = tags.integer(ROWS_PER_STRIP)?.unwrap_or(height).min(height);
                let counts =
                    (!coding.is_plain()).then(|| tags.required(STRIP_BYTE_COUNTS)).transpose()?;
                Self { width, height: rows, picture, are_tiles: false, offsets, counts }
            }
            (None, (Some(across), Some(down))) => {
                let offsets = tags.required(TILE_OFFSETS)?;
                let counts =
                    (!coding.is_plain()).then(|| tags.required(TILE_BYTE_COUNTS)).transpose()?;
                Self { width: across, height: down, picture, are_tiles: true, offsets, counts }
            }
            _ => return Err("corrupt: it has neither strips nor tiles, or both".to_owned()),
        };
        if chunks.width == 0 || chunks.height == 0 {
            let Self { width, height, .. } = chunks;
            return Err(format!("corrupt: its strips or tiles are {width} x {height}"));
        }
        if chunks.are_tiles
            && chunks.width % 8 != 0
            && samples.row_bytes(1) * 8 != samples.row_bytes(8)
        {
            return Err(unsupported(&format!(
                "tiles {} pixels wide of less than 8 bits",
                chunks.width
            )));
        }
        let expected = chunks.in_a_plane() * samples.planes() as u64;
        let counts = chunks.counts.map_or(expected, |counts| counts.len());
        if chunks.offsets.len() != expected || counts != expected {
            return Err(format!(
                "corrupt: it has the places of {} {}s and the lengths of {counts}, expected {expected}",
                chunks.offsets.len(),
                chunks.name()
            ));
        }
        Ok(chunks)
    }

    pub(super) fn name(&self) -> &'static str {
        if self.are_tiles { "tile" } else { "strip" }
    }

    fn across(&self) -> u64 {
        self.picture[0].div_ceil(self.width)
    }

    fn in_a_plane(&self) -> u64 {
        self.across() * self.picture[1].div_ceil(self.height)
    }

    /// Returns the parts in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        (0..self.in_a_plane()).map(|number| {
            let left = number % self.across() * self.width;
            let top = number / self.across() * self.height;
            let width = self.width.min(self.picture[0] - left);
            let height = self.height.min(self.picture[1] - top);
            Part { number, left, top, width, height }
        })
    }

    /// The number of rows that are in the file. Tiles are whole.
    pub(super) fn stored_rows(&self, part: &Part) -> u64 {
        if self.are_tiles { self.height } else { part.height }
    }

    /// Returns the number of a part in the file, and its bytes.
    ///
    /// # Errors
    /// Returns a sentence if they are not in the file.
    pub(super) fn data<'b>(
        &self,
        bytes: &'b [u8],
        part: &Part,
        plane: u64,
    ) -> Result<(u64, &'b [u8]), String> {
        let number = plane * self.in_a_plane() + part.number;
        let start = self.offsets.get(number).and_then(|start| usize::try_from(start).ok());
        let data = start.and_then(|start| bytes.get(start..));
        let data = match self.counts {
            None => data,
            Some(counts) => {
                let count = counts.get(number).and_then(|count| usize::try_from(count).ok());
                data.and_then(|data| data.get(..count?))
            }
        };
        match data {
            // libtiff guesses the length.
            Some([]) => Err(format!("corrupt: {} {number} has no bytes", self.name())),
            Some(data) => Ok((number, data)),
            None => {
                Err(format!("truncated or corrupt: {} {number} is not in the file", self.name()))
            }
        }
    }
}
